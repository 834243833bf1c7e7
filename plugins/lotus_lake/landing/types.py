"""Types: DuckDB's for what Airbyte writes, and which of them a table's column can take.

DuckLake reads the type of a file's column from its footer by itself, and knows fewer than DuckDB.
It takes each time of day for TIME, with or without a time zone; Parquet keeps none but UTC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import cast

from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.stream_config import HIVE_COLUMNS, VIRTUAL_COLUMNS, FieldSchema
from lotus_lake.sql import folded, identifier

_STRING_FORMATS = {
    "date": "DATE",
    "time": "TIME",
    "date-time": "TIMESTAMP WITH TIME ZONE",
}
_TIMED = {"time": "time_with_timezone", "date-time": "timestamp_with_timezone"}


_SCALARS = {"boolean": "BOOLEAN", "integer": "BIGINT", "number": "DOUBLE"}


NESTED = ("struct", "list", "map")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")


# Which types of a file DuckLake reads into a column of the type on the left, besides its own.
_READ_AS = {
    "SMALLINT": {"TINYINT", "UTINYINT"},
    "INTEGER": {"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"},
    "BIGINT": {"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"},
    "USMALLINT": {"UTINYINT"},
    "UINTEGER": {"UTINYINT", "USMALLINT"},
    "UBIGINT": {"UTINYINT", "USMALLINT", "UINTEGER"},
    "DOUBLE": {"FLOAT"},
    "TIME": {"TIME WITH TIME ZONE"},
    "TIMESTAMP": {"TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"},
}


_WIDENED = {("FLOAT", "DOUBLE"), ("TIME WITH TIME ZONE", "TIME")}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def column_name(name: str, schema: FieldSchema, *, nested: bool = False) -> str:
    """Name of a field in the landing table: the declared one, or else that of Airbyte's files."""
    return schema.column or free_name(airbyte_name(name), nested=nested)


def free_name(name: str, *, nested: bool = False) -> str:
    """A name that hides no column that every landing table has."""
    taken = HIVE_COLUMNS if nested else (*HIVE_COLUMNS, *VIRTUAL_COLUMNS)
    return f"source_{name}" if folded(name) in taken else name


def airbyte_name(name: str) -> str:
    """How Airbyte writes a field name into Parquet: without accents, else `_` for the unusual."""
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in letters if not unicodedata.combining(char))
    clean = re.sub(r"[^A-Za-z0-9_]", "_", plain)
    return f"_{clean}" if clean[:1].isdigit() else clean


def column_type(schema: FieldSchema) -> str:
    """DuckDB's type for what Airbyte writes for a JSON-schema field.

    A field of several types becomes a group with a member for each: its types are counted as the
    destination counts them (MergeUnions and UnionTypeToDisjointRecord in the connectors' kit).
    """
    options = _alternatives(schema)
    if len(options) == 1:
        return next(_plain_type(option) for option in options.values())
    members = {name: _plain_type(option) for name, option in options.items()}
    return _struct({"type": "VARCHAR", **members})


def _plain_type(schema: FieldSchema) -> str:
    kind = schema.types[0] if schema.types else "string"
    if kind == "object" and schema.properties:
        return _struct(
            {
                column_name(name, inner, nested=True): column_type(inner)
                for name, inner in schema.properties.items()
            }
        )
    if kind == "array" and schema.items:
        return f"{column_type(schema.items)}[]"
    if kind == "string":
        return _STRING_FORMATS.get(schema.format or "", "VARCHAR")
    return _SCALARS.get(kind, "VARCHAR")


def _alternatives(schema: FieldSchema) -> dict[str, FieldSchema]:
    """What a field may be, by Airbyte's name for each type; objects are one, with all fields."""
    found: dict[str, FieldSchema] = {}
    for option in _options(schema):
        name = _member(option)
        if name in found and option.properties:
            both = _both(found[name].properties or {}, option.properties)
            found[name] = option.model_copy(update={"properties": both})
        else:
            found.setdefault(name, option)
    return found


def _options(schema: FieldSchema) -> Iterator[FieldSchema]:
    """A schema for each type; a choice within a choice is no choice of its own."""
    if schema.one_of:
        for option in schema.one_of:
            yield from _options(option)
        return
    for kind in schema.types or (None,):
        yield schema.model_copy(update={"type": kind})


