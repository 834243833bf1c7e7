"""Commands that look: where each stream stands, what became of files, what a run would do."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli.arguments import LOOK, AnyName, AnySource
from lotus_lake.cli.output import AsJson, minute, say, show
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream, load_streams
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.ledger.events import EVENTS
from lotus_lake.observe.files import (
    LedgerFile,
    Origin,
    find_cursor_history,
    find_cursors,
    find_files,
    find_origins,
)
from lotus_lake.observe.plan import RunPlan, plan_run
from lotus_lake.observe.query import Answer, run_query
from lotus_lake.observe.status import StreamStatus, read_status
from lotus_lake.project.manifest import built_models
from lotus_lake.quantities import counted, readable_bytes

Event = Enum("Event", {name: name for name in EVENTS}, type=str)  # type: ignore[misc]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, files, cursors, plan, query):
        app.command(rich_help_panel=LOOK)(command)


def status(as_json: AsJson = False) -> None:
    """Show where every stream stands: its files, what waits, and what no model has read.

    `landed` counts files whose rows have landed, retired ones included; `behind` counts landed
    files that the slowest model has not read, and is empty where no model is known to read them.
    Streams that were never fed are shown, too. JSON has more: sizes, copies, whole keys.

    Example: lotus-lake status --json
    """
    settings = Settings.from_env()
    streams = _streams(settings)
    models = built_models(settings.project_dir)
    with open_to_read(settings) as lake:
        found = read_status(lake, streams, models)
    if not any(stream.seen for stream in found):
        say("nothing was fed yet")
    prefix = settings.raw_prefix
    rows = [asdict(row) if as_json else _for_people(row, prefix) for row in found]
    show(rows, as_json=as_json, number_columns=4)


def files(
    source: AnySource = None,
    stream: AnyName = None,
    event: Annotated[
        Event | None, typer.Option(help="Only files that this happened to last.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Only keys that begin so, such as year=2026/month=03."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL", help="Say which files the rows come from that fulfil this condition."
        ),
    ] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Show the file ledger, last event first; or, with --where, which files rows came from.

    The condition of --where is SQL over the columns of the stream's landing table. It is run as it
    is, on a lake that is open for reading only: it is yours, do not take it from strangers.

    Example: lotus-lake files shopify orders --event quarantined

    Example: lotus-lake files shopify orders --where "id = 1001"
    """
    settings = Settings.from_env()
    if where is None:
        wanted = event.value if event else None
        with open_to_read(settings) as lake:
            found = find_files(lake, source, stream, event=wanted, key_prefix=key, limit=limit)
        show([asdict(f) if as_json else _file_for_people(f) for f in found], as_json=as_json)
        more = ", there may be more: --limit" if len(found) == limit else ""
        say(f"{counted(len(found), 'file')}{more}")
        return
    if source is None or stream is None or event or key:
        raise SettingsError(
            "--where takes one stream, and neither --event nor --key",
            hint='lotus-lake files shopify orders --where "id = 1001"',
        )
    config = find_stream(settings.streams_dir, source, stream)
    with open_to_read(settings) as lake:
        origins = find_origins(lake, config, where, limit)
    show([asdict(o) if as_json else _origin_for_people(o) for o in origins], as_json=as_json)
    rows = counted(sum(origin.matching_rows for origin in origins), "row")
    say(f"{rows} in {counted(len(origins), 'file')}")


