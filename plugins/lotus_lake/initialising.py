"""Make a lake ready before anything is fed: ledger, landing tables, and what Postgres needs.

The feeder makes what a stream needs when it first runs. Doing all of it beforehand shows that the
rights suffice, and lets readers and models find the tables.
"""

from __future__ import annotations

import re

from lotus_lake import landing, ledger
from lotus_lake.catalog import LAKE, METADATA, Lake
from lotus_lake.streams import Stream

# DuckLake reads the statistics of a column when it plans a query, and makes no index for that.
_INDEXED, _COLUMNS = "ducklake_file_column_stats", "table_id, column_id"
_INDEX = f"index on {_INDEXED} ({_COLUMNS})"


def missing(lake: Lake, stream: Stream) -> list[str]:
    """What a stream lacks in the lake, for people.

    Raises:
        SchemaMismatchError: The config declares a column whose type the table cannot take.
    """
    return [*ledger.missing(lake, stream), *landing.missing(lake, stream)]


def prepare(lake: Lake, stream: Stream) -> None:
    """Make what a stream lacks.

    Raises:
        SchemaMismatchError: The config declares a column whose type the table cannot take.
    """
    ledger.initialise(lake, stream)
    landing.reconcile(lake, stream)


def missing_indexes(lake: Lake) -> list[str]:
    """The index that a Postgres catalog lacks, for people; SQLite needs none."""
    if lake.settings.catalog.kind != "postgres":
        return []
    if not _is_there(lake):
        return [_INDEX]
    found = lake.ask_postgres(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
        f"WHERE indrelid = '{_INDEXED}'::regclass AND indisvalid"
    )
    has_it = any(re.search(rf"\({_COLUMNS}\b", definition) for definition in found)
    return [] if has_it else [_INDEX]


def create_indexes(lake: Lake) -> None:
    """Make that index; commits of others go on meanwhile."""
    statement = (
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {_INDEXED}_of_column ON {_INDEXED} ({_COLUMNS})"
    )
    lake.con.execute("CALL postgres_execute(?, ?, use_transaction => false)", [METADATA, statement])


def _is_there(lake: Lake) -> bool:
    """Whether this is the catalog itself, and not the empty lake that stands in for it."""
    path = lake.value("SELECT path FROM duckdb_databases() WHERE database_name = ?", [LAKE])
    return str(path).startswith("postgres:")