def _both(
    one: Mapping[str, FieldSchema], other: Mapping[str, FieldSchema]
) -> dict[str, FieldSchema]:
    """Fields of two objects as fields of one."""
    shared = {
        name: FieldSchema.model_validate({"oneOf": (one[name], inner)})
        for name, inner in other.items()
        if name in one and one[name] != inner
    }
    return {**one, **other, **shared}


def _member(schema: FieldSchema) -> str:
    """Airbyte's name for a type, which its member of a group has."""
    kind = schema.types[0] if schema.types else "object"
    if kind == "string" and schema.format in _TIMED:
        return schema.airbyte_type or _TIMED[schema.format]
    return "date" if kind == "string" and schema.format == "date" else kind


def children(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """Names and types of what a nested type consists of."""
    return cast(list[tuple[str, DuckDBPyType]], kind.children)


def is_only_text(kind: DuckDBPyType) -> bool:
    """Whether values of a type land as JSON text only: no table has such a column."""
    names = [name for name, _ in children(kind)] if kind.id == "struct" else ["any"]
    return kind.id == "variant" or not names or not all(names)


def holds(kind: DuckDBPyType, wanted: Callable[[DuckDBPyType], bool]) -> bool:
    """Whether a type, or one inside it, is such a type."""
    inner = children(kind) if kind.id in NESTED else ()
    return wanted(kind) or any(holds(below, wanted) for _, below in inner)


def landing_type(
    kind: DuckDBPyType, *, bytes_are_text: bool = False, without: Collection[str] = ()
) -> str:
    """Type of a table's column for the values of a file's column.

    Args:
        kind: What DuckDB reads.
        bytes_are_text: Take bytes without annotation for the text that older writers mean.
        without: Names of fields that it does not get.
    """
    if is_only_text(kind) or kind.id == "geometry" or (kind.id == "blob" and bytes_are_text):
        return "VARCHAR"
    if kind.id not in NESTED:
        return "TIME" if str(kind) == "TIME WITH TIME ZONE" else str(kind)
    inner = {
        name: landing_type(below, bytes_are_text=bytes_are_text, without=without)
        for name, below in children(kind)
        if kind.id != "struct" or name not in without
    }
    if kind.id == "struct":
        return _struct({free_name(name, nested=True): text for name, text in inner.items()})
    return f"MAP({inner['key']}, {inner['value']})" if kind.id == "map" else f"{inner['child']}[]"


def reads_as(arriving: str, table: str) -> bool:
    """Whether DuckLake reads a file's column of one type into a table's column of another."""
    if arriving == table or arriving in _READ_AS.get(table, ()):
        return True
    return _decimal_fits(arriving, table)


def widens_to(table: str, arriving: str) -> bool:
    """Whether ALTER can widen a column so that files of the arriving type register."""
    if table in _INTEGERS and arriving in _INTEGERS:
        return _INTEGERS.index(table) < _INTEGERS.index(arriving)
    return (table, arriving) in _WIDENED or (table != arriving and _decimal_fits(table, arriving))


def keeps_values(old: DuckDBPyType, new: DuckDBPyType) -> bool:
    """Whether a column of the new type can hold every value of one of the old type as it is."""
    if old.id == "struct" and new.id == "struct":
        fields = dict(children(new))
        return all(
            name in fields and keeps_values(kind, fields[name]) for name, kind in children(old)
        )
    if old.id == new.id and old.id in NESTED:
        pairs = zip(children(old), children(new), strict=True)
        return all(keeps_values(before, after) for (_, before), (_, after) in pairs)
    return str(old) == str(new) or widens_to(str(old), str(new))


def _decimal_fits(narrow: str, wide: str) -> bool:
    small, large = _DECIMAL.fullmatch(narrow), _DECIMAL.fullmatch(wide)
    if small is None or large is None:
        return False
    scales = int(small[2]), int(large[2])
    return scales[0] <= scales[1] and int(small[1]) - scales[0] <= int(large[1]) - scales[1]


def _struct(fields: Mapping[str, str]) -> str:
    inner = ", ".join(f"{identifier(name)} {kind}" for name, kind in fields.items())
    return f"STRUCT({inner})"
