"""The schema of a stream from one of its Parquet files, for sources without `discover`."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.errors import ScaffoldError
from lotus_lake.landing.evolution import plan_evolution
from lotus_lake.landing.tables import AIRBYTE_COLUMNS, describe
from lotus_lake.landing.types import (
    airbyte_name,
    children,
    column_type,
    free_name,
    landing_type,
)
from lotus_lake.scaffold.stream_json import SourceSchema
from lotus_lake.sql import literal

_UNSAFE = re.compile(r"[{}]|[^ -~\u00a1-\U0010ffff]")
_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger")
_WORDS = {
    "varchar": {"type": "string"},
    "json": {"type": "string"},
    "uuid": {"type": "string"},
    "blob": {"type": "string"},
    "boolean": {"type": "boolean"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "time with time zone": {"type": "string", "format": "time"},
    "timestamp with time zone": {"type": "string", "format": "date-time"},
    **{name: {"type": "integer"} for name in _INTEGERS},
}


def read_sample(file: Path) -> SourceSchema:
    """The fields of a Parquet file that Airbyte wrote; it names no key and no cursor.

    Raises:
        ScaffoldError: It cannot be read, or has types that Airbyte does not write.
    """
    types = _types(file)
    data = {name: kind for name, kind in types.items() if not name.lower().startswith("_airbyte_")}
    fields = {name: _field(kind, (name,), file) for name, kind in data.items()}
    if not fields:
        raise ScaffoldError(f"{file} has only Airbyte's own columns")
    _check_types(fields, data, file)
    missing = [name for name in AIRBYTE_COLUMNS if name not in types]
    notes = (f"{file.name} lacks {', '.join(missing)}, which Airbyte's files have",)
    return SourceSchema(fields=fields, origin=str(file), notes=notes if missing else ())


def _types(file: Path) -> dict[str, DuckDBPyType]:
    read = f"read_parquet({literal(str(file))}, hive_partitioning = false)"
    try:
        with duckdb.connect() as con:
            return describe(con, f"FROM {read}")
    except duckdb.Error as error:
        raise ScaffoldError(f"{file}: cannot be read as Parquet: {error}") from error


def _field(kind: DuckDBPyType, path: tuple[str, ...], file: Path) -> FieldSchema:
    """A field, with its column where Airbyte would have written the name in another way."""
    schema, name = _schema(kind, path, file), path[-1]
    if _UNSAFE.search(name):
        raise ScaffoldError(
            f"{file}: column {'.'.join(path)!r} has a name that cannot be used in a model",
            hint="rename it: braces and control characters mean something in dbt and in YAML",
        )
    column = free_name(name, nested=len(path) > 1)
    return schema if column == airbyte_name(name) else schema.model_copy(update={"column": column})


def _schema(kind: DuckDBPyType, path: tuple[str, ...], file: Path) -> FieldSchema:
    if kind.id == "struct":
        inner = {name: _field(below, (*path, name), file) for name, below in children(kind)}
        return FieldSchema(type="object", properties=inner)
    if kind.id == "list":
        return FieldSchema(type="array", items=_schema(children(kind)[0][1], path, file))
    words = _WORDS.get(str(kind).lower())
    if words is None:
        raise ScaffoldError(
            f"{file}: column {'.'.join(path)} is {kind}, which Airbyte does not write",
            hint="the feeder takes files of Airbyte's S3 destination in its Parquet format",
        )
    return FieldSchema.model_validate(words)


def _check_types(
    fields: dict[str, FieldSchema], types: dict[str, DuckDBPyType], file: Path
) -> None:
    landing = {name: duckdb.sqltype(column_type(schema)) for name, schema in fields.items()}
    arriving = {
        name: duckdb.sqltype(landing_type(kind, bytes_are_text=True))
        for name, kind in types.items()
    }
    if problems := plan_evolution(landing, arriving).problems:
        raise ScaffoldError(f"{file} would not fit its landing table: {'; '.join(problems)}")
