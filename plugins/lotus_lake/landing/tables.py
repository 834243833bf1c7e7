"""Landing tables: their DDL, derived from the config, and the tables brought up to it.

Types are those DuckDB gives Airbyte's Parquet files. Tables are not partitioned, are never
compacted (that would copy the raw files) and keep no inlined rows (a delete of few rows would then
leave its file registered for good).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.errors import SchemaMismatchError
from lotus_lake.lake.column_statistics import count_nulls, counts_nulls, insert_nulls
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.landing.conversion import RESCUED, RESCUED_TYPE
from lotus_lake.landing.evolution import Evolution, evolve, plan_evolution
from lotus_lake.landing.types import column_name, column_type
from lotus_lake.sql import identifier, literal

AIRBYTE_COLUMNS = {
    "_airbyte_raw_id": "VARCHAR",
    "_airbyte_extracted_at": "TIMESTAMP WITH TIME ZONE",
    "_airbyte_meta": (
        "STRUCT(sync_id BIGINT, changes STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[])"
    ),
    "_airbyte_generation_id": "BIGINT",
}
_HIVE_TYPES = {"year": "BIGINT", "month": "VARCHAR", "day": "VARCHAR"}

# Compacting would copy the raw files; a delete of few rows, inlined, would keep its file for good.
OPTIONS = {"auto_compact": "false", "data_inlining_row_limit": "0"}


def landing_columns(stream: Stream, discovered: Mapping[str, FieldSchema]) -> dict[str, str]:
    """Columns of the landing table with their types.

    The stream config says which fields, the discovered schema what nested fields they have:
    Airbyte's field selection cuts top-level fields only.
    """
    fields = {
        column_name(name, schema): column_type(discovered.get(name, schema))
        for name, schema in stream.config.fields.items()
    }
    return {**AIRBYTE_COLUMNS, **fields, RESCUED: RESCUED_TYPE, **_HIVE_TYPES}


def landing_ddl(stream: Stream, columns: Mapping[str, str]) -> str:
    """The CREATE TABLE statement of the landing table."""
    lines = ",\n".join(f"    {identifier(name)} {kind}" for name, kind in columns.items())
    table = identifier(LAKE, "staging", stream.landing_table)
    return f"CREATE TABLE IF NOT EXISTS {table} (\n{lines}\n);\n"


def ddl_file(project_dir: Path, stream: Stream) -> Path:
    """Where the derived DDL is kept for readers and reviews."""
    return project_dir / "include" / "landing" / stream.source / f"{stream.landing_table}.sql"


def ddl_text(settings: Settings, stream: Stream) -> str:
    """Content of that file."""
    columns = landing_columns(stream, source_schema(settings.sources_dir, stream))
    head = (
        f"-- Landing table of {stream.source}/{stream.name}: derived from the stream config and\n"
        "-- the source schema by `lotus-lake landing`; edit those, not this file.\n"
    )
    return head + landing_ddl(stream, columns)


def bring_up_to_config(lake: Lake, stream: Stream) -> Evolution:
    """Create the landing table, or bring it up to the config.

    Columns are added and widened; none is ever dropped, because files that are registered may
    hold its values.

    Returns:
        What was changed in a table that existed.

    Raises:
        SchemaMismatchError: The config declares a column whose type the table cannot take.
    """
    if stream.landing_table not in lake.tables("staging"):
        _create(lake, stream, _declared(lake, stream))
    _ensure_options(lake, stream)
    count_nulls(lake, stream.landing_table)
    evolution = _plan_declared(lake, stream)
    evolve(lake, stream, evolution)
    return evolution


def missing_parts(lake: Lake, stream: Stream) -> list[str]:
    """What `bring_up_to_config` would create or change, for people.

    Raises:
        SchemaMismatchError: The config declares a column whose type the table cannot take.
    """
    table = f"staging.{stream.landing_table}"
    if stream.landing_table not in lake.tables("staging"):
        return [f"table {table}"]
    evolution = _plan_declared(lake, stream)
    return [
        *(f"option {option} of {table}" for option in _missing_options(lake, stream)),
        *([] if counts_nulls(lake, stream.landing_table) else [f"count of NULLs of {table}"]),
        *(f"column {'.'.join(path)} {kind} of {table}" for path, kind in evolution.added),
        *(f"type {kind} of column {name} of {table}" for name, kind in evolution.widened),
    ]


def _declared(lake: Lake, stream: Stream) -> dict[str, str]:
    return landing_columns(stream, source_schema(lake.settings.sources_dir, stream))


def _plan_declared(lake: Lake, stream: Stream) -> Evolution:
    """What the table lacks of what the config declares."""
    types = {name: lake.con.sqltype(kind) for name, kind in _declared(lake, stream).items()}
    evolution = plan_evolution(table_types(lake, stream), types)
    if evolution.problems:
        raise SchemaMismatchError(
            f"landing table staging.{stream.landing_table} does not fit include/streams/"
            f"{stream.source}/{stream.name}.json: {'; '.join(evolution.problems)}",
            hint="restore the old type in the config, or rebuild the table under a new stream name",
        )
    return evolution


def table_types(lake: Lake, stream: Stream) -> dict[str, DuckDBPyType]:
    """Columns of the landing table as it is now."""
    return describe(lake.con, f"FROM {identifier(LAKE, 'staging', stream.landing_table)}")


def describe(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, DuckDBPyType]:
    """Column names and types of a query, which is not run."""
    # Not DESCRIBE: the text of a type with a field without a name is not a type.
    found = con.sql(query)
    return dict(zip(found.columns, found.types, strict=True))


def _create(lake: Lake, stream: Stream, columns: Mapping[str, str]) -> None:
    def create() -> None:
        # Of processes that create the table at once, one does, with its only row of NULLs.
        if stream.landing_table not in lake.tables("staging"):
            lake.con.execute(landing_ddl(stream, columns))
            insert_nulls(lake, stream.landing_table)

    lake.commit(f"{stream.id}: create the landing table", create)


def _ensure_options(lake: Lake, stream: Stream) -> None:
    """Set the table's options; apart from its creation, because DuckLake refuses both at once."""
    for option in _missing_options(lake, stream):
        statement = (
            f"CALL {LAKE}.set_option({literal(option)}, {OPTIONS[option]}, schema => 'staging', "
            f"table_name => {literal(stream.landing_table)})"
        )
        lake.commit(f"{stream.id}: set {option}", partial(lake.con.execute, statement))


def _missing_options(lake: Lake, stream: Stream) -> list[str]:
    """Options that are not set, or that somebody set to another value."""
    present = dict(
        lake.rows(
            f"SELECT option_name, value FROM {LAKE}.options() WHERE scope_entry = ?",
            [f"staging.{stream.landing_table}"],
        )
    )
    return [option for option, value in OPTIONS.items() if present.get(option) != value]
