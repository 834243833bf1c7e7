"""Quoting, checked by the database that has to understand it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lotus_lake.sql import identifier, is_plain_name, json_array, literal

# Neither a key nor a path nor a variable can hold NUL or a lone surrogate.
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        yield connection


@given(value=text)
@example(value="'; DROP TABLE orders; --")
@example(value="\\'")
def test_a_text_comes_back_as_it_was(con: duckdb.DuckDBPyConnection, value: str) -> None:
    assert con.execute(f"SELECT {literal(value)}").fetchone() == (value,)


@given(value=st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none())
def test_numbers_truth_and_null_come_back_as_they_were(
    con: duckdb.DuckDBPyConnection, value: int | bool | None
) -> None:
    row = con.execute(f"SELECT {literal(value)}").fetchone()
    assert row == (value,)
    assert type(row[0]) is type(value)


@given(values=st.lists(text | st.none()))
@example(values=["'\"\\", None, "[1, 2]", "\u20ac\n"])
def test_a_list_of_texts_comes_back_as_it_was(
    con: duckdb.DuckDBPyConnection, values: list[str | None]
) -> None:
    row = con.execute("SELECT ?::JSON::VARCHAR[]", [json_array(values)]).fetchone()
    assert row == (values,)


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.none()))
def test_a_list_of_numbers_comes_back_as_it_was(
    con: duckdb.DuckDBPyConnection, values: list[int | None]
) -> None:
    row = con.execute("SELECT ?::JSON::BIGINT[]", [json_array(values)]).fetchone()
    assert row == (values,)


@given(values=st.lists(st.dates(date(1, 1, 1)) | st.none()))
def test_a_list_of_days_comes_back_as_it_was(
    con: duckdb.DuckDBPyConnection, values: list[date | None]
) -> None:
    row = con.execute("SELECT ?::JSON::DATE[]", [json_array(values)]).fetchone()
    assert row == (values,)


@given(values=st.lists(st.datetimes(datetime(1900, 1, 1), timezones=st.just(UTC))))
def test_a_list_of_moments_comes_back_as_it_was(
    con: duckdb.DuckDBPyConnection, values: list[datetime]
) -> None:
    found = con.execute(
        "SELECT list_transform(?::JSON::TIMESTAMPTZ[], lambda moment: epoch_us(moment))",
        [json_array(values)],
    ).fetchone()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert found == ([(value - epoch) // timedelta(microseconds=1) for value in values],)


@given(name=text.filter(bool))
@example(name='a"b')
@example(name="select")
@example(name="staging.orders")
def test_a_name_comes_back_as_it_was(con: duckdb.DuckDBPyConnection, name: str) -> None:
    con.execute(f"SELECT 1 AS {identifier(name)}")
    assert con.description[0][0] == name


def test_each_part_of_a_name_is_quoted_for_itself() -> None:
    assert identifier("lakehouse", "me.ta", 'a"b') == '"lakehouse"."me.ta"."a""b"'


@pytest.mark.parametrize("name", ["orders", "_orders", "Orders2", "a" * 100])
def test_plain_names(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize("name", ["", "2orders", "a-b", "a b", "a.b", "a'b", "ordérs", "orders\n"])
def test_names_that_are_not_plain(name: str) -> None:
    assert not is_plain_name(name)