def cursors(
    source: AnySource = None,
    stream: AnyName = None,
    history: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show the last N moves of each, and who did it.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the cursor of each stream: the furthest file that has landed.

    Example: lotus-lake cursors shopify orders --history 5
    """
    with open_to_read(Settings.from_env()) as lake:
        if history:
            moves = find_cursor_history(lake, source, stream, count=history)
            rows = [{k: v for k, v in asdict(move).items() if k != "backlog"} for move in moves]
        else:
            found = find_cursors(lake, source, stream)
            rows = [{k: v for k, v in asdict(row).items() if k != "dag_run_id"} for row in found]
    show(rows, as_json=as_json)
    if not rows:
        say("no cursor yet: nothing has landed")


def plan(source: AnySource = None, stream: AnyName = None, as_json: AsJson = False) -> None:
    """Say what the next run of a stream would do; lists the bucket and writes nothing.

    Shows the new files by day, the commits they would make, and what could not land because of its
    key or its size. Files are not opened: what they hold is seen when they land.

    Example: lotus-lake plan shopify orders
    """
    settings = Settings.from_env()
    chosen = _streams(settings, source, stream)
    client = s3_client(settings.s3)
    with open_to_read(settings) as lake:
        plans = [plan_run(lake, config, client) for config in chosen]
    if as_json:
        show([asdict(found) for found in plans], as_json=True)
        return
    show([_plan_for_people(found) for found in plans], as_json=False, number_columns=6)
    for found in plans:
        _say_plan(found)


def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="SQL; from stdin when missing.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", exists=True, dir_okay=False, help="Read SQL here."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Let the SQL write. Without it the lake is read-only.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many rows; 0 is all.")] = 1000,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run SQL on the lake; it cannot write unless --write is given.

    `staging` holds the landing tables, `main` what dbt builds, `meta` the ledger. Of several
    statements the last one's rows are printed.

    Example: lotus-lake query "SELECT status, count(*) FROM staging.stg_shopify__orders GROUP BY 1"

    Example: lotus-lake query --csv --limit 0 < report.sql > report.csv
    """
    if as_csv and as_json:
        raise SettingsError("--csv and --json exclude each other")
    if sql is not None and file is not None:
        raise SettingsError("SQL was given twice: as an argument and by --file")
    if sql is None:
        sql = file.read_text(encoding="utf-8") if file else sys.stdin.read()
    settings = Settings.from_env()
    with open_lake(settings) if write else open_to_read(settings) as lake:
        answer = run_query(lake, sql, limit=limit, write=write)
    _print_answer(answer, as_json=as_json, as_csv=as_csv)
    if answer.is_cut:
        say(f"only the first {limit} rows: --limit 0 prints all")


def _streams(
    settings: Settings, source: str | None = None, stream: str | None = None
) -> list[Stream]:
    """The selected streams, cut down to a source or a stream; broken configs are told."""
    if source and stream:
        return [find_stream(settings.streams_dir, source, stream)]
    streams, errors = load_streams(settings.streams_dir)
    for error in errors:
        say(str(error))
    return [chosen for chosen in streams if source in (None, chosen.source)]


def _for_people(row: StreamStatus, raw_prefix: str) -> dict[str, Any]:
    cursor = (row.cursor or "").removeprefix(f"{raw_prefix}{row.stream}/")
    since = f" since {minute(row.oldest_waiting_at)}" if row.oldest_waiting_at else ""
    remarks = [
        f"{row.waiting} wait ({readable_bytes(row.waiting_bytes)}){since}" if row.waiting else "",
        f"{row.quarantined} QUARANTINED" if row.quarantined else "",
        f"{row.missing} MISSING" if row.missing else "",
        f"{row.copied} copied" if row.copied else "",
        "" if row.configured else "no config",
    ]
    return {
        "stream": row.stream,
        "seen": row.seen,
        "landed": row.landed,
        "rows": row.rows,
        "behind": row.lag_files,
        "last landed": minute(row.last_landed_at),
        "cursor": re.sub(r"^year=(\d+)/month=(\d+)/day=(\d+)/", r"\1-\2-\3/", cursor),
        "remarks": ", ".join(filter(None, remarks)),
    }


def _file_for_people(file: LedgerFile) -> dict[str, Any]:
    return {
        "key": file.key,
        "event": file.event,
        "rows": file.row_count,
        "size": readable_bytes(file.size_bytes),
        "at": minute(file.updated_at),
        "remark": file.error or file.remark,
    }


def _origin_for_people(origin: Origin) -> dict[str, Any]:
    copied = not origin.data_file.endswith(f"/{origin.key}") if origin.key else True
    return {
        "key": origin.key,
        "rows": origin.matching_rows,
        "landed": minute(origin.landed_at),
        "by": origin.dag_run_id,
        "data file": origin.data_file if copied else "the object itself",
    }


def _plan_for_people(found: RunPlan) -> dict[str, Any]:
    return {
        "stream": found.stream,
        "listed": found.listed,
        "new": found.new_files,
        "waiting": found.waiting_files,
        "size": readable_bytes(found.new_bytes + found.waiting_bytes),
        "batches": len(found.batches),
        "refused": len(found.refused),
        "left for later": found.left_files,
    }


def _say_plan(found: RunPlan) -> None:
    say(f"{found.stream}: lists after {found.start_after or 'the start of its prefix'}")
    for day in found.days:
        say(f"  {day.day}: {counted(day.files, 'new file')}, {readable_bytes(day.size_bytes)}")
    for number, batch in enumerate(found.batches, start=1):
        size = readable_bytes(batch.size_bytes)
        say(f"  batch {number} of {len(found.batches)}: {counted(batch.files, 'file')}, {size}")
    for refused in found.refused:
        say(f"  {refused.event}: {refused.key}: {refused.error}")


def _print_answer(answer: Answer, *, as_json: bool, as_csv: bool) -> None:
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
        return
    names = _distinct(answer.columns)
    rows = [dict(zip(names, row, strict=True)) for row in answer.rows]
    show(rows, as_json=as_json)
    if not as_json:
        say(counted(len(rows), "row"))


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of columns, numbered where two are the same."""
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        names.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return names
