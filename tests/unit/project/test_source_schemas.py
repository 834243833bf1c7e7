"""What a connector discovers, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema, StreamConfig
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.errors import CatalogMessageError, StreamConfigError
from lotus_lake.landing.types import column_type
from lotus_lake.project.json_schema import field_schemas
from lotus_lake.project.json_text import json_text
from lotus_lake.project.source_schemas import read_airbyte_catalog, write_source_schemas

PROJECT = Path(__file__).resolve().parents[3]
ORDERS: dict[str, Any] = {
    "name": "orders",
    "json_schema": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "id": {"type": ["null", "integer"], "description": "Its id."},
            "total": {"type": "number"},
            "lines": {
                "type": "array",
                "items": {"type": "object", "properties": {"sku": {"type": "string"}}},
            },
        },
    },
    "supported_sync_modes": ["full_refresh", "incremental"],
    "source_defined_cursor": True,
    "default_cursor_field": ["updated_at"],
    "source_defined_primary_key": [["id"]],
    "namespace": None,
}
CATALOG = {"streams": [ORDERS]}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"LAKE_PROJECT_DIR": str(tmp_path)})


def orders(settings: Settings) -> dict[str, Any]:
    text = (settings.sources_dir / "shop" / "orders.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def with_fields(**properties: Any) -> dict[str, Any]:
    return {"streams": [{**ORDERS, "json_schema": {"properties": properties}}]}


# Reading


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CATALOG),
        json.dumps(CATALOG, indent=2),
        json.dumps({"type": "CATALOG", "catalog": CATALOG}),
        "\n".join(
            [
                "Starting the connector",
                json.dumps({"type": "LOG", "log": {"level": "INFO", "message": '"streams"'}}),
                "[1, 2]",
                json.dumps({"type": "CATALOG", "catalog": CATALOG}),
                json.dumps({"type": "LOG", "log": {"level": "INFO", "message": "done"}}),
            ]
        ),
    ],
    ids=["catalog", "indented", "message", "among logs"],
)
def test_the_catalog_is_found(text: str) -> None:
    assert read_airbyte_catalog(text) == CATALOG


@pytest.mark.parametrize("text", ["", "no JSON at all", '{"type": "LOG"}\n{"type": "LOG"}'])
def test_output_without_a_catalog_is_an_error(text: str) -> None:
    with pytest.raises(CatalogMessageError, match="no CATALOG message"):
        read_airbyte_catalog(text)


@pytest.mark.parametrize("text", ["[]", "{}", "5", '{"streams": {}}', '{"catalog": []}'])
def test_another_document_is_an_error(text: str) -> None:
    with pytest.raises(CatalogMessageError, match="not an AirbyteCatalog"):
        read_airbyte_catalog(text)


def test_what_the_connector_says_of_its_failure_is_repeated() -> None:
    trace = {"type": "TRACE", "trace": {"type": "ERROR", "error": {"message": "wrong API key"}}}
    with pytest.raises(CatalogMessageError, match="the connector failed: wrong API key"):
        read_airbyte_catalog(f"a line\n{json.dumps(trace)}")


# Writing


def test_a_stream_is_kept_with_types_descriptions_key_and_cursor(settings: Settings) -> None:
    (written,) = write_source_schemas(settings, "shop", CATALOG)
    assert (written.stream, written.status) == ("orders", "new")
    assert written.added == ("id", "total", "lines", "lines[].sku")
    assert orders(settings) == {
        "name": "orders",
        "json_schema": {
            "type": "object",
            "properties": ORDERS["json_schema"]["properties"],
        },
        "supported_sync_modes": ["full_refresh", "incremental"],
        "source_defined_cursor": True,
        "default_cursor_field": ["updated_at"],
        "source_defined_primary_key": [["id"]],
    }


def test_writing_again_changes_nothing(settings: Settings) -> None:
    (first,) = write_source_schemas(settings, "shop", CATALOG)
    before = first.path.stat().st_mtime_ns
    (again,) = write_source_schemas(settings, "shop", CATALOG)
    assert (again.status, again.added) == ("unchanged", ())
    assert again.path.stat().st_mtime_ns == before


def test_another_order_of_the_fields_changes_nothing(settings: Settings) -> None:
    write_source_schemas(settings, "shop", CATALOG)
    properties = ORDERS["json_schema"]["properties"]
    (written,) = write_source_schemas(
        settings, "shop", with_fields(**dict(reversed(properties.items())))
    )
    assert written.status == "unchanged"


def test_what_changed_is_told(settings: Settings) -> None:
    write_source_schemas(settings, "shop", CATALOG)
    catalog = with_fields(
        id={"type": "string"},
        lines={
            "type": "array",
            "items": {"type": "object", "properties": {"qty": {"type": "integer"}}},
        },
        at={"type": "string", "format": "date-time"},
    )
    (written,) = write_source_schemas(settings, "shop", catalog, dry_run=True)
    assert written.status == "changed"
    assert written.added == ("lines[].qty", "at")
    assert written.removed == ("total", "lines[].sku")
    assert written.changed == ("id: integer -> string", "description of id")
    assert "total" in orders(settings)["json_schema"]["properties"]  # a dry run

    write_source_schemas(settings, "shop", catalog)
    assert list(orders(settings)["json_schema"]["properties"]) == ["id", "lines", "at"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"supported_sync_modes": ["full_refresh"]},
         'supported_sync_modes: ["full_refresh", "incremental"] -> ["full_refresh"]'),
        ({"source_defined_primary_key": []}, 'source_defined_primary_key: [["id"]] -> null'),
        ({"default_cursor_field": ["at"]}, 'default_cursor_field: ["updated_at"] -> ["at"]'),
        ({"namespace": "eu"}, 'namespace: null -> "eu"'),
    ],
)  # fmt: skip
def test_a_change_of_the_stream_is_told(
    settings: Settings, change: dict[str, Any], told: str
) -> None:
    write_source_schemas(settings, "shop", CATALOG)
    (written,) = write_source_schemas(settings, "shop", {"streams": [{**ORDERS, **change}]})
    assert (written.status, written.changed) == ("changed", (told,))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "integer"}, "description of id"),
        ({"type": "integer", "description": "Its id.", "airbyte_type": "x"}, "airbyte_type of id"),
    ],
)
def test_a_change_of_a_field_besides_its_type_is_told(
    settings: Settings, schema: dict[str, Any], told: str
) -> None:
    write_source_schemas(settings, "shop", CATALOG)
    fields = {**ORDERS["json_schema"]["properties"], "id": schema}
    (written,) = write_source_schemas(settings, "shop", with_fields(**fields))
    assert (written.status, written.changed) == ("changed", (told,))


def test_a_file_that_somebody_has_laid_out_anew_is_told(settings: Settings) -> None:
    (first,) = write_source_schemas(settings, "shop", CATALOG)
    first.path.write_text(json.dumps(orders(settings)))
    (written,) = write_source_schemas(settings, "shop", CATALOG)
    assert (written.status, written.changed) == ("changed", ("layout of the file",))


def test_one_stream_can_be_chosen(settings: Settings) -> None:
    catalog = {"streams": [ORDERS, {**ORDERS, "name": "customers"}]}
    (written,) = write_source_schemas(settings, "shop", catalog, only=["customers"])
    assert written.stream == "customers"
    with pytest.raises(CatalogMessageError, match="no stream refunds") as caught:
        write_source_schemas(settings, "shop", catalog, only=["refunds"])
    assert caught.value.hint == "it has customers, orders"


def test_a_name_that_cannot_be_a_stream_hides_no_other(settings: Settings) -> None:
    names = ("../orders", "orders", "7 days", "日本")
    catalog = {"streams": [{**ORDERS, "name": name} for name in names]}
    found = {entry.stream: entry for entry in write_source_schemas(settings, "shop", catalog)}
    assert [found[name].status for name in names] == ["skipped", "new", "skipped", "skipped"]
    assert "another stream is called orders here" in found["../orders"].reason
    assert "is not a valid name of a stream" in found["7 days"].reason
    assert [path.name for path in settings.sources_dir.rglob("*.json")] == ["orders.json"]


@pytest.mark.parametrize(
    ("name", "ours"),
    [("Order Refunds", "order_refunds"), ("a__b", "a_b"), ("é-x", "e_x"), ("Lead", "Lead")],
)
def test_a_stream_whose_name_is_not_plain_gets_one(
    settings: Settings, name: str, ours: str
) -> None:
    catalog = {"streams": [{**ORDERS, "name": name}]}
    (written,) = write_source_schemas(settings, "shop", catalog)
    assert (written.stream, written.path.name, written.status) == (ours, f"{ours}.json", "new")
    assert json.loads(written.path.read_text())["name"] == name


def test_a_source_that_cannot_be_a_folder_is_refused(settings: Settings) -> None:
    with pytest.raises(StreamConfigError, match="is not a valid name of a source"):
        write_source_schemas(settings, "../shop", CATALOG)


def test_a_stream_without_a_name_is_refused(settings: Settings) -> None:
    with pytest.raises(CatalogMessageError, match="has no name"):
        write_source_schemas(settings, "shop", {"streams": [{"json_schema": {}}]})


def test_an_answer_of_an_airbyte_server_is_read_too(settings: Settings) -> None:
    stream = {
        "name": "orders",
        "jsonSchema": ORDERS["json_schema"],
        "supportedSyncModes": ["full_refresh", "incremental"],
        "sourceDefinedCursor": True,
        "defaultCursorField": ["updated_at"],
        "sourceDefinedPrimaryKey": [["id"]],
    }
    write_source_schemas(
        settings, "shop", {"catalog": {"streams": [{"stream": stream, "config": {}}]}}
    )
    server = orders(settings)
    write_source_schemas(settings, "shop", CATALOG)
    assert orders(settings) == server


def test_a_broken_file_is_written_anew(settings: Settings) -> None:
    path = settings.sources_dir / "shop" / "orders.json"
    path.parent.mkdir(parents=True)
    path.write_text("oops")
    (written,) = write_source_schemas(settings, "shop", CATALOG)
    assert written.status == "new"
    assert orders(settings)["name"] == "orders"


def test_a_description_of_any_characters_can_be_written(settings: Settings) -> None:
    field = json.loads('{"type": "string", "description": "\\ud83d and\\n {{ more }}"}')
    write_source_schemas(settings, "shop", with_fields(field=field))
    kept = orders(settings)["json_schema"]["properties"]["field"]
    assert kept["description"] == "? and {{ more }}"


# JSON schema as connectors write it


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (True, "VARCHAR"),
        ({}, "VARCHAR"),
        ({"type": "bigint"}, "VARCHAR"),
        ({"properties": {"a": {"type": "integer"}}}, 'STRUCT("a" BIGINT)'),
        ({"items": {"type": "integer"}}, "VARCHAR"),
        ({"type": "int"}, "BIGINT"),
        ({"type": ["null", "number"], "airbyte_type": "integer"}, "BIGINT"),
        ({"type": "integer", "oneOf": [{"type": "string"}]}, "BIGINT"),
        ({"allOf": [{"type": "number"}]}, "DOUBLE"),
        ({"$ref": "WellKnownTypes.json#/definitions/Date"}, "DATE"),
        ({"$ref": "#/definitions/other"}, "VARCHAR"),
        ({"type": "array", "items": [{"type": "integer"}]}, "BIGINT[]"),
        ({"type": "array", "items": {}}, "VARCHAR[]"),
        ({"type": "array", "items": True}, "VARCHAR"),
        ({"type": "object", "properties": {}}, "VARCHAR"),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, "BOOLEAN"),
        ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "BIGINT"),
        (
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            'STRUCT("type" VARCHAR, "integer" BIGINT, "string" VARCHAR)',
        ),
        ({"type": ["null", "string"], "format": "date-time"}, "TIMESTAMP WITH TIME ZONE"),
        ({"type": "string", "format": None, "description": 5, "enum": ["a"]}, "VARCHAR"),
    ],
)
def test_whatever_connectors_write_can_be_read(settings: Settings, schema: Any, kind: str) -> None:
    write_source_schemas(settings, "shop", with_fields(field=schema))
    config = {"stream": "orders", "primary_key": [["field"]], "fields": {"field": {}}}
    stream = Stream("shop", "orders", StreamConfig.model_validate(config))
    found = source_schema(settings.sources_dir, stream)
    assert {name: column_type(field) for name, field in found.items()} == {"field": kind}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "oneOf", "anyOf", "format", "a"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(schema=json_values)
def test_no_schema_breaks_the_writer_or_the_reader(
    tmp_path_factory: pytest.TempPathFactory, schema: Any
) -> None:
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(tmp_path_factory.mktemp("project"))})
    write_source_schemas(settings, "shop", with_fields(field=schema))
    (again,) = write_source_schemas(settings, "shop", with_fields(field=schema))
    assert again.status == "unchanged"
    kept = orders(settings)["json_schema"]["properties"]["field"]
    column_type(FieldSchema.model_validate(kept))
    assert "field" in field_schemas(orders(settings)["json_schema"])


# The text of JSON files


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "include").glob("s*/*/[!_]*.json")), ids=lambda path: path.name
)
def test_files_of_this_project_are_written_as_they_are(path: Path) -> None:
    text = path.read_text("utf-8")
    assert json_text(json.loads(text)) == text


@given(document=json_values)
def test_the_text_says_what_the_document_says(document: Any) -> None:
    text = json_text(document)
    assert json.loads(text) == document
    assert text.endswith("\n")
