"""The commands `files`, `cursors` and `plan`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import Annotated, Any

import typer

from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli.arguments import LOOK, AnyName, AnySource
from lotus_lake.cli.output import AsJson, minute, reading, say, show, telling
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import choose_streams, find_stream
from lotus_lake.errors import SettingsError
from lotus_lake.ledger.events import EVENTS
from lotus_lake.observe.files import (
    LedgerFile,
    Origin,
    expect_stream,
    find_cursor_history,
    find_cursors,
    find_files,
    find_origins,
)
from lotus_lake.observe.plan import RunPlan, plan_run
from lotus_lake.quantities import counted, readable_bytes

Event = Enum("Event", {name: name for name in EVENTS}, type=str)  # type: ignore[misc]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of files.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (files, cursors, plan):
        app.command(rich_help_panel=LOOK)(command)


def files(
    source: AnySource = None,
    stream: AnyName = None,
    event: Annotated[
        Event | None, typer.Option(help="Only files whose last event is this.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Only keys that start with this, such as year=2026/."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL", help="Show which files the rows that meet this condition came from."
        ),
    ] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Show the file ledger, latest event first; or, with --where, which files rows came from.

    The condition of --where is SQL over the columns of the stream's landing table. It runs as it
    is, on a read-only lake: never pass on a condition from someone you do not trust.

    Example: lotus-lake files shopify orders --event quarantined

    Example: lotus-lake files shopify orders --where "id = 1001"
    """
    settings = Settings.from_env()
    if where is None:
        wanted = event.value if event else None
        with reading(settings) as lake:
            expect_stream(lake, source, stream)
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
    with reading(settings) as lake, telling("reading the landing table"):
        origins = find_origins(lake, config, where, limit)
    show([asdict(o) if as_json else _origin_for_people(o) for o in origins], as_json=as_json)
    rows = counted(sum(origin.matching_rows for origin in origins), "row")
    say(f"{rows} in {counted(len(origins), 'file')}")


def cursors(
    source: AnySource = None,
    stream: AnyName = None,
    history: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Show the last N moves of each cursor, and which run made them.",
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the cursor of each stream: the furthest file that has landed.

    Example: lotus-lake cursors shopify orders --history 5
    """
    with reading(Settings.from_env()) as lake:
        expect_stream(lake, source, stream)
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
    """Show what the next run of a stream would do, from a listing of the bucket.

    Shows the new files by day, the commits they would make, and the files that cannot land because
    of their key or size. Writes nothing and opens no file: problems inside the files show up only
    when they land.

    Example: lotus-lake plan shopify orders
    """
    settings = Settings.from_env()
    chosen, broken = choose_streams(settings.streams_dir, source, stream)
    client = s3_client(settings.s3, attempts=2)
    store = settings.s3.endpoint_url or "S3"
    with reading(settings) as lake, telling(f"listing {settings.raw_uri} at {store}"):
        plans = [plan_run(lake, config, client) for config in chosen]
    for error in broken:
        say(f"error: {error}")
    if as_json:
        show([asdict(found) for found in plans], as_json=True)
        return
    show([_plan_for_people(found) for found in plans], as_json=False)
    for found in plans:
        _say_plan(found)


def _file_for_people(file: LedgerFile) -> dict[str, Any]:
    return {
        "key": file.key,
        "event": file.event,
        "rows": file.row_count,
        "rescued": file.rescued_count,
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
    if found.others:
        said = "below it are other streams', or of no path format"
        say(f"  {counted(found.others, 'object')} {said}")
    for day in found.days:
        say(f"  {day.day}: {counted(day.files, 'new file')}, {readable_bytes(day.size_bytes)}")
    for number, batch in enumerate(found.batches, start=1):
        size = readable_bytes(batch.size_bytes)
        say(f"  batch {number} of {len(found.batches)}: {counted(batch.files, 'file')}, {size}")
    for refused in found.refused:
        say(f"  {refused.event}: {refused.key}: {refused.error}")
