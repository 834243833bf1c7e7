"""The command `maintain`: the Dag lake_maintenance without Airflow."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lotus_lake.cli.arguments import OPERATE, DryRun
from lotus_lake.cli.output import AsJson, printable, say, show
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.database import refresh_statistics
from lotus_lake.quantities import counted, readable_bytes
from lotus_lake.upkeep.compaction import BUDGET_SECONDS, compact
from lotus_lake.upkeep.expiry import untouchable_since, upkeep
from lotus_lake.upkeep.orphans import MAX_SHARE, schedule_orphans
from lotus_lake.upkeep.sizes import TableSize, read_sizes, record_sizes


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=OPERATE)(maintain)


def maintain(
    dry_run: DryRun = False,
    budget_minutes: Annotated[
        float, typer.Option(min=0, help="Start no compaction step after this many minutes.")
    ] = BUDGET_SECONDS / 60,
    orphan_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Refuse if a larger share of files are orphans."),
    ] = MAX_SHARE,
    as_json: AsJson = False,
) -> None:
    """Expire snapshots, delete files that no snapshot needs, compact tables, find orphans.

    Runs the steps of the Dag lake_maintenance. Prints the address of every deleted file, one a
    line, then the size of every table and its growth since the day before. A dry run changes
    nothing and prints what would be deleted.

    Example: lotus-lake maintain --dry-run

    Example: lotus-lake maintain --json > report.json
    """
    with open_lake(Settings.from_env()) as lake:
        done = upkeep(lake, dry_run=dry_run)
        compacted = compact(lake, budget_seconds=budget_minutes * 60, dry_run=dry_run)
        found = schedule_orphans(
            lake, untouchable_since(lake), max_share=orphan_share, dry_run=dry_run
        )
        if not dry_run:
            refresh_statistics(lake)
        size = read_sizes(lake)
        if not dry_run:
            record_sizes(lake, size.tables)
    if as_json:
        report = {"dry_run": dry_run, **asdict(done), "compaction": asdict(compacted)}
        report |= {"orphans": asdict(found), "totals": size.totals()}
        report["tables"] = [asdict(table) for table in size.tables]
        typer.echo(json.dumps(report, indent=2))
        return
    for address in done.files_deleted:
        typer.echo(printable(address))
    show([_size_for_people(table) for table in size.tables], as_json=False)
    would = "would have " if dry_run else ""
    say(
        f"{would}expired {counted(done.snapshots_expired, 'snapshot')} "
        f"and deleted {counted(len(done.files_deleted), 'file')}; "
        f"{len(done.files_protected)} stay, because they are in use again"
    )
    for work in compacted.tables:
        then = "" if dry_run else f" now, {work.files_before} before"
        say(f"{work.table}: {', '.join(work.steps)}; {counted(work.files_after, 'file')}{then}")
    for name in compacted.postponed:
        say(f"{name}: left for the next run: the time budget is used up")
    say(f"{would}put {counted(len(found.files), 'orphan')} on the deletion list")
    totals = size.totals()
    say(
        f"{counted(totals['files'], 'file')}, {readable_bytes(totals['size_bytes'])}; "
        f"{counted(size.snapshots, 'snapshot')}, catalog {readable_bytes(size.catalog_bytes)}, "
        f"{counted(size.files_to_delete, 'file')} to be deleted later"
    )


def _size_for_people(table: TableSize) -> dict[str, Any]:
    return {
        "table": table.table,
        "rows": table.rows,
        "new rows": table.new_rows,
        "files": table.files,
        "size": readable_bytes(table.size_bytes),
        "new bytes": table.new_bytes,
        "delete files": table.delete_files,
        "deleted rows": table.deleted_rows,
        "rows in catalog": table.catalog_rows,
    }
