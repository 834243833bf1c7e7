"""How Airbyte's S3 destination writes a connector's fields into Parquet.

Written from the destination's behaviour and on purpose not from the lake's own code, so that one
checks the other: types in a union get a member each, objects in it become one, and what has no
schema is JSON text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import pyarrow as pa

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of the destination.

    Attributes:
        name: As a member of a union is called.
        fields: What an object consists of, by the names in the source.
        items: What an array consists of.
        options: What a union allows.
    """

    name: str
    fields: tuple[tuple[str, Kind], ...] = ()
    items: Kind | None = None
    options: tuple[Kind, ...] = ()


def kind_of(schema: Json) -> Kind:
    """The type of a field by its JSON schema."""
    options = list(_merged(_options(schema)))
    if len(options) == 1:
        return options[0]
    return Kind("union", options=tuple(options)) if options else Kind("object")


def parquet_name(name: str) -> str:
    """A field's name in Parquet."""
    plain = "".join(
        char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char)
    )
    clean = re.sub(r"[^A-Za-z0-9_]", "_", plain)
    return f"_{clean}" if clean[:1].isdigit() else clean


def arrow_type(kind: Kind) -> pa.DataType:
    """The type of its column."""
    if kind.fields:
        return pa.struct([(parquet_name(name), arrow_type(inner)) for name, inner in kind.fields])
    if kind.items:
        return pa.list_(arrow_type(kind.items))
    if kind.options:
        members = [(option.name, arrow_type(option)) for option in kind.options]
        return pa.struct([("type", pa.string()), *members])
    return _ARROW.get(kind.name, pa.string())


def encoded(value: Any, kind: Kind) -> Any:
    """A value of a record as its column has it."""
    if value is None:
        return None
    if kind.fields:
        return {parquet_name(name): encoded(value.get(name), k) for name, k in kind.fields}
    if kind.items:
        return [encoded(item, kind.items) for item in value]
    if kind.options:
        option = next(option for option in kind.options if _takes(option, value))
        rest = dict.fromkeys(other.name for other in kind.options)
        return {"type": option.name, **rest, option.name: encoded(value, option)}
    if kind.name in ("object", "array"):
        return json.dumps(value)
    parse = _PARSED.get(kind.name.partition("_")[0])
    return parse(value) if parse else value


def _options(schema: Json) -> Iterator[Kind]:
    """Each type that a schema allows, besides null; a union in a union is no union."""
    kinds = schema.get("type")
    choice = schema.get("oneOf") or schema.get("anyOf") or schema.get("allOf")
    if kinds is None and choice:
        for option in choice:
            yield from _options(option)
        return
    for kind in [kinds] if isinstance(kinds, str) else kinds or ["object"]:
        if kind != "null":
            yield _single(kind, schema)


def _single(kind: str, schema: Json) -> Kind:
    if kind == "object":
        fields = (schema.get("properties") or {}).items()
        return Kind("object", tuple((name, kind_of(inner)) for name, inner in fields))
    if kind == "array":
        items = schema.get("items")
        if isinstance(items, list):
            items = {"anyOf": items} if items else None
        return Kind("array", items=kind_of(items) if items is not None else None)
    if kind == "string":
        return Kind(_string(schema.get("format"), schema.get("airbyte_type")))
    if kind == "number" and schema.get("airbyte_type") == "integer":
        return Kind("integer")
    return Kind({"int": "integer"}.get(kind, kind))


def _string(form: str | None, airbyte_type: str | None) -> str:
    if form == "date-time":
        return airbyte_type or "timestamp_with_timezone"
    if form == "time":
        return airbyte_type or "time_with_timezone"
    return "date" if form == "date" else "string"


def _merged(options: Iterator[Kind]) -> Sequence[Kind]:
    """One option per name: objects have the fields of all of them."""
    merged: dict[str, Kind] = {}
    for option in options:
        known = merged.get(option.name)
        if known and option.fields:
            option = Kind("object", tuple(_both(dict(known.fields), dict(option.fields)).items()))
        elif known:
            continue
        merged[option.name] = option
    return list(merged.values())


def _both(one: dict[str, Kind], other: dict[str, Kind]) -> dict[str, Kind]:
    both = {**one, **other}
    for name in one.keys() & other.keys():
        pair = (kind.options or (kind,) for kind in (one[name], other[name]))
        options = _merged(iter([option for kinds in pair for option in kinds]))
        both[name] = options[0] if len(options) == 1 else Kind("union", options=tuple(options))
    return both


def _takes(kind: Kind, value: Any) -> bool:
    parse = _PARSED.get(kind.name.partition("_")[0])
    if parse and isinstance(value, str):
        try:
            parse(value)
        except ValueError:
            return False
    python: Any = _PYTHON.get(kind.name, str)
    return isinstance(value, python) and isinstance(value, bool) == (kind.name == "boolean")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


_PYTHON = {"object": dict, "array": list, "integer": int, "number": float, "boolean": bool}
_PARSED = {
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": _moment,
}
_ARROW = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "date": pa.date32(),
    "time_with_timezone": pa.time64("us"),
    "time_without_timezone": pa.time64("us"),
    "timestamp_with_timezone": pa.timestamp("us", tz="UTC"),
    "timestamp_without_timezone": pa.timestamp("us", tz="UTC"),
}
