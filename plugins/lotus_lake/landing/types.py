"""Types: DuckDB's for what Airbyte writes, and which of them a table's column can take."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.sql import identifier

_STRING_FORMATS = {
    "date": "DATE",
    "time": "TIME WITH TIME ZONE",
    "date-time": "TIMESTAMP WITH TIME ZONE",
}


_SCALARS = {"boolean": "BOOLEAN", "integer": "BIGINT", "number": "DOUBLE"}


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
    "TIMESTAMP": {"TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"},
}


_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def column_name(name: str) -> str:
    """How Airbyte writes a field name into Parquet: without accents, else `_` for the unusual."""
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in letters if not unicodedata.combining(char))
    clean = re.sub(r"[^A-Za-z0-9_]", "_", plain)
    return f"_{clean}" if clean[:1].isdigit() else clean


def column_type(schema: FieldSchema) -> str:
    """DuckDB's type for what Airbyte writes for a JSON-schema field."""
    if schema.one_of:
        return _union([column_type(option) for option in schema.one_of], schema.one_of)
    kinds = schema.types
    if len(kinds) > 1:
        options = [schema.model_copy(update={"type": kind}) for kind in kinds]
        return _union([column_type(option) for option in options], options)
    kind = kinds[0] if kinds else "string"
    if kind == "object" and schema.properties:
        return _struct({name: column_type(inner) for name, inner in schema.properties.items()})
    if kind == "array" and schema.items:
        return f"{column_type(schema.items)}[]"
    if kind == "string":
        return _STRING_FORMATS.get(schema.format or "", "VARCHAR")
    return _SCALARS.get(kind, "VARCHAR")


def reads_as(arriving: str, table: str) -> bool:
    """Whether DuckLake reads a file's column of one type into a table's column of another."""
    if arriving == table or arriving in _READ_AS.get(table, ()):
        return True
    return _decimal_fits(arriving, table)


def widens_to(table: str, arriving: str) -> bool:
    """Whether ALTER can widen a column so that files of the arriving type register."""
    if table in _INTEGERS and arriving in _INTEGERS:
        return _INTEGERS.index(table) < _INTEGERS.index(arriving)
    return (table, arriving) == ("FLOAT", "DOUBLE") or (
        table != arriving and _decimal_fits(table, arriving)
    )


def _decimal_fits(narrow: str, wide: str) -> bool:
    small, large = _DECIMAL.fullmatch(narrow), _DECIMAL.fullmatch(wide)
    if small is None or large is None:
        return False
    scales = int(small[2]), int(large[2])
    return scales[0] <= scales[1] and int(small[1]) - scales[0] <= int(large[1]) - scales[1]


def _struct(fields: Mapping[str, str]) -> str:
    inner = ", ".join(f"{identifier(column_name(name))} {kind}" for name, kind in fields.items())
    return f"STRUCT({inner})"


def _union(kinds: Sequence[str], options: Sequence[FieldSchema]) -> str:
    """Airbyte writes a field of several types as a group that has one member per type."""
    members = {"type": "VARCHAR"}
    for kind, option in zip(kinds, options, strict=True):
        members[(option.types or ("string",))[0]] = kind
    return _struct(members)
