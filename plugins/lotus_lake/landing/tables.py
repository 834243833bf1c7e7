"""Landing tables: derive their DDL, reconcile them with the config and with arriving files.

Types are those DuckDB gives Airbyte's Parquet files. Tables are not partitioned, are never
compacted (that would copy the raw files) and keep no inlined rows (a delete of few rows would then
leave its file registered for ever).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import HIVE_COLUMNS, VIRTUAL_COLUMNS, FieldSchema
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.errors import SchemaMismatchError
from lotus_lake.lake.connection import LAKE, Lake
from lotus_lake.landing.null_counts import count_nulls, counts_nulls
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
# Compacting would copy the raw files; a delete of few rows, inlined, would keep its file for ever.
OPTIONS = {"auto_compact": "false", "data_inlining_row_limit": "0"}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


@dataclass(frozen=True, slots=True)
class Evolution:
    """What a table lacks to take files of some shape.

    Attributes:
        added: Path and type of each column or nested field to add.
        widened: Name and new type of each column to widen.
        problems: What no change of the table can mend.
        misfits: Names of the arriving columns with such problems.
    """

    added: tuple[tuple[tuple[str, ...], str], ...] = ()
    widened: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.widened or self.problems)


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


def landing_columns(stream: Stream, discovered: Mapping[str, FieldSchema]) -> dict[str, str]:
    """Columns of the landing table with their types.

    The stream config says which fields, the discovered schema what nested fields they have:
    Airbyte's field selection cuts top-level fields only.
    """
    fields = {
        column_name(name): column_type(discovered.get(name, schema))
        for name, schema in stream.config.fields.items()
    }
    return {**AIRBYTE_COLUMNS, **fields, **_HIVE_TYPES}


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


def reconcile(lake: Lake, stream: Stream) -> Evolution:
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
    apply(lake, stream, evolution)
    return evolution


def missing(lake: Lake, stream: Stream) -> list[str]:
    """What `reconcile` would create or change, for people.

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
    return describe(lake.con, f"DESCRIBE {identifier(LAKE, 'staging', stream.landing_table)}")


def describe(con: duckdb.DuckDBPyConnection, statement: str) -> dict[str, DuckDBPyType]:
    """Column names and types of a DESCRIBE statement."""
    return {row[0]: con.sqltype(row[1]) for row in con.execute(statement).fetchall()}


def plan_evolution(
    table: Mapping[str, DuckDBPyType], arriving: Mapping[str, DuckDBPyType]
) -> Evolution:
    """What `table` lacks to read files, or a declaration, with the columns of `arriving`."""
    added: list[tuple[tuple[str, ...], str]] = []
    widened: list[tuple[str, str]] = []
    problems: list[str] = []
    misfits: list[str] = []
    known = {name.lower(): name for name in table}
    for name, kind in arriving.items():
        if name.lower() in known:
            column, before = known[name.lower()], len(problems)
            _compare((column,), table[column], kind, added, widened, problems)
            misfits += [name] if len(problems) > before else []
        else:
            added.append(((name,), str(kind)))
    return Evolution(tuple(added), tuple(widened), tuple(problems), tuple(misfits))


def name_problem(arriving: Mapping[str, DuckDBPyType]) -> str | None:
    """Why a file cannot land under the names of its fields; `None` if it can."""
    for name in arriving:
        if name.lower() in VIRTUAL_COLUMNS:
            return f"field {name} has the name of a column of DuckLake's own"
    for path in _paths(arriving):
        if path[-1].lower() in HIVE_COLUMNS:
            return f"field {'.'.join(path)} has the name of a partition column"
    return None


def apply(lake: Lake, stream: Stream, evolution: Evolution) -> None:
    """Add and widen columns, in a transaction of its own: ALTER conflicts with registrations."""
    if not (evolution.added or evolution.widened):
        return
    table = identifier(LAKE, "staging", stream.landing_table)

    def alter() -> None:
        for path, kind in evolution.added:
            lake.con.execute(
                f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {identifier(*path)} {kind}"
            )
        for name, kind in evolution.widened:
            lake.con.execute(f"ALTER TABLE {table} ALTER COLUMN {identifier(name)} TYPE {kind}")

    names = [".".join(path) for path, _ in evolution.added] + [
        name for name, _ in evolution.widened
    ]
    lake.commit(f"{stream.id}: evolve {', '.join(names)}", alter)


def _create(lake: Lake, stream: Stream, columns: Mapping[str, str]) -> None:
    lake.commit(
        f"{stream.id}: create the landing table",
        lambda: lake.con.execute(landing_ddl(stream, columns)),
    )


def _ensure_options(lake: Lake, stream: Stream) -> None:
    """Set the table's options; apart from its creation, because DuckLake refuses both at once."""
    for option in _missing_options(lake, stream):
        statement = (
            f"CALL {LAKE}.set_option({literal(option)}, {OPTIONS[option]}, schema => 'staging', "
            f"table_name => {literal(stream.landing_table)})"
        )
        lake.commit(f"{stream.id}: set {option}", partial(lake.con.execute, statement))


def _missing_options(lake: Lake, stream: Stream) -> list[str]:
    present = {
        name
        for (name,) in lake.rows(
            f"SELECT option_name FROM {LAKE}.options() WHERE scope_entry = ?",
            [f"staging.{stream.landing_table}"],
        )
    }
    return [option for option in OPTIONS if option not in present]


def _compare(
    path: tuple[str, ...],
    table: DuckDBPyType,
    arriving: DuckDBPyType,
    added: list[tuple[tuple[str, ...], str]],
    widened: list[tuple[str, str]],
    problems: list[str],
) -> None:
    if table.id == "struct" and arriving.id == "struct":
        known = {name.lower(): (name, kind) for name, kind in _children(table)}
        for name, kind in _children(arriving):
            if name.lower() in known:
                old_name, old_kind = known[name.lower()]
                _compare((*path, old_name), old_kind, kind, added, widened, problems)
            else:
                added.append(((*path, name), str(kind)))
    elif table.id == "list" and arriving.id == "list":
        inner, arriving_inner = _children(table)[0][1], _children(arriving)[0][1]
        _compare((*path, "element"), inner, arriving_inner, added, widened, problems)
    elif not reads_as(str(arriving), str(table)):
        if len(path) == 1 and widens_to(str(table), str(arriving)):
            widened.append((path[0], str(arriving)))
        else:
            problems.append(f"column {'.'.join(path)} is {table}, arriving as {arriving}")


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


def _children(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return cast(list[tuple[str, DuckDBPyType]], kind.children)


def _paths(
    columns: Mapping[str, DuckDBPyType], above: tuple[str, ...] = ()
) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for name, kind in columns.items():
        paths.append((*above, name))
        while kind.id == "list":
            kind = _children(kind)[0][1]
        if kind.id == "struct":
            paths += _paths(dict(_children(kind)), (*above, name))
    return paths


def _struct(fields: Mapping[str, str]) -> str:
    inner = ", ".join(f"{identifier(column_name(name))} {kind}" for name, kind in fields.items())
    return f"STRUCT({inner})"


def _union(kinds: Sequence[str], options: Sequence[FieldSchema]) -> str:
    """Airbyte writes a field of several types as a group that has one member per type."""
    members = {"type": "VARCHAR"}
    for kind, option in zip(kinds, options, strict=True):
        members[(option.types or ("string",))[0]] = kind
    return _struct(members)
