"""Scaffolded models: they run, they keep the newest version, and the linters like them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import duckdb
import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlfluff.core import FluffConfig, Linter
from yamllint import linter
from yamllint.config import YamlLintConfig

from lotus_lake.config.stream_config import FieldSchema, StreamConfig
from lotus_lake.config.streams import Stream, load_streams, source_schema
from lotus_lake.errors import ScaffoldError
from lotus_lake.landing.tables import landing_columns, landing_ddl
from lotus_lake.landing.types import airbyte_name
from lotus_lake.scaffold.columns import BOOKKEEPING, VALIDITY, Column, ModelColumns, model_columns
from lotus_lake.scaffold.expressions import Path, reserved_names
from lotus_lake.scaffold.model_sql import history_sql, model_sql
from lotus_lake.scaffold.model_yaml import history_yaml, model_yaml
from lotus_lake.sql import identifier, literal

PROJECT = FilePath(__file__).resolve().parents[3]
INCLUDE = PROJECT / "include"
MACROS = "".join(
    (INCLUDE / "dbt" / "macros" / f"{name}.sql").read_text("utf-8")
    for name in ("newest_wins", "kept_out", "convert", "versions")
)
ID = {"type": "integer"}
MOMENT = {"type": "string", "format": "date-time"}


def stream(
    fields: dict[str, Any],
    primary_key: list[list[str]] | None = None,
    cursor_field: list[str] | None = None,
    name: str = "orders",
) -> Stream:
    document = {
        "stream": name,
        "primary_key": primary_key or [["id"]],
        "cursor_field": cursor_field or [],
        "fields": fields,
    }
    return Stream("shop", name, StreamConfig.model_validate(document))


def columns(one: Stream, **options: Any) -> ModelColumns:
    return model_columns(one, {}, **options)


def names(one: Stream) -> dict[str, str]:
    """Name of each column by the field it comes from."""
    return {".".join(column.path): column.name for column in columns(one).columns}


# Names


@pytest.mark.parametrize(
    ("field", "schema", "name"),
    [
        ("id", ID, "order_id"),
        ("ID", ID, "order_id"),
        ("name", {"type": "string"}, "order_name"),
        ("type", {"type": "string"}, "order_type"),
        ("status", {"type": "string"}, "status"),
        ("firstName", {"type": "string"}, "first_name"),
        ("HTTPStatus", {"type": "integer"}, "http_status"),
        ("table", {"type": "string"}, "order_table"),
        ("total-price", {"type": "number"}, "total_price"),
        ("archived", {"type": "boolean"}, "is_archived"),
        ("has_children", {"type": "boolean"}, "has_children"),
        ("isLocal", {"type": "boolean"}, "is_local"),
        ("default", {"type": "boolean"}, "is_default"),
        ("created", MOMENT, "created_at"),
        ("created_at", MOMENT, "created_at"),
        ("send_time", MOMENT, "send_at"),
        ("consent_timestamp", MOMENT, "consent_at"),
        ("last_event_date", MOMENT, "last_event_at"),
        ("datetime", MOMENT, "order_at"),
        ("due_on", {"type": "string", "format": "date"}, "due_date"),
        ("due", {"type": "string", "format": "date"}, "due_date"),
        ("birthday", {"type": "string", "format": "date"}, "birthday"),
    ],
)
def test_a_name_tells_what_the_column_holds(field: str, schema: Any, name: str) -> None:
    one = stream({"key": ID, field: schema}, [["key"]])
    assert names(one)[airbyte_name(field)] == name


@pytest.mark.parametrize(
    ("plural", "key"),
    [
        ("orders", "order_id"),
        ("order_refunds", "order_refund_id"),
        ("companies", "company_id"),
        ("addresses", "address_id"),
        ("boxes", "box_id"),
        ("statuses", "status_id"),
        ("people", "person_id"),
        ("news", "news_id"),
        ("staff", "staff_id"),
    ],
)
def test_the_key_is_named_after_one_record(plural: str, key: str) -> None:
    assert columns(stream({"id": ID}, name=plural)).key == (key,)


def test_objects_are_flattened_one_level_under_their_own_name() -> None:
    one = stream(
        {
            "id": ID,
            "customer": {
                "type": "object",
                "properties": {
                    "id": ID,
                    "active": {"type": "boolean"},
                    "created": MOMENT,
                    "address": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            },
            "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": ID}}},
            "tags": {"type": "array", "items": {"type": "string"}},
        }
    )
    found = {column.name: (column.expression, column.type) for column in columns(one).columns}
    assert found == {
        "order_id": ("id", "bigint"),
        "customer_id": ("customer.id", "bigint"),
        "is_customer_active": ("customer.active", "boolean"),
        "customer_created_at": ("customer.created", "timestamp with time zone"),
        "customer_address_json": ("to_json(customer.address)::varchar", "varchar"),
        "lines_json": ("to_json(lines)::varchar", "varchar"),
        "tags": ("tags", "varchar[]"),
    }


def test_a_name_that_is_taken_gives_way() -> None:
    one = stream(
        {
            "order_id": {"type": "string"},
            "id": ID,
            "customer_id": ID,
            "customer": {"type": "object", "properties": {"id": ID}},
            "updated_at": {"type": "boolean"},
            "updated": MOMENT,
        }
    )
    assert names(one) == {
        "order_id": "order_id",
        "id": "id",
        "customer_id": "customer_id",
        "customer.id": "customer__id",
        "updated_at": "is_updated_at",
        "updated": "updated",
    }


def test_columns_stand_in_the_order_of_their_kinds() -> None:
    kinds = {
        "at": MOMENT,
        "on": {"type": "string", "format": "date"},
        "flag": {"type": "boolean"},
        "count": {"type": "integer"},
        "text": {"type": "string"},
        "list": {"type": "array", "items": ID},
        "other_id": ID,
        "id": ID,
    }
    found = [column.kind for column in columns(stream(kinds)).columns]
    assert found == ["id", "id", "string", "number", "boolean", "date", "timestamp", "nested"]


def test_money_is_decimal_only_where_it_is_asked_for() -> None:
    one = stream(
        {
            "id": ID,
            "price": {"type": "number"},
            "tax": {"type": "number"},
            "total": {"type": "object", "properties": {"amount": {"type": "string"}}},
        }
    )
    found = {c.name: c.type for c in columns(one, money=["price", "total.amount"]).columns}
    assert found == {
        "order_id": "bigint",
        "price": "decimal(18, 4)",
        "tax": "double",
        "total_amount": "decimal(18, 4)",
    }


@pytest.mark.parametrize("bad", ["'NaN'::double", "'-inf'::double", "1e300", "1e14"])
def test_a_value_that_its_column_cannot_hold_is_null_and_named(
    con: duckdb.DuckDBPyConnection, sqlfluff: Linter, bad: str
) -> None:
    total = {"type": "object", "properties": {"amount": {"type": "string"}}}
    one = stream({"id": ID, "price": {"type": "number"}, "total": total})
    model = columns(one, money=["price", "total.amount"])
    check_model(con, one, model)
    assert lint(sqlfluff, one, model) == []
    table = f"lakehouse.staging.{one.landing_table}"
    con.execute(f"DELETE FROM {table}")
    land(con, table, {("id",): "1", ("price",): bad, ("total", "amount"): "'six'"})
    land(con, table, {("id",): "2", ("price",): "2.00005", ("total", "amount"): "'2.5'"})
    land(con, table, {("id",): "3"})
    found = con.execute(
        "SELECT order_id, price::varchar, total_amount::varchar, "
        "_lake_bad_values::json ->> '$.price' LIKE '% is not a valid decimal(18, 4)', "
        "_lake_bad_values::json ->> '$.total_amount', _lake_bad_values IS NULL "
        f"FROM ({rendered(model_sql(one, model), table)}) ORDER BY order_id"
    )
    assert found.fetchall() == [
        (1, None, None, True, "six is not a valid decimal(18, 4)", False),
        (2, "2.0001", "2.5000", None, None, True),
        (3, None, None, None, None, True),
    ]


@pytest.mark.parametrize(
    ("document", "options", "text"),
    [
        ({"fields": {"id": {"type": "object", "properties": {"x": ID}}}}, {}, "primary_key 'id'"),
        ({"fields": {"id": {"type": "array", "items": ID}}}, {}, "primary_key 'id'"),
        ({"fields": {"id": ID}, "cursor_field": ["id", "at"]}, {}, "cursor_field 'id.at'"),
        (
            {"fields": {"id": ID, "at": {"type": "boolean"}}, "cursor_field": ["at"]},
            {},
            "boolean, which has no order",
        ),
        ({"fields": {"id": {"type": "boolean"}}}, {}, "distinguishes only two records"),
        ({"fields": {"id": ID}}, {"money": ["price"]}, "--money price"),
        ({"fields": {"id": ID, "at": MOMENT}}, {"money": ["at"]}, "--money at"),
    ],
)
def test_what_cannot_be_a_key_a_cursor_or_money_is_refused(
    document: dict[str, Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ScaffoldError, match=text):
        columns(stream(**document), **options)


# Models that run


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("ATTACH ':memory:' AS lakehouse; CREATE SCHEMA lakehouse.staging")
        yield connection


_JINJA = jinja2.Environment(autoescape=False, extensions=["jinja2.ext.do"])


class Config(dict[str, Any]):
    """dbt's `config`: a call prints nothing."""

    def __call__(self, **_: Any) -> str:
        return ""


