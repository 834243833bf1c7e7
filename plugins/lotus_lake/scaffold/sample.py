"""The schema of a stream from one of its Parquet files, for sources without `discover`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.stream_config import HIVE_COLUMNS, FieldSchema
from lotus_lake.errors import ScaffoldError
from lotus_lake.landing.evolution import plan_evolution
from lotus_lake.landing.tables import AIRBYTE_COLUMNS, describe
from lotus_lake.landing.types import column_type
from lotus_lake.scaffold.stream_json import SourceSchema
from lotus_lake.sql import literal

_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger")
_WORDS = {
    "varchar": {"type": "string"},
    "json": {"type": "string"},
    "uuid": {"type": "string"},
    "boolean": {"type": "boolean"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "date": {"type": "string", "format": "date"},
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
    data = {
        name: kind
        for name, kind in types.items()
        if not name.lower().startswith("_airbyte_") and name.lower() not in HIVE_COLUMNS
    }
    fields = {name: _field(kind, name, file) for name, kind in data.items()}
    if not fields:
        raise ScaffoldError(f"{file} has no column besides those of Airbyte")
    _check_types(fields, data, file)
    missing = [name for name in AIRBYTE_COLUMNS if name not in types]
    notes = (f"{file.name} lacks {', '.join(missing)}: Airbyte's files have them",)
    return SourceSchema(fields=fields, origin=str(file), notes=notes if missing else ())


def _types(file: Path) -> dict[str, DuckDBPyType]:
    read = f"read_parquet({literal(str(file))}, hive_partitioning = false)"
    try:
        with duckdb.connect() as con:
            return describe(con, f"DESCRIBE SELECT * FROM {read}")
    except duckdb.Error as error:
        raise ScaffoldError(f"{file}: cannot be read as Parquet: {error}") from error


def _field(kind: DuckDBPyType, path: str, file: Path) -> FieldSchema:
    if kind.id == "struct":
        return FieldSchema(
            type="object",
            properties={
                name: _field(inner, f"{path}.{name}", file) for name, inner in _children(kind)
            },
        )
    if kind.id == "list":
        return FieldSchema(type="array", items=_field(_children(kind)[0][1], f"{path}[]", file))
    words = _WORDS.get(str(kind).lower())
    if words is None:
        raise ScaffoldError(
            f"{file}: column {path} is {kind}, which Airbyte does not write",
            hint="the feeder takes files of Airbyte's S3 destination in its Parquet format",
        )
    return FieldSchema.model_validate(words)


def _check_types(
    fields: dict[str, FieldSchema], types: dict[str, DuckDBPyType], file: Path
) -> None:
    landing = {name: duckdb.sqltype(column_type(schema)) for name, schema in fields.items()}
    if problems := plan_evolution(landing, types).problems:
        raise ScaffoldError(f"{file} would not fit its landing table: {'; '.join(problems)}")


def _children(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return cast(list[tuple[str, DuckDBPyType]], kind.children)
