"""`lotus-lake add-stream`: write the files of a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.arguments import CONFIGURE, Name, Source
from lotus_lake.cli.output import AsJson, say
from lotus_lake.config.settings import Settings
from lotus_lake.scaffold.stream_files import PlannedFile, StreamFiles, plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices

_WORDS = {
    "new": "would write",
    "unchanged": "unchanged",
    "differs": "DIFFERS",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="add-stream", rich_help_panel=CONFIGURE)(add_stream)


def add_stream(
    source: Source,
    stream: Name,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="Feed only this top-level field, the key and the cursor; may be repeated.",
        ),
    ] = None,
    primary_key: Annotated[
        list[str] | None,
        typer.Option(
            "--primary-key",
            help="Field of the key, once for each part of it; a.b is field b of object a. "
            "By default as the source defines it.",
        ),
    ] = None,
    cursor_field: Annotated[
        str | None,
        typer.Option(
            "--cursor-field",
            help="Field that says when a record last changed; by default as the source proposes.",
        ),
    ] = None,
    money: Annotated[
        list[str] | None,
        typer.Option("--money", help="Cast this field to decimal(18, 4); may be repeated."),
    ] = None,
    sync_mode: Annotated[
        str | None, typer.Option("--sync-mode", help="incremental or full_refresh.")
    ] = None,
    destination_sync_mode: Annotated[
        str | None,
        typer.Option("--destination-sync-mode", help="append or overwrite."),
    ] = None,
    from_parquet: Annotated[
        Path | None,
        typer.Option(
            "--from-parquet", help="Read the fields from a Parquet file that Airbyte wrote."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave files that differ, and write the others.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, only list the files.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing, only show the text.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the files of a stream: config, landing DDL, dbt source, processed model and its tests.

    The fields come from include/sources (see `lotus-lake discover`), from a Parquet file, or from
    the stream JSON if there is one already. A file that exists is never changed: run the command
    twice, and the second run does nothing.

    For example:

    ```bash
    lotus-lake add-stream shopify products --money price
    lotus-lake add-stream crm contacts --from-parquet part_0.parquet --primary-key id
    lotus-lake add-stream shopify products --diff
    ```

    Next: read and edit the model, then `lotus-lake validate`. Exit code 1: nothing was written,
    because something is missing or a file that exists differs.
    """
    settings = Settings.from_env()
    choices = Choices(
        fields=tuple(field or ()),
        primary_key=tuple(tuple(path.split(".")) for path in primary_key or ()),
        cursor_field=tuple(cursor_field.split(".")) if cursor_field else (),
        sync_mode=sync_mode or "",
        destination_sync_mode=destination_sync_mode or "",
        money=tuple(money or ()),
    )
    planned = plan_files(settings, source, stream, choices, from_parquet)
    for remark in planned.remarks:
        say(remark)
    look_only = dry_run or diff
    if as_json:
        typer.echo(json.dumps(_as_json(planned, settings), indent=2))
    elif look_only:
        _show(planned, settings, diff)
    if look_only:
        raise typer.Exit(1 if planned.differing and not keep else 0)
    written = write_files(planned, keep=keep)
    if not as_json:
        for file in written:
            typer.echo(f"wrote {_name(file, settings)}")
    _next(planned, written)


def _as_json(planned: StreamFiles, settings: Settings) -> list[dict[str, str]]:
    return [{"file": _name(file, settings), "status": file.status} for file in planned.files]


def _show(planned: StreamFiles, settings: Settings, diff: bool) -> None:
    for file in planned.files:
        if not diff:
            typer.echo(f"{_WORDS[file.status]:<12} {_name(file, settings)}")
        elif text := file.diff(settings.project_dir):
            typer.echo(text)


def _next(planned: StreamFiles, written: list[PlannedFile]) -> None:
    left = f", {len(planned.differing)} that differ left as they are" if planned.differing else ""
    say(f"{len(written)} of {len(planned.files)} files written{left}")
    if written:
        say("next: edit the model as you like, then lotus-lake validate")


def _name(file: PlannedFile, settings: Settings) -> str:
    inside = file.path.is_relative_to(settings.project_dir)
    return str(file.path.relative_to(settings.project_dir) if inside else file.path)