def rendered(sql: str, landed: str, **meta: str) -> str:
    """The model's SQL as dbt's own unit tests see it: rows take the landing table's place."""
    rows = f"(select *, 0 as _lake_snapshot_id, row_number() over () as _lake_row_id from {landed})"
    stub = (
        f"{{% macro landed_rows(source, stream) %}}{rows}{{% endmacro %}}"
        "{% macro known_versions(rows, keys, apart) %}{% endmacro %}"
    )
    template = _JINJA.from_string(MACROS + stub + sql)
    return template.render(config=Config(meta=meta), is_incremental=lambda: False, model={})


def check_model(
    con: duckdb.DuckDBPyConnection,
    one: Stream,
    model: ModelColumns,
    discovered: Mapping[str, FieldSchema] | None = None,
) -> None:
    """The model runs over its landing table, is described, and keeps the newest versions."""
    sql, document = model_sql(one, model), yaml.safe_load(model_yaml(one, model))
    table = f"lakehouse.staging.{one.landing_table}"
    con.execute(
        f"DROP TABLE IF EXISTS {table};" + landing_ddl(one, landing_columns(one, discovered or {}))
    )
    described = con.execute(f"DESCRIBE {rendered(sql, table)}").fetchall()
    types = {row[0].lower(): con.sqltype(row[1]) for row in described}
    (properties,) = document["models"]
    documented = {c["name"]: con.sqltype(c["data_type"]) for c in properties["columns"]}
    assert list(types) == list(documented)
    types.pop("_lake_snapshot_id")  # an integer here, a snapshot's id in a lake
    assert types.items() <= documented.items()
    assert properties["description"].rstrip(".").rpartition(". ")[2].startswith("One row per ")

    keys = [model.by_name(name) for name in model.key]
    cursor = None if model.cursor_column in keys else model.cursor_column
    given, newest = versions(keys, cursor)
    for key, changed, extracted, raw_id in given:
        values = {column.path: literal(text) for column, text in zip(keys, key, strict=True)}
        if cursor and changed:
            values[cursor.path] = moment(changed, cursor.type)
        values[("_airbyte_extracted_at",)] = literal(extracted)
        values[("_airbyte_raw_id",)] = literal(raw_id)
        land(con, table, values)
    found = con.execute(
        f"SELECT {', '.join(identifier(name) for name in model.key)}, _airbyte_raw_id "
        f"FROM ({rendered(sql, table)})"
    ).fetchall()
    casts = ", ".join([*(f"?::{column.type}" for column in keys), "?"])
    wanted = [con.execute(f"SELECT {casts}", [*key, raw]).fetchone() for key, *_, raw in newest]
    assert sorted(map(str, found)) == sorted(map(str, wanted))


