"""The tables of the ledger, in the schema `meta`, and how they are created.

`file_events` is append-only, so that streams never conflict with each other; the view
`feeder_files` shows the latest event of each file, and `balance` counts files and rows by it. Each
stream has a one-row table, its guard (see `guard`). Lakes of earlier releases get the columns that
they lack.
"""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger import attempts, schema_changes
from lotus_lake.ledger.events import files_sql
from lotus_lake.ledger.guard import guard_table
from lotus_lake.ledger.renames import refuse_while_renamed
from lotus_lake.sql import identifier

# Columns that earlier releases did not have.
_ADDED = {
    "data_file": "VARCHAR", "generation_id": "BIGINT", "remark": "VARCHAR",
    "extracted_at": "TIMESTAMPTZ", "rescued_count": "BIGINT",
}  # fmt: skip
_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {META};
CREATE SCHEMA IF NOT EXISTS {LAKE}.staging;
CREATE TABLE IF NOT EXISTS {META}.file_events (
    source VARCHAR, stream VARCHAR, key VARCHAR, etag VARCHAR, size_bytes BIGINT,
    last_modified TIMESTAMPTZ, partition_date DATE,
    event VARCHAR, position BIGINT, row_count BIGINT, error VARCHAR, data_file VARCHAR,
    generation_id BIGINT, version BIGINT, recorded_at TIMESTAMPTZ, dag_run_id VARCHAR,
    remark VARCHAR, extracted_at TIMESTAMPTZ, rescued_count BIGINT
);
CREATE TABLE IF NOT EXISTS {META}.cursor_events (
    source VARCHAR, stream VARCHAR, cursor_path VARCHAR, version BIGINT, recorded_at TIMESTAMPTZ,
    dag_run_id VARCHAR
);
{attempts.TABLE}
{schema_changes.TABLE}
{
    "".join(
        f"ALTER TABLE {META}.file_events ADD COLUMN IF NOT EXISTS {name} {kind};"
        for name, kind in _ADDED.items()
    )
}
CREATE OR REPLACE VIEW {META}.feeder_files AS {files_sql()};
CREATE OR REPLACE VIEW {META}.feeder_cursors AS
SELECT cursors.source, cursors.stream, cursors.cursor_path, cursors.updated_at,
       coalesce(pending.backlog, 0) AS backlog
FROM (
    SELECT source, stream, arg_max(cursor_path, version) AS cursor_path,
           max(recorded_at) AS updated_at
    FROM {META}.cursor_events GROUP BY source, stream
) AS cursors
LEFT JOIN (
    SELECT source, stream, count(*) AS backlog FROM {META}.feeder_files
    WHERE event = 'discovered' GROUP BY source, stream
) AS pending USING (source, stream);
CREATE OR REPLACE VIEW {META}.balance AS
SELECT source, stream, event, count(*) AS files,
       coalesce(sum(row_count), 0)::BIGINT AS row_count,
       coalesce(sum(rescued_count), 0)::BIGINT AS rescued_count,
       sum(size_bytes)::BIGINT AS size_bytes
FROM {META}.feeder_files GROUP BY source, stream, event;
"""
_VIEWS = {"feeder_files", "feeder_cursors", "balance"}


def create_ledger(lake: Lake, stream: Stream) -> None:
    """Create the ledger and the stream's guard where they are missing.

    Raises:
        StreamConfigError: The stream is being renamed, and not yet in the project.
    """
    if not missing_tables(lake, stream):
        return
    refuse_while_renamed(lake, stream)
    guard = guard_table(stream)

    def create() -> None:
        lake.con.execute(_TABLES)
        lake.con.execute(
            f"""
            CREATE TABLE IF NOT EXISTS {guard} AS
            SELECT 0::BIGINT AS version, 0::BIGINT AS file_count,
                   NULL::VARCHAR AS cursor_path, NULL::DATE AS cursor_date
            """
        )
        lake.con.execute(f"ALTER TABLE {guard} ADD COLUMN IF NOT EXISTS first_pending BIGINT")

    lake.commit(f"{stream.id}: create the ledger", create)


def missing_tables(lake: Lake, stream: Stream) -> list[str]:
    """What `create_ledger` would create or bring up to date, for people."""
    wanted = ("file_events", "cursor_events", "attempts", "schema_changes", f"guard_{stream.id}")
    there = lake.tables("meta")
    tables = [f"table meta.{name}" for name in wanted if name not in there]
    guard = f"guard_{stream.id}"
    if guard in there and "first_pending" not in _columns(lake, f"{META}.{identifier(guard)}"):
        tables.append(f"column first_pending of meta.{guard}")
    if lake.views("meta") >= _VIEWS and _ADDED.keys() <= _columns(lake, f"{META}.feeder_files"):
        return tables
    return [*tables, "views meta.feeder_files, meta.feeder_cursors and meta.balance"]


def was_fed(lake: Lake, stream: Stream | None = None) -> bool:
    """Whether the stream has a guard; without a stream, whether any was ever fed."""
    name = "file_events" if stream is None else f"guard_{stream.id}"
    return name in lake.tables("meta")


def _columns(lake: Lake, relation: str) -> set[str]:
    return {row[0] for row in lake.rows(f"DESCRIBE {relation}")}
