"""A condition is one expression over columns, and nothing else reaches the lake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake.errors import PermanentError
from lotus_lake.observe.conditions import read_condition

COLUMNS = ["order_id", "status", "customer", "Amount", "placed_at"]


def _sql(text: str) -> str:
    return read_condition(text, "fct_sales", COLUMNS).sql()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("order_id = 1001", '"asked"."order_id" = 1001'),
        ("fct_sales.order_id = 1;", '"asked"."order_id" = 1'),
        ("ORDER_ID = 1 -- and more", '"asked"."order_id" = 1'),
        ("status in ('a', 'it''s') or amount > -1.5",
         """"asked"."status" IN ('a', 'it''s') OR "asked"."Amount" > -1.5"""),
        ("customer.id = 5", '"asked"."customer"."id" = 5'),
        ("lower(status) like 'p%'", """LOWER("asked"."status") LIKE 'p%'"""),
        ("placed_at >= date '2026-03-01'", """"asked"."placed_at" >= CAST('2026-03-01' AS DATE)"""),
        ("placed_at > now() - interval 1 day",
         """"asked"."placed_at" > NOW() - INTERVAL '1' DAY"""),
        ("starts_with(status, 'p')", """STARTS_WITH("asked"."status", 'p')"""),
        ("not (status is null)", 'NOT ("asked"."status" IS NULL)'),
    ],
)  # fmt: skip
def test_a_condition_is_written_anew(text: str, expected: str) -> None:
    assert _sql(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("order_id = 1; drop table main.fct_sales", "several statements"),
        ("order_id in (select 1)", r"contains a query: \(SELECT 1\)"),
        ("exists (from meta.file_events)", "contains a query"),
        ("order_id = 1 union select 2", "has to be one expression"),
        ("order_id = 1) or (1 = 1", "has to be one expression"),
        ("read_text('/etc/passwd') is not null", "calls read_text"),
        ("getenv('AWS_SECRET_ACCESS_KEY') like 'a%'", "calls getenv"),
        ("current_setting('s3_secret_access_key') = ''", "calls current_setting"),
        ("order_id = nextval('x')", "calls nextval"),
        ("columns(*) = 1", "calls columns"),
        ("order_id = $1", "cannot be part"),
        ("order_id", "is a value"),
        ("'; --", "has to be one expression"),
        ("orderid = 1", "did you mean order_id"),
        ("other.order_id = 1", "no column 'other.order_id'"),
        ("(" * 4000 + "1 = 1" + ")" * 4000, "has to be one expression"),
        ("order_id = 1 or " * 1000 + "true", "longer than"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        _sql(text)


def test_columns_are_put_where_another_table_has_them() -> None:
    condition = read_condition("order_id = 1 and customer.id > 2", "fct_sales", COLUMNS)
    assert condition.columns == ("customer", "order_id")
    places = {"order_id": ("id",), "customer": ("buyer", 'na"me')}
    assert condition.sql(places) == '"asked"."id" = 1 AND "asked"."buyer"."na""me"."id" > 2'


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        found = read_condition(text, "fct_sales", COLUMNS)
    except PermanentError:
        return
    assert ";" not in found.sql().replace("';'", "")


@given(st.text(max_size=20))
def test_a_text_in_quotes_stays_a_text(value: str) -> None:
    quoted = value.replace("'", "''")
    condition = read_condition(f"status = '{quoted}'", "fct_sales", COLUMNS)
    assert condition.sql() == f'"asked"."status" = \'{quoted}\''