Version = tuple[tuple[str, ...], str | None, str, str]
"""Key, the record's own time of change, when it was extracted, raw id."""


def versions(keys: Sequence[Column], cursor: Column | None) -> tuple[list[Version], list[Version]]:
    """Versions of some records, and the newest of each."""

    def key(record: int) -> tuple[str, ...]:
        return tuple(sample(column, record) for column in keys)

    early, late = "2026-03-02", "2026-03-03"
    newest: list[Version] = [(key(1), early, late, "a"), (key(3), early, late, "b")]
    given: list[Version] = [*newest, (key(1), late, early, "b"), (key(3), early, late, "a")]
    if cursor:
        changed_last: list[Version] = [(key(2), late, late, "a"), (key(4), early, late, "a")]
        newest += changed_last
        given += [*changed_last, (key(2), early, late, "b"), (key(4), None, late, "b")]
    for number in range(len(keys) if len(keys) > 1 else 0):
        # Differs from the first record in one part of the key only: another record.
        other = list(key(1))
        other[number] = sample(keys[number], 6)
        newest.append((tuple(other), early, early, "c"))
        given.append(newest[-1])
    return given, newest


def sample(column: Column, number: int) -> str:
    """A value of the column's type, another one for each number up to 9."""
    return {
        "bigint": str(number),
        "double": str(number),
        "boolean": "true" if number % 2 else "false",
        "date": f"2026-01-0{number}",
        "timestamp with time zone": f"2026-01-0{number}T00:00:00Z",
        "time": f"0{number}:00:00",
    }.get(column.type, "ABCDEFGHI"[number - 1])


