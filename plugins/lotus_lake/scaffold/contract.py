"""The contract of a stream, in the Open Data Contract Standard (ODCS 3.1).

Source: https://bitol-io.github.io/open-data-contract-standard/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.landing.tables import landing_columns
from lotus_lake.landing.types import children, column_name

_SCALARS = {
    "varchar": "string", "boolean": "boolean", "date": "date", "time": "time",
    "timestamp with time zone": "timestamp", "timestamp": "timestamp",
    "bigint": "integer", "integer": "integer", "double": "number", "decimal": "number",
}  # fmt: skip


def contract(settings: Settings, stream: Stream, version: str) -> dict[str, Any]:
    """What the landing table of a stream promises: columns, key, freshness.

    Args:
        settings: Where source schemas are.
        stream: The stream.
        version: Version of the contract.

    Returns:
        An ODCS document, ready to be written as YAML or JSON.
    """
    discovered = source_schema(settings.sources_dir, stream)
    columns = landing_columns(stream, discovered)
    fields = {column_name(name, field): field for name, field in stream.config.fields.items()}
    key = [path[0] for path in stream.config.primary_key]
    keys = {column_name(name, stream.config.fields[name]): key.index(name) + 1 for name in key}
    con = duckdb.connect()
    properties = [
        _property(name, con.sqltype(kind), fields.get(name), keys.get(name))
        for name, kind in columns.items()
    ]
    table = {
        "name": stream.name,
        "physicalName": f"staging.{stream.landing_table}",
        "physicalType": "table",
        "logicalType": "object",
        "description": "Rows as Airbyte wrote them, every version of a record.",
        "properties": properties,
    }
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": stream.id,
        "name": f"{stream.source}/{stream.name}",
        "version": version,
        "status": "active",
        "domain": stream.source,
        "schema": [table],
        "slaProperties": _promises(stream),
    }


def _property(
    name: str, kind: DuckDBPyType, field: FieldSchema | None, key: int | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "physicalType": str(kind), **_logical(kind)}
    if field is not None and field.description:
        found["description"] = field.description
    if key is not None:
        found |= {"primaryKey": True, "primaryKeyPosition": key}
    return found


def _logical(kind: DuckDBPyType) -> dict[str, Any]:
    """Logical type of a column, with those of what is in it."""
    if kind.id == "list":
        [(_, inner)] = children(kind)
        return {"logicalType": "array", "items": {"physicalType": str(inner), **_logical(inner)}}
    if kind.id == "struct":
        members = [_property(name, inner, None, None) for name, inner in children(kind)]
        return {"logicalType": "object", "properties": members}
    return {"logicalType": _SCALARS.get(str(kind).lower().split("(")[0], "string")}


def _promises(stream: Stream) -> list[dict[str, Any]]:
    promise, table = stream.feeder.freshness, stream.landing_table
    limits: Mapping[str, float | None] = {
        "warning": promise.warn_after_seconds if promise else None,
        "error": promise.error_after_seconds if promise else None,
    }
    return [
        {
            "property": "frequency",
            "value": stream.feeder.schedule,
            "description": "Schedule of the stream's Dag.",
        },
        *(
            {
                "property": "latency",
                "value": seconds,
                "unit": "s",
                "element": f"{table}._airbyte_extracted_at",
                "description": f"Longest time without new rows before the {level}.",
            }
            for level, seconds in limits.items()
            if seconds is not None
        ),
    ]
