"""The database under the catalog: its indexes, statistics and size."""

from __future__ import annotations

import logging
import re
from datetime import datetime

from lotus_lake.lake.session import LAKE, METADATA, Lake

# What DuckLake looks up in Postgres, and creates no index for: statistics of a column when it plans
# or commits, and the files of a table. With 50,000 files in the catalog a pass of the feeder takes
# 4.6 s without them, 2.5 s with the first and 2.0 s with both.
_INDEXES = {
    "ducklake_file_column_stats": "table_id, column_id",
    "ducklake_data_file": "table_id",
}
_COUNTS = """
SELECT (SELECT count(*) FROM ducklake_snapshot) AS snapshots,
(SELECT count(*) FROM ducklake_files_scheduled_for_deletion) AS files_to_delete
"""
_BYTES = {
    "sqlite": "SELECT page_count * page_size AS size FROM pragma_page_count(), pragma_page_size()",
    "postgres": "SELECT pg_database_size(current_database())",
}
_POSTGRES_TABLES = """
SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'
AND starts_with(relname, 'ducklake_') AND NOT starts_with(relname, 'ducklake_inlined_data_')
AND NOT starts_with(relname, 'ducklake_inlined_delete_')
AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ducklake_snapshot'::regclass)
ORDER BY relname
"""

_OLDEST_TRANSACTION = """
SELECT min(xact_start) AS began FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

log = logging.getLogger(__name__)


def missing_indexes(lake: Lake) -> list[str]:
    """The indexes that a Postgres catalog lacks, for people; SQLite needs none."""
    return [f"index on {table} ({_INDEXES[table]})" for table in _without_index(lake)]


def create_indexes(lake: Lake) -> None:
    """Create those indexes; others can commit meanwhile."""
    for table in _without_index(lake):
        statement = (
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {table}_of_lotus_lake "
            f"ON {table} ({_INDEXES[table]})"
        )
        lake.con.execute(
            "CALL postgres_execute(?, ?, use_transaction => false)", [METADATA, statement]
        )


def ask_postgres(lake: Lake, sql: str) -> list[object]:
    """First column of a query that the Postgres of the catalog runs by itself."""
    return [row[0] for row in lake.metadata_rows(sql)]


def database_time(lake: Lake) -> datetime | None:
    """What time it is by the clock of the catalog's server; `None` for a SQLite file."""
    if lake.settings.catalog.kind != "postgres":
        return None
    [(at,)] = lake.metadata_rows("SELECT now() AS at")
    return datetime.fromisoformat(str(at))


def oldest_transaction(lake: Lake) -> datetime | None:
    """When the oldest open transaction of the catalog's database began; `None` for SQLite.

    Postgres shows those of this role, and of all to a member of `pg_read_all_stats`.
    """
    if lake.settings.catalog.kind != "postgres":
        return None
    [(began,)] = lake.metadata_rows(_OLDEST_TRANSACTION)
    return None if began is None else datetime.fromisoformat(str(began))


def refresh_statistics(lake: Lake) -> None:
    """Refresh the database's own statistics of DuckLake's tables, so that it plans queries well.

    Postgres analyzes them. SQLite analyzes those that have changed much, and checkpoints the WAL.
    """
    if lake.settings.catalog.kind == "postgres":
        names = ", ".join(str(name) for (name,) in lake.metadata_rows(_POSTGRES_TABLES))
        lake.con.execute("CALL postgres_execute(?, ?)", [METADATA, f"ANALYZE {names}"])
        log.info("analyzed %s", names)
        return
    for statement in ("PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"):
        lake.metadata_rows(statement)


def counts(lake: Lake) -> tuple[int, int]:
    """Snapshots that can be asked for, and files that wait to be deleted."""
    [(snapshots, files_to_delete)] = lake.metadata_rows(_COUNTS)
    return int(snapshots), int(files_to_delete)


def size_bytes(lake: Lake) -> int:
    """Size of the database."""
    [(found,)] = lake.metadata_rows(_BYTES[lake.settings.catalog.kind])
    return int(found)


def _without_index(lake: Lake) -> list[str]:
    if lake.settings.catalog.kind != "postgres":
        return []
    return [table for table in _INDEXES if not (_is_there(lake) and _has_index(lake, table))]


def _has_index(lake: Lake, table: str) -> bool:
    """Whether an index begins with these columns, no matter who created it."""
    found = ask_postgres(
        lake,
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
        f"WHERE indrelid = '{table}'::regclass AND indisvalid",
    )
    return any(re.search(rf"\({_INDEXES[table]}\b", str(definition)) for definition in found)


def _is_there(lake: Lake) -> bool:
    """Whether this is the catalog itself, and not the empty lake opened instead."""
    path = lake.value("SELECT path FROM duckdb_databases() WHERE database_name = ?", [LAKE])
    return str(path).startswith("postgres:")


def catalog_format(lake: Lake) -> str:
    """The format of the catalog, such as 1.0: what DuckLake calls its version."""
    query = f"SELECT value FROM {METADATA}.ducklake_metadata WHERE key = 'version'"
    return str(lake.value(query))