def moment(day: str, kind: str) -> str:
    """SQL of a day as a value of a cursor's type."""
    at = f"timestamptz '{day}'"
    return {"bigint": f"epoch_us({at})", "double": f"epoch({at})"}.get(kind, literal(day))


def land(con: duckdb.DuckDBPyConnection, table: str, values: Mapping[Path, str]) -> None:
    """Insert a row of which only some fields are known, some of them in objects."""
    row: dict[str, Any] = {}
    for path, value in values.items():
        place = row
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    fields = ", ".join(f"{struct(value)} AS {identifier(name)}" for name, value in row.items())
    con.execute(f"INSERT INTO {table} BY NAME SELECT {fields}")


def struct(value: str | dict[str, Any]) -> str:
    if isinstance(value, str):
        return value
    return "{" + ", ".join(f"{literal(name)}: {struct(v)}" for name, v in value.items()) + "}"


SCALARS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "integer"},
    {"type": "number"},
    {"type": "boolean"},
    MOMENT,
    {"type": "string", "format": "date"},
    {"type": "string", "format": "time"},
    {"type": "object"},
    {"type": ["string", "integer"]},
    {"oneOf": [{"type": "integer"}, {"type": "object", "properties": {"a": ID}}]},
]
NASTY = (
    "id", "ID_", "order_id", "name", "type", "status", "at", "date", "landed", "renamed", "newest",
    "versions", "key_1", "raw_id", "extracted_at", "changed_at", "createdAt", "Éclair", "1st",
    "total-price", "is_it", "updated", "updated_at", "customer", "value", "data", "attributes",
)  # fmt: skip
field_names = st.one_of(
    st.sampled_from(NASTY),
    st.sampled_from(sorted(reserved_names())),
    st.text("abAB1_- é", min_size=1, max_size=40),
)


