"""Landing tables: which types, and which changes a file or a config asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema, StreamConfig
from lotus_lake.config.streams import Stream, find_stream, load_streams
from lotus_lake.landing.conversion import RESCUED, RESCUED_TYPE
from lotus_lake.landing.evolution import Evolution, plan_evolution
from lotus_lake.landing.tables import (
    AIRBYTE_COLUMNS,
    ddl_file,
    ddl_text,
    landing_columns,
    landing_ddl,
)
from lotus_lake.landing.types import (
    airbyte_name,
    column_name,
    column_type,
    landing_type,
    reads_as,
    widens_to,
)

PROJECT = Path(__file__).resolve().parents[3]
TEXT: dict[str, Any] = {"type": "string"}


def field(**words: Any) -> FieldSchema:
    return FieldSchema.model_validate(words)


def types(columns: dict[str, str]) -> dict[str, Any]:
    return {name: duckdb.sqltype(kind) for name, kind in columns.items()}


def stream(fields: dict[str, Any]) -> Stream:
    config = {"stream": "orders", "primary_key": [["id"]], "fields": {"id": {}, **fields}}
    return Stream("shop", "orders", StreamConfig.model_validate(config))


# Types


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ({"type": "string"}, "VARCHAR"),
        ({"type": ["null", "string"]}, "VARCHAR"),
        ({"type": ["string", "null"], "format": "uri"}, "VARCHAR"),
        ({}, "VARCHAR"),
        ({"type": "null"}, "VARCHAR"),
        ({"type": "boolean"}, "BOOLEAN"),
        ({"type": "integer"}, "BIGINT"),
        ({"type": ["null", "number"]}, "DOUBLE"),
        ({"type": "string", "format": "date"}, "DATE"),
        ({"type": "string", "format": "time"}, "TIME"),
        ({"type": "string", "format": "date-time"}, "TIMESTAMP WITH TIME ZONE"),
        (
            {
                "type": "string",
                "format": "date-time",
                "airbyte_type": "timestamp_without_timezone",
            },
            "TIMESTAMP WITH TIME ZONE",
        ),
        ({"type": "object"}, "VARCHAR"),
        ({"type": "object", "properties": {}}, "VARCHAR"),
        ({"type": "array"}, "VARCHAR"),
        ({"type": "array", "items": {"type": "integer"}}, "BIGINT[]"),
        ({"type": "array", "items": {}}, "VARCHAR[]"),
        (
            {"type": "object", "properties": {"a b": {"type": "integer"}, "x": {"type": "object"}}},
            'STRUCT("a_b" BIGINT, "x" VARCHAR)',
        ),
        (
            {
                "type": "array",
                "items": {
                    "type": ["null", "object"],
                    "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
                },
            },
            'STRUCT("tags" VARCHAR[])[]',
        ),
        (
            {"type": ["null", "integer", "string"]},
            'STRUCT("type" VARCHAR, "integer" BIGINT, "string" VARCHAR)',
        ),
        (
            {"type": ["string", "object"], "properties": {"id": {"type": "integer"}}},
            'STRUCT("type" VARCHAR, "string" VARCHAR, "object" STRUCT("id" BIGINT))',
        ),
        (
            {"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "number"}}]},
            'STRUCT("type" VARCHAR, "boolean" BOOLEAN, "array" DOUBLE[])',
        ),
        (
            {
                "oneOf": [
                    TEXT,
                    {"type": "string", "format": "date-time"},
                    {"format": "date", **TEXT},
                ]
            },
            'STRUCT("type" VARCHAR, "string" VARCHAR, '
            '"timestamp_with_timezone" TIMESTAMP WITH TIME ZONE, "date" DATE)',
        ),
        (
            {
                "type": ["string", "integer"],
                "format": "time",
                "airbyte_type": "time_without_timezone",
            },
            'STRUCT("type" VARCHAR, "time_without_timezone" TIME, "integer" BIGINT)',
        ),
        ({"oneOf": [TEXT, {"oneOf": [TEXT, {"type": ["string", "null"]}]}]}, "VARCHAR"),
        (
            {"oneOf": [TEXT, {"oneOf": [TEXT, {"type": "integer"}]}]},
            'STRUCT("type" VARCHAR, "string" VARCHAR, "integer" BIGINT)',
        ),
        (
            {
                "oneOf": [
                    {"type": "object", "properties": {"a": TEXT, "b": TEXT}},
                    {"type": "object", "properties": {"b": {"type": "integer"}, "c": TEXT}},
                ]
            },
            'STRUCT("a" VARCHAR, "b" STRUCT("type" VARCHAR, "string" VARCHAR, "integer" BIGINT), '
            '"c" VARCHAR)',
        ),
        (
            {
                "oneOf": [
                    {"type": "object"},
                    {"type": "object", "properties": {"a": TEXT}},
                    {},
                    TEXT,
                ]
            },
            'STRUCT("type" VARCHAR, "object" STRUCT("a" VARCHAR), "string" VARCHAR)',
        ),
    ],
)
def test_a_json_type_becomes_the_type_that_airbyte_writes(words: dict[str, Any], kind: str) -> None:
    assert column_type(field(**words)) == kind
    assert str(duckdb.sqltype(kind))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("order_id", "order_id"),
        ("$value", "_value"),
        ("user.id", "user_id"),
        ("2nd", "_2nd"),
        ("Größe", "Gro_e"),
        ("café", "cafe"),
        ("数", "_"),
    ],
)
def test_a_column_is_named_as_airbyte_names_it(name: str, column: str) -> None:
    assert airbyte_name(name) == column
    assert column_name(name, field()) == column


def test_columns_are_airbytes_the_selected_the_rescued_and_the_partition() -> None:
    columns = landing_columns(stream({"status": {"type": "string"}}), {})
    assert columns == {
        **AIRBYTE_COLUMNS,
        "id": "VARCHAR",
        "status": "VARCHAR",
        RESCUED: RESCUED_TYPE,
        "year": "BIGINT",
        "month": "VARCHAR",
        "day": "VARCHAR",
    }


def test_the_config_selects_and_the_source_knows_the_type() -> None:
    discovered = {
        "id": field(type="integer"),
        "customer": field(type="object", properties={"email": {"type": "string"}}),
        "unselected": field(type="string"),
    }
    columns = landing_columns(stream({"customer": {"type": "object"}}), discovered)
    assert columns["id"] == "BIGINT"
    assert columns["customer"] == 'STRUCT("email" VARCHAR)'
    assert "unselected" not in columns


def test_the_ddl_quotes_every_name() -> None:
    ddl = landing_ddl(stream({}), {'a"b': "BIGINT", "select": "VARCHAR"})
    assert '"lakehouse"."staging"."stg_shop__orders"' in ddl
    assert '    "a""b" BIGINT,\n    "select" VARCHAR\n' in ddl


def test_the_ddl_files_are_current() -> None:
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)})
    streams, _ = load_streams(settings.streams_dir)
    assert len(streams) == 9
    for each in streams:
        assert ddl_file(PROJECT, each).read_text("utf-8") == ddl_text(settings, each)


def test_there_is_no_ddl_file_without_a_stream() -> None:
    files = sorted((PROJECT / "include/landing").glob("*/*.sql"))
    assert files
    for file in files:
        name = file.stem.removeprefix(f"stg_{file.parent.name}__")
        assert find_stream(PROJECT / "include/streams", file.parent.name, name)


# Evolution

TABLE = {
    "id": "BIGINT",
    "small": "INTEGER",
    "price": "FLOAT",
    "total": "DECIMAL(10,2)",
    "name": "VARCHAR",
    "seen_at": "TIMESTAMP WITH TIME ZONE",
    "address": "STRUCT(city VARCHAR, geo STRUCT(lat DOUBLE))",
    "lines": "STRUCT(sku VARCHAR, qty BIGINT)[]",
    "tags": "VARCHAR[]",
}


def plan(arriving: dict[str, str]) -> Evolution:
    return plan_evolution(types(TABLE), types(arriving))


@pytest.mark.parametrize(
    "arriving",
    [
        TABLE,
        {"id": "BIGINT"},
        {},
        dict(reversed(TABLE.items())),
        {"ID": "BIGINT", "Address": "STRUCT(CITY VARCHAR)"},
        {"id": "INTEGER", "address": "STRUCT(geo STRUCT(lat FLOAT), city VARCHAR)"},
        {"lines": "STRUCT(qty SMALLINT)[]"},
        {"id": "UINTEGER", "small": "USMALLINT"},
        {"total": "DECIMAL(8,1)"},
    ],
    ids=[
        "the same", "fewer", "none", "reordered", "other case", "narrower", "narrower in a list",
        "unsigned", "narrower decimal",
    ],
)  # fmt: skip
def test_what_fits_asks_for_nothing(arriving: dict[str, str]) -> None:
    assert not plan(arriving)


@pytest.mark.parametrize(
    ("arriving", "added"),
    [
        ({"currency": "VARCHAR"}, [(("currency",), "VARCHAR")]),
        ({"address": "STRUCT(zip VARCHAR, city VARCHAR)"}, [(("address", "zip"), "VARCHAR")]),
        (
            {"ADDRESS": "STRUCT(geo STRUCT(lon DOUBLE))"},
            [(("address", "geo", "lon"), "DOUBLE")],
        ),
        ({"lines": "STRUCT(price DOUBLE)[]"}, [(("lines", "element", "price"), "DOUBLE")]),
        (
            {"address": "STRUCT(tags STRUCT(a BIGINT)[])", "b": "DATE"},
            [(("address", "tags"), "STRUCT(a BIGINT)[]"), (("b",), "DATE")],
        ),
    ],
    ids=["column", "nested field", "deep field", "field of list elements", "two at once"],
)
def test_what_is_new_is_added(
    arriving: dict[str, str], added: list[tuple[tuple[str, ...], str]]
) -> None:
    assert plan(arriving) == Evolution(added=tuple(added))


@pytest.mark.parametrize(
    ("arriving", "widened"),
    [
        ({"small": "BIGINT"}, [("small", "BIGINT")]),
        ({"price": "DOUBLE"}, [("price", "DOUBLE")]),
        ({"total": "DECIMAL(18,4)"}, [("total", "DECIMAL(18,4)")]),
    ],
)
def test_what_is_wider_is_widened(arriving: dict[str, str], widened: list[tuple[str, str]]) -> None:
    assert plan(arriving) == Evolution(widened=tuple(widened))


@pytest.mark.parametrize(
    ("arriving", "problem"),
    [
        ({"id": "VARCHAR"}, "column id is BIGINT, arriving as VARCHAR"),
        ({"id": "DOUBLE"}, "column id is BIGINT, arriving as DOUBLE"),
        ({"name": "BIGINT"}, "column name is VARCHAR, arriving as BIGINT"),
        ({"seen_at": "TIMESTAMP"}, "column seen_at is TIMESTAMP WITH TIME ZONE, arriving as"),
        ({"total": "DECIMAL(10,4)"}, "column total is DECIMAL(10,2), arriving as DECIMAL(10,4)"),
        ({"total": "DOUBLE"}, "column total is DECIMAL(10,2), arriving as DOUBLE"),
        ({"address": "VARCHAR"}, "column address is STRUCT(city VARCHAR"),
        ({"address": "STRUCT(city BIGINT)"}, "column address.city is VARCHAR, arriving as BIGINT"),
        ({"lines": "STRUCT(qty VARCHAR)[]"}, "column lines.element.qty is BIGINT"),
        ({"tags": "VARCHAR"}, "column tags is VARCHAR[], arriving as VARCHAR"),
        ({"tags": "BIGINT[]"}, "column tags.element is VARCHAR, arriving as BIGINT"),
    ],
)
def test_what_cannot_fit_is_a_problem(arriving: dict[str, str], problem: str) -> None:
    evolution = plan(arriving)
    assert len(evolution.problems) == 1
    assert problem in evolution.problems[0]
    assert not evolution.widened


def test_all_findings_come_together() -> None:
    evolution = plan({"id": "VARCHAR", "small": "BIGINT", "new": "DATE", "tags": "DATE"})
    assert evolution.added == ((("new",), "DATE"),)
    assert evolution.widened == (("small", "BIGINT"),)
    assert len(evolution.problems) == 2


@pytest.mark.parametrize(
    ("name", "words", "column"),
    [
        ("Year", {}, "source_Year"),
        ("rowid", {}, "source_rowid"),
        ("_lake_row_id", {}, "source__lake_row_id"),
        ("year_end", {}, "year_end"),
        ("day", {"column": "day_of_month"}, "day_of_month"),
        ("First Name", {"column": "First Name"}, "First Name"),
    ],
)
def test_a_name_that_is_taken_or_declared_is_another_column(
    name: str, words: dict[str, Any], column: str
) -> None:
    assert column_name(name, field(**words)) == column


@pytest.mark.parametrize(
    ("arriving", "kind"),
    [
        ("STRUCT(month BIGINT, rowid BIGINT)", "STRUCT(source_month BIGINT, rowid BIGINT)"),
        ("STRUCT(till STRUCT(DAY VARCHAR)[])[]", "STRUCT(till STRUCT(source_DAY VARCHAR)[])[]"),
        ("MAP(VARCHAR, TIME WITH TIME ZONE)", "MAP(VARCHAR, TIME)"),
        ("STRUCT(v VARIANT, b BLOB)[]", "STRUCT(v VARCHAR, b BLOB)[]"),
    ],
)
def test_types_inside_others_land_as_tables_can_have_them(arriving: str, kind: str) -> None:
    assert str(duckdb.sqltype(landing_type(duckdb.sqltype(arriving)))) == str(duckdb.sqltype(kind))


def test_case_is_that_of_ascii_letters_only() -> None:
    assert plan_evolution(types({"Ä": "BIGINT"}), types({"ä": "BIGINT"})).added
    assert not plan_evolution(types({"A": "BIGINT"}), types({"a": "BIGINT"})).added


def test_widening_never_goes_back() -> None:
    kinds = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR"]
    pairs = [(a, b) for a in kinds for b in kinds]
    assert [(a, b) for a, b in pairs if widens_to(a, b) and widens_to(b, a)] == []
    assert [(a, b) for a, b in pairs if widens_to(a, b) and not reads_as(a, b)] == []
