"""From a discovered JSON schema to the columns that Airbyte's S3 destination writes.

Written from the destination's documented behaviour and on purpose not from the lake's own code, so
that one checks the other.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

Json = Mapping[str, Any]
Encode = Callable[[Any], Any]

INCLUDE = Path(__file__).resolve().parent.parent / "include"

DRIFT: dict[tuple[str, str], tuple[tuple[str, ...], Json | None]] = {
    ("shopify", "orders"): (("currency",), None),
    ("klaviyo", "profiles"): (
        ("attributes", "location", "latitude"),
        {"type": ["null", "string"]},
    ),
}
"""What later files hold in addition: the path and, if it was not discovered, its schema."""

_CHANGE = pa.struct(
    [pa.field(name, pa.string(), nullable=False) for name in ("field", "change", "reason")]
)
_META = pa.struct(
    [
        pa.field("sync_id", pa.int64(), nullable=False),
        pa.field("changes", pa.list_(pa.field("element", _CHANGE, nullable=False)), nullable=False),
    ]
)
AIRBYTE_FIELDS = (
    pa.field("_airbyte_raw_id", pa.string(), nullable=False),
    pa.field("_airbyte_extracted_at", pa.timestamp("ms", tz="UTC"), nullable=False),
    pa.field("_airbyte_meta", _META, nullable=False),
    pa.field("_airbyte_generation_id", pa.int64(), nullable=False),
)
"""The four columns that open every file."""


@dataclass(frozen=True, slots=True)
class Column:
    """A data column: its name in the source, its Parquet field, and how a value gets there."""

    source_name: str
    field: pa.Field
    encode: Encode


@cache
def stream_columns(source: str, stream: str, drifted: bool = False) -> tuple[Column, ...]:
    """Return the data columns of a stream's files in file order.

    Args:
        source: The origin system.
        stream: The feed.
        drifted: Whether the files are written after the change of `DRIFT`.
    """
    discovered = _load("sources", source, stream)["json_schema"]["properties"]
    selected = set(_load("streams", source, stream)["fields"])
    if drifted and (source, stream) in DRIFT:
        path, schema = DRIFT[source, stream]
        selected.add(path[0])
        if schema is not None:
            discovered = _with_property(discovered, path, schema)
    columns = []
    for name in sorted(selected, key=_jsonb_order):
        kind, encode = _convert(discovered[name])
        columns.append(Column(name, pa.field(parquet_name(name), kind), encode))
    return tuple(columns)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the schema of a file: the four Airbyte columns, then the data columns."""
    return pa.schema([*AIRBYTE_FIELDS, *(column.field for column in columns)])


def parquet_name(name: str) -> str:
    """Return the name of a field in Parquet: anything outside `[A-Za-z0-9_]` becomes `_`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def json_text(value: Any) -> str | None:
    """Return the compact JSON text that stands for an object without properties."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _load(folder: str, source: str, stream: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (INCLUDE / folder / source / f"{stream}.json").read_text("utf-8")
    )
    return document


def _with_property(properties: Json, path: tuple[str, ...], schema: Json) -> Json:
    head, *rest = path
    if not rest:
        return {**properties, head: schema}
    inner = _with_property(properties[head]["properties"], tuple(rest), schema)
    return {**properties, head: {**properties[head], "properties": inner}}


def _jsonb_order(name: str) -> tuple[int, bytes]:
    raw = name.encode()
    return len(raw), raw


def _convert(schema: Json) -> tuple[pa.DataType, Encode]:
    kind = _plain_type(schema)
    if kind == "object" and schema.get("properties"):
        return _convert_object(schema["properties"])
    if kind == "array" and "items" in schema:
        return _convert_array(schema["items"])
    if kind in ("object", "array"):
        return pa.string(), json_text
    if kind == "string":
        return _STRINGS.get(schema.get("format", ""), (pa.string(), _same))
    return _SCALARS[kind]


def _plain_type(schema: Json) -> str:
    declared = schema["type"]
    kinds = (
        [declared] if isinstance(declared, str) else [kind for kind in declared if kind != "null"]
    )
    if len(kinds) != 1:
        raise ValueError(f"the samples write fields of one type, not {declared!r}")
    kind: str = kinds[0]
    return kind


def _convert_object(properties: Json) -> tuple[pa.DataType, Encode]:
    members: list[tuple[str, str, Encode]] = []
    fields = []
    for name in sorted(properties, key=_jsonb_order):
        kind, encode = _convert(properties[name])
        fields.append(pa.field(parquet_name(name), kind))
        members.append((parquet_name(name), name, encode))

    def encode_object(value: Any) -> Any:
        if value is None:
            return None
        return {target: encode(value.get(origin)) for target, origin, encode in members}

    return pa.struct(fields), encode_object


def _convert_array(items: Json) -> tuple[pa.DataType, Encode]:
    kind, encode = _convert(items)

    def encode_array(value: Any) -> Any:
        return None if value is None else [encode(item) for item in value]

    return pa.list_(pa.field("element", kind)), encode_array


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


_STRINGS: dict[str, tuple[pa.DataType, Encode]] = {
    "date": (pa.date32(), _same),
    "date-time": (pa.timestamp("us", tz="UTC"), _same),
    "time": (pa.time64("us"), _same),
}
_SCALARS: dict[str, tuple[pa.DataType, Encode]] = {
    "boolean": (pa.bool_(), _same),
    "integer": (pa.int64(), _same),
    "number": (pa.float64(), _number),
}
