"""What a connector's package says of its streams, and the way of the streams of one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.connectors.__main__ import run
from tests.connectors.airbyte_types import arrow_type, encoded, kind_of
from tests.connectors.catalog import discover
from tests.connectors.wheels import UnreachableError, cache_dir, download
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST = """
definitions:
  base:
    primary_key: id
    $parameters: {primary_key: uid}
    schema_loader: {type: JsonFileSchemaLoader}
  orders:
    $ref: "#/definitions/base"
    $parameters: {name: orders}
    incremental_sync: {cursor_field: updated_at}
  notes:
    type: StateDelegatingStream
    name: notes
    full_refresh_stream: {$ref: "#/definitions/base"}
    incremental_stream:
      name: notes
      primary_key: [[a], [b]]
      incremental_sync: {cursor_field: "{{ parameters['cursor'] }}"}
      $parameters: {cursor: at}
      schema_loader: {type: InlineSchemaLoader, schema: {$ref: "#/schemas/notes"}}
  custom:
    name: custom
    schema_loader: {type: DynamicSchemaLoader}
streams: ["#/definitions/orders", {$ref: "#/definitions/notes"}, "#/definitions/custom"]
schemas:
  notes: {properties: {a: {type: string}, b: {type: string}, at: {type: string}}}
"""


def test_a_manifest_and_its_schema_files_give_a_catalog(tmp_path: Path) -> None:
    shared = tmp_path / "schemas" / "shared"
    shared.mkdir(parents=True)
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    money = {"type": "object", "properties": {"amount": {"type": "number"}}}
    (shared / "money.json").write_text(json.dumps({"definitions": {"money": money}}))
    total = {"$ref": "money.json#/definitions/money", "description": "Sum"}
    schema = {"properties": {"id": {"type": "integer"}, "total": total}}
    (tmp_path / "schemas" / "orders.json").write_text(json.dumps(schema))

    found = discover(tmp_path)
    orders, notes = found.catalog["streams"]
    assert found.without_schema == {"custom": "DynamicSchemaLoader"}
    assert (orders["name"], orders["source_defined_primary_key"]) == ("orders", [["id"]])
    assert orders["json_schema"]["properties"]["total"] == {**money, "description": "Sum"}
    assert orders["default_cursor_field"] == ["updated_at"]
    assert (notes["name"], notes["source_defined_primary_key"]) == ("notes", [["a"], ["b"]])
    assert notes["default_cursor_field"] == ["at"]
    assert list(notes["json_schema"]["properties"]) == ["a", "b", "at"]


def test_classes_in_python_give_keys_and_cursors(tmp_path: Path) -> None:
    (tmp_path / "streams.py").write_text(
        "class Base:\n    primary_key = 'id'\n    cursor_field = 'updated'\n"
        "class OrderLines(Base):\n    primary_key = ['order', 'line']\n"
    )
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "order_lines.json").write_text('{"properties": {"order": {}}}')
    (stream,) = discover(tmp_path).catalog["streams"]
    assert stream["source_defined_primary_key"] == [["order"], ["line"]]
    assert stream["default_cursor_field"] == ["updated"]


def test_a_value_of_several_types_is_in_the_member_of_its_type() -> None:
    kind = kind_of({"anyOf": [{"type": "string"}, {"type": ["integer", "null"]}]})
    assert [field.name for field in arrow_type(kind)] == ["type", "string", "integer"]
    assert encoded(5, kind) == {"type": "integer", "string": None, "integer": 5}


def test_every_stream_of_a_connector_lands_and_merges(
    tmp_path: Path, s3: S3Server, client: S3Client
) -> None:
    try:
        download("faker", cache_dir())
    except UnreachableError as error:
        pytest.skip(f"its schemas are in its package, which cannot be had: {error}")
    outcome = run("faker", tmp_path, s3, client)
    assert outcome.failures == {}
    assert outcome.total == outcome.reached["compare"] > 2
    assert outcome.copied == ("products",)