def documents(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    scalars = st.sampled_from(SCALARS)
    if depth == 0:
        return scalars
    inner = documents(depth - 1)
    described = st.builds(
        lambda schema, text: {**schema, "description": text}, scalars, st.text(max_size=150)
    )
    objects = st.builds(
        lambda properties: {"type": "object", "properties": properties}, fields_of(inner)
    )
    return st.one_of(
        scalars, described, objects, st.builds(lambda s: {"type": "array", "items": s}, inner)
    )


def fields_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Fields whose names are not one column of Parquet, nor one of the key's date."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict({airbyte_name(name).lower(): (name, schema) for name, schema in pairs}.values())

    pairs = st.lists(st.tuples(field_names, inner), min_size=1, max_size=8)
    return pairs.map(distinct).filter(bool)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    fields = draw(fields_of(documents()))
    plain = [n for n, s in fields.items() if s.get("type") in ("string", "integer", "number")]
    key = (
        draw(st.lists(st.sampled_from(plain), min_size=1, max_size=3, unique=True)) if plain else []
    )
    if not key:
        fields, key = {**fields, "the_key": ID}, ["the_key"]
    kinds = {n: s for n, s in fields.items() if s in (ID, MOMENT, *SCALARS[:3], SCALARS[5])}
    cursor = draw(st.sampled_from([None, *kinds])) if kinds else None
    return stream(
        fields,
        [[name] for name in key],
        [cursor] if cursor else [],
        draw(st.sampled_from(["orders", "people", "order_line_items_of_a_very_long_name_indeed"])),
    )


@settings(max_examples=80)
@given(one=streams())
def test_the_model_of_any_schema_runs_and_keeps_the_newest(
    con: duckdb.DuckDBPyConnection, one: Stream
) -> None:
    model = columns(one)
    found = [column.name for column in model.columns]
    assert len({name.lower() for name in [*found, *BOOKKEEPING]}) == len(found) + len(BOOKKEEPING)
    check_model(con, one, model)


@pytest.mark.parametrize(
    ("primary_key", "cursor_field"),
    list(
        itertools.product(
            [[["id"]], [["id"], ["line"]], [["line"], ["day"], ["id"]], [["a", "id"]],
             [["a", "b", "id"], ["id"]], [["paid"], ["id"]]],
            [[], ["at"], ["id"], ["a", "at"], ["a", "b", "at"], ["day"], ["text"], ["number"]],
        )
    ),
)  # fmt: skip
def test_keys_and_cursors_of_every_kind_and_depth(
    con: duckdb.DuckDBPyConnection, primary_key: list[list[str]], cursor_field: list[str]
) -> None:
    deep = {"type": "object", "properties": {"id": ID, "at": MOMENT, "x": ID}}
    fields = {
        "id": ID,
        "line": {"type": "string"},
        "text": {"type": "string"},
        "number": {"type": "number"},
        "paid": {"type": "boolean"},
        "day_": {"type": "string"},
        "at": MOMENT,
        "a": {"type": "object", "properties": {"id": ID, "at": MOMENT, "b": deep}},
    }
    fields["due"] = {"type": "string", "format": "date"}
    replaced = [["due"] if path == ["day"] else path for path in primary_key]
    one = stream(fields, replaced, ["due"] if cursor_field == ["day"] else cursor_field)
    check_model(con, one, columns(one))


@pytest.mark.parametrize("one", load_streams(INCLUDE / "streams")[0], ids=lambda one: str(one.id))
def test_the_streams_of_this_project_could_be_scaffolded(
    con: duckdb.DuckDBPyConnection, sqlfluff: Linter, one: Stream
) -> None:
    discovered = source_schema(INCLUDE / "sources", one)
    model = model_columns(one, discovered)
    assert len(model.columns) >= len(one.config.fields)
    check_model(con, one, model, discovered)
    assert lint(sqlfluff, one, model) == []


# What the linters say


@pytest.fixture(scope="module")
def sqlfluff() -> Linter:
    return Linter(config=FluffConfig.from_path(str(PROJECT)))


def lint(sqlfluff: Linter, one: Stream, model: ModelColumns) -> list[str]:
    sql, text = model_sql(one, model), model_yaml(one, model)
    rules = YamlLintConfig((PROJECT / ".yamllint.yaml").read_text())
    found = [
        f"{v.rule_code()} line {v.line_no}" for v in sqlfluff.lint_string(sql).get_violations()
    ]
    return found + [str(problem) for problem in linter.run(text, rules)]


def test_a_column_of_any_name_can_be_read(con: duckdb.DuckDBPyConnection, sqlfluff: Linter) -> None:
    odd = ["First Name", "a.b", 'q"x', "😀", "1st", "{x}"]
    inner = {"zip": {"type": "string", "column": "Zip Code"}}
    one = stream(
        {
            "id": ID,
            "address": {"type": "object", "properties": inner},
            **{name: {"type": "string", "column": name} for name in odd},
        }
    )
    model = columns(one)
    assert model.by_name("address_zip_code").expression == 'address."Zip Code"'
    check_model(con, one, model)
    assert lint(sqlfluff, one, model) == []


def test_every_reserved_name_can_be_a_field(
    con: duckdb.DuckDBPyConnection, sqlfluff: Linter
) -> None:
    reserved = {name: {"type": "string"} for name in sorted(reserved_names())}
    one = stream({"id": ID, **reserved, "group_of": {"type": "object", "properties": reserved}})
    assert len(reserved) > 100
    check_model(con, one, columns(one))
    assert lint(sqlfluff, one, columns(one)) == []


@pytest.mark.parametrize("primary_key", [[["id"]], []])
def test_the_model_of_a_change_log_runs_and_the_linters_find_nothing(
    con: duckdb.DuckDBPyConnection, sqlfluff: Linter, primary_key: list[list[str]]
) -> None:
    names = ("_ab_cdc_log_file", "_ab_cdc_log_pos", "_ab_cdc_updated_at", "_ab_cdc_deleted_at")
    document = {
        "stream": "orders",
        "primary_key": primary_key,
        "deletes": "soft",
        "fields": {"id": ID, **{name: {"type": "string"} for name in names}},
        "log_restarts": ["2026-03-05T10:00:00Z", "2026-04-05T10:00:00Z"] if primary_key else [],
    }
    one = Stream("shop", "orders", StreamConfig.model_validate(document))
    model = columns(one)
    table = f"lakehouse.staging.{one.landing_table}"
    con.execute(f"DROP TABLE IF EXISTS {table};" + landing_ddl(one, landing_columns(one, {})))
    con.execute(f"INSERT INTO {table} BY NAME SELECT 'r' AS _airbyte_raw_id, 1 AS id")
    sql = rendered(model_sql(one, model), table, order="log" if primary_key else "")
    (properties,) = yaml.safe_load(model_yaml(one, model))["models"]
    found = con.execute(sql)
    assert [c[0] for c in found.description or ()] == [c["name"] for c in properties["columns"]]
    assert len(found.fetchall()) == 1
    assert lint(sqlfluff, one, model) == []


def test_the_history_of_a_stream_runs_and_the_linters_find_nothing(
    con: duckdb.DuckDBPyConnection, sqlfluff: Linter
) -> None:
    text = {"type": "string"}
    fields = {"id": ID, "line": text, "is_deleted": {"type": "boolean"}, "price": text}
    log = {"_ab_cdc_lsn": {"type": "number"}, "_ab_cdc_updated_at": text}
    document = {
        "stream": "orders",
        "history": True,
        "primary_key": [["id"], ["line"]],
        "fields": {**fields, **log, "_ab_cdc_deleted_at": text},
    }
    one = Stream("shop", "orders", StreamConfig.model_validate(document))
    model = columns(one, money=["price"], reserved=VALIDITY)
    table = f"lakehouse.staging.{one.landing_table}"
    con.execute(f"DROP TABLE IF EXISTS {table};" + landing_ddl(one, landing_columns(one, {})))
    con.execute(
        f"INSERT INTO {table} BY NAME SELECT raw AS _airbyte_raw_id, 1 AS id, 'a' AS line, "
        "true AS is_deleted, price, lsn AS _ab_cdc_lsn FROM (VALUES ('r', '1.5', 2), "
        "('s', '1.50', 3), ('t', 'none', 1)) AS versions (raw, price, lsn)"
    )
    sql = rendered(history_sql(one, model), table, order="log", deletes="hard")
    (properties,) = yaml.safe_load(history_yaml(one, model))["models"]
    described = con.execute(f"DESCRIBE {sql}").fetchall()
    assert [row[0] for row in described] == [c["name"] for c in properties["columns"]]
    documented = {c["name"]: con.sqltype(c.get("data_type", "int")) for c in properties["columns"]}
    assert {
        row[0]: con.sqltype(row[1])
        for row in described
        if row[0] not in ("_lake_repeats", "_lake_snapshot_id")
    }.items() <= documented.items()
    assert con.execute(
        "SELECT price::varchar, order_is_deleted, is_current, is_deleted, _airbyte_raw_id, "
        f"_lake_bad_values IS NULL, len(_lake_repeats), _lake_rows_told FROM ({sql}) ORDER BY ALL"
    ).fetchall() == [
        ("1.5000", True, True, False, "r", True, 1, 3),
        (None, True, False, False, "t", False, None, 3),
    ]
    rules = YamlLintConfig((PROJECT / ".yamllint.yaml").read_text())
    assert not list(linter.run(history_yaml(one, model), rules))
    violations = sqlfluff.lint_string(history_sql(one, model)).get_violations()
    assert [f"{v.rule_code()} line {v.line_no}" for v in violations] == []


@settings(max_examples=12)
@given(one=streams())
def test_the_linters_find_nothing(sqlfluff: Linter, one: Stream) -> None:
    assert lint(sqlfluff, one, columns(one)) == []
