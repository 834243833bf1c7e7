"""The Dag `lake_maintenance`: upkeep of the lake, once a day."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from airflow.sdk import DAG, Param, get_current_context

from lotus_lake.airflow.alerts import alert_of_failure, alert_of_success
from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.metrics import keep_figures
from lotus_lake.airflow.tasks import lake_dag, lake_task
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.database import refresh_statistics
from lotus_lake.quantities import readable_bytes
from lotus_lake.upkeep.compaction import BUDGET_SECONDS, compact
from lotus_lake.upkeep.expiry import delete, expire, untouchable_since
from lotus_lake.upkeep.orphans import MAX_SHARE, schedule_orphans
from lotus_lake.upkeep.sizes import read_sizes, record_sizes

MAINTENANCE_DAG_ID = "lake_maintenance"
# XCom has the largest tables; the log and `meta.table_sizes` have all.
_SHOWN_TABLES = 20

_DOC = """\
### Upkeep

Runs once a day. Every task can be killed and run again.

`expire_snapshots`
: Expires snapshots older than two days. Files that only they show go on DuckLake's deletion list.

`delete_files`
: Deletes the files that have been on that list for two days, including the raw objects of retired
  days. An object that has been rewritten since then stays.

`compact_tables`
: Merges small files and rewrites files with deleted rows, one commit per step. Landing tables are
  left alone: their files are Airbyte's objects. The next run continues where the time budget ends.

`find_orphans`
: Puts files that no table knows on the deletion list; refuses if there are too many.

`statistics`
: Refreshes the statistics that the catalog's database keeps of its own tables.

`report`
: Logs size and growth of every table, and keeps them in `lakehouse.meta.table_sizes`.

The same from a shell: `lotus-lake maintain`; `lotus-lake maintain --dry-run` shows what would be
deleted.
"""

log = logging.getLogger(__name__)


def maintenance_dag() -> DAG:
    """The Dag: one task at a time, behind everything else."""
    with lake_dag(
        MAINTENANCE_DAG_ID,
        description="Expires snapshots, deletes retired files, compacts tables, reports sizes",
        doc_md=_DOC,
        schedule="17 3 * * *",
        max_active_tasks=1,
        tags=["maintenance"],
        default_args={
            "priority_weight": 1,
            "weight_rule": "absolute",
            "on_failure_callback": alert_of_failure,
            "on_success_callback": [alert_of_success, keep_figures],
        },
        params=_params(),
    ) as dag:
        deleted = delete_files()
        work = [compact_tables(), find_orphans(), statistics()]
        expire_snapshots() >> deleted >> work >> report()
    return dag


@lake_task("Expires snapshots older than two days.")
def expire_snapshots() -> dict[str, int]:
    """Expire."""
    with open_lake(lake_settings()) as lake:
        return {"snapshots_expired": expire(lake)}


@lake_task("Deletes files that no snapshot has shown for two days; the log names them.")
def delete_files() -> dict[str, int]:
    """Delete."""
    with open_lake(lake_settings()) as lake:
        deleted, protected = delete(lake)
    for address in deleted:
        log.info("deleted %s", address)
    return {"files_deleted": len(deleted), "files_protected": len(protected)}


@lake_task("Merges small files and rewrites files with deleted rows, except in landing tables.")
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


@lake_task("Puts files that no table knows on DuckLake's deletion list.")
def find_orphans() -> dict[str, int]:
    """Find orphans."""
    share = get_current_context()["params"]["orphan_share"]
    with open_lake(lake_settings()) as lake:
        found = schedule_orphans(lake, untouchable_since(lake), max_share=share)
    return {"orphans": len(found.files)} | {
        name: value for name, value in asdict(found).items() if name != "files"
    }


@lake_task("Refreshes the statistics that the catalog's database keeps of its own tables.")
def statistics() -> None:
    """Refresh."""
    with open_lake(lake_settings()) as lake:
        refresh_statistics(lake)


@lake_task("Logs size and growth of every table, and keeps them in `lakehouse.meta.table_sizes`.")
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


def _params() -> dict[str, Param]:
    return {
        "budget_minutes": Param(
            int(BUDGET_SECONDS / 60),
            type="integer",
            minimum=0,
            title="Budget for compaction (minutes)",
            description="No step starts after this time; the next run continues.",
        ),
        "orphan_share": Param(
            MAX_SHARE,
            type="number",
            minimum=0,
            maximum=1,
            title="Largest share of orphans",
            description="Refuse if more than this share of files are orphans; 1 accepts any.",
        ),
    }
