"""Upkeep of the lake, once a day; every task can be killed and run again.

`expire_snapshots`
: Snapshots are kept for two days; what no snapshot shows any more is put on DuckLake's list of
  deletions.

`delete_files`
: Deletes what has been on that list for two days, raw objects of retired days among it. An object
  that was written anew since stays.

`compact_tables`
: Merges small files and rewrites those with deleted rows, table by table, one commit a step.
  Landing tables are left alone: their files are Airbyte's objects. What the budget does not
  suffice for is left to the next run.

`find_orphans`
: Puts files that no table knows on the list of deletions; refuses when they are too many.

`statistics`
: Lets the catalog's database look at its tables again.

`report`
: Sizes and growth of every table: in the log, and in `lakehouse.meta.table_sizes`.

The same from a shell: `lotus-lake maintain`, and what it would do: `lotus-lake maintain --dry-run`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from airflow.sdk import get_current_context, task

from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.tasks import no_retry_on_permanent
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.database import refresh_statistics
from lotus_lake.quantities import readable_bytes
from lotus_lake.upkeep.compaction import compact
from lotus_lake.upkeep.expiry import delete, expire, untouchable_since
from lotus_lake.upkeep.orphans import schedule_orphans
from lotus_lake.upkeep.sizes import read_sizes, record_sizes

# XCom has the largest tables; the log and `meta.table_sizes` have all.
_SHOWN_TABLES = 20

log = logging.getLogger(__name__)


@task(doc_md="Expires snapshots older than two days.")
@no_retry_on_permanent
def expire_snapshots() -> dict[str, int]:
    """Expire."""
    with open_lake(lake_settings()) as lake:
        return {"snapshots_expired": expire(lake)}


@task(doc_md="Deletes files that nothing has seen for two days; the log names them.")
@no_retry_on_permanent
def delete_files() -> dict[str, int]:
    """Delete."""
    with open_lake(lake_settings()) as lake:
        deleted, protected = delete(lake)
    for address in deleted:
        log.info("deleted %s", address)
    return {"files_deleted": len(deleted), "files_protected": len(protected)}


@task(doc_md="Merges small files and rewrites files with deleted rows; never of a landing table.")
@no_retry_on_permanent
def compact_tables() -> dict[str, Any]:
    """Compact."""
    budget = get_current_context()["params"]["budget_minutes"] * 60
    with open_lake(lake_settings()) as lake:
        done = compact(lake, budget_seconds=budget)
    return {
        "tables": len(done.tables),
        "postponed": list(done.postponed),
        "files_before": sum(table.files_before for table in done.tables),
        "files_after": sum(table.files_after for table in done.tables),
    }


@task(doc_md="Puts files that no table knows on the list of what will be deleted.")
@no_retry_on_permanent
def find_orphans() -> dict[str, int]:
    """Find orphans."""
    share = get_current_context()["params"]["orphan_share"]
    with open_lake(lake_settings()) as lake:
        found = schedule_orphans(lake, untouchable_since(lake), max_share=share)
    return {"orphans": len(found.files)} | {
        name: value for name, value in asdict(found).items() if name != "files"
    }


@task(doc_md="Lets the catalog's database look at its tables again.")
@no_retry_on_permanent
def statistics() -> None:
    """Refresh."""
    with open_lake(lake_settings()) as lake:
        refresh_statistics(lake)


@task(doc_md="Says how large every table is and how it has grown, and keeps it.")
@no_retry_on_permanent
def report() -> dict[str, Any]:
    """Report."""
    with open_lake(lake_settings()) as lake:
        size = read_sizes(lake)
        record_sizes(lake, size.tables)
    for table in size.tables:
        grown = "" if table.new_rows is None else f" ({table.new_rows:+d} since the day before)"
        log.info(
            "%s: %d rows%s, %d files, %s, %d delete files",
            table.table, table.rows, grown, table.files, readable_bytes(table.size_bytes),
            table.delete_files,
        )  # fmt: skip
    log.info("the lake: %s", size.totals())
    return size.totals() | {"largest": [asdict(table) for table in size.tables[:_SHOWN_TABLES]]}
