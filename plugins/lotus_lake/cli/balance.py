"""The command `balance`: does what the files hold equal what landed?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from lotus_lake.cli.arguments import LOOK, AnyName, AnySource
from lotus_lake.cli.output import AsJson, reading, say, show, telling
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import choose_streams
from lotus_lake.observe.balance import StreamBalance, read_balance
from lotus_lake.project.manifest import built_models


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=LOOK)(balance)


def balance(
    source: AnySource = None,
    stream: AnyName = None,
    read: Annotated[
        bool,
        typer.Option(
            "--read", help="Count rows in the files, and keys; reads some columns of all files."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the balance sheet of streams: rows of the files that landed = rows of the table.

    Each file that was ever seen is in one column: landed, retired, replaced, empty, quarantined,
    ignored, missing or waiting. The rows that landed according to the ledger are compared, file by
    file, with those that DuckLake has. --read compares them with the rows in the files, also by
    Airbyte sync, and the keys of processed tables with the keys that have landed.

    The exit code is 1 if something does not balance.

    Example: lotus-lake balance shopify orders --read
    """
    settings = Settings.from_env()
    chosen, broken = choose_streams(settings.streams_dir, source, stream)
    models = built_models(settings.project_dir)
    with reading(settings) as lake, telling("comparing ledger and tables"):
        found = [read_balance(lake, config, models, read=read) for config in chosen]
    if as_json:
        show([asdict(sheet) | {"problems": sheet.problems} for sheet in found], as_json=True)
    else:
        show([_for_people(sheet) for sheet in found], as_json=False)
        for sheet in found if read else ():
            _show_read(sheet)
    for sheet in found:
        _say_problems(sheet)
    for error in broken:
        say(f"error: {error}")
    if broken or any(sheet.problems for sheet in found):
        raise typer.Exit(1)


def _for_people(sheet: StreamBalance) -> dict[str, Any]:
    files = {event.event: event.files for event in sheet.events}
    return {
        "stream": sheet.stream,
        "files": sheet.files,
        "landed": files.get("registered", 0) + files.get("copied", 0),
        **{event: files.get(event, 0) for event in ("retired", "replaced", "empty")},
        **{event: files.get(event, 0) for event in ("quarantined", "ignored", "missing")},
        "waiting": files.get("discovered", 0),
        "rows landed": sheet.ledger_rows,
        "rows in table": sheet.table_rows,
        "state": "UNBALANCED" if sheet.problems else "balanced",
    }


def _show_read(sheet: StreamBalance) -> None:
    syncs = [
        {"stream": sheet.stream, "sync": s.sync_id, "files": s.files, "rows": s.rows}
        for s in sheet.syncs
    ]
    models = [
        {
            "model": m.model,
            "rows": m.rows,
            "keys": m.keys,
            "keys landed": m.landed_keys,
            "kept out": ", ".join(f"{rows} {why}" for why, rows in sorted(m.kept_out.items())),
        }
        for m in sheet.models
    ]
    for rows in filter(None, (syncs, models)):
        typer.echo()
        show(rows, as_json=False)


def _say_problems(sheet: StreamBalance) -> None:
    for problem in sheet.problems:
        say(f"{sheet.stream}: {problem}")
    for file in sheet.differences:
        say(f"  {file.key}: {file.ledger_rows} landed, the table has {file.table_rows}")
    if (more := sheet.differing_files - len(sheet.differences)) > 0:
        say(f"  and {more} more")
