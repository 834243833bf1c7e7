"""`lotus-lake add-stream`: write the files of a stream."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.arguments import CONFIGURE, OptionalName, Source
from lotus_lake.cli.output import AsJson, say
from lotus_lake.config.settings import Settings
from lotus_lake.errors import ScaffoldError
from lotus_lake.scaffold.key_layout import look_at_keys
from lotus_lake.scaffold.stream_files import (
    PlannedFile,
    StreamFiles,
    plan_all,
    plan_files,
    write_files,
)
from lotus_lake.scaffold.stream_json import Choices
from lotus_lake.scaffold.stream_update import plan_update

_WORDS = {
    "new": "would write",
    "updated": "would update",
    "unchanged": "unchanged",
    "differs": "DIFFERS",
}
_WROTE = {"new": "wrote", "updated": "updated"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="add-stream", rich_help_panel=CONFIGURE)(add_stream)


def add_stream(
    source: Source,
    stream: OptionalName = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Each stream of include/sources/SOURCE without a config; with --update, with one.",
        ),
    ] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Add what the source schema has gained to a stream that exists; what somebody has "
            "edited stays.",
        ),
    ] = False,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="Feed only this top-level field, the key and the cursor; may be repeated. With "
            "--update: add only this one.",
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

    How its objects are named is found out in the bucket, and shown; it stands in the stream JSON
    where the defaults do not say it.

    The fields come from include/sources (see `lotus-lake discover`), from a Parquet file, or from
    the stream JSON if there is one already. A file that exists is never changed: run the command
    twice, and the second run does nothing. With --update, the fields that the source schema has
    gained are added to config, DDL, model and YAML, beside what you have edited there; look at it
    with --diff first.

    For example:

    ```bash
    lotus-lake add-stream shopify products --money price
    lotus-lake add-stream crm contacts --from-parquet part_0.parquet --primary-key id
    lotus-lake add-stream shopify products --diff
    lotus-lake add-stream shopify products --update
    lotus-lake add-stream shopify --all
    ```

    Next: read and edit the model, then `lotus-lake validate`. Exit code 1: nothing was written,
    because something is missing or a file that exists differs; with --all, for some streams.
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
    plan = partial(plan_update if update else _plan, settings, source, choices=choices)
    if from_parquet and update:
        raise typer.BadParameter("--update reads include/sources, not a file")
    if from_parquet:
        plan = partial(plan, sample=from_parquet)
    if every:
        _check_alone(stream, choices, from_parquet)
        plans, problems = plan_all(settings, source, plan, existing=update)
        say(f"{len(plans) + len(problems)} streams {'with' if update else 'without'} a config")
    else:
        plans, problems = [plan(_named(stream))], {}
    look_only = dry_run or diff
    for planned in plans:
        for remark in planned.remarks:
            say(remark)
        if look_only and not as_json:
            _show(planned, settings, diff)
        elif every and planned.differing and not keep:
            problems[planned.stream.name] = ScaffoldError(
                f"{_name(planned.differing[0], settings)} exists and differs", hint="--keep"
            )
        elif not look_only:
            _write(planned, settings, keep=keep, as_json=as_json)
    if as_json:
        rows = [row for planned in plans for row in _as_json(planned, settings)]
        typer.echo(json.dumps(rows, indent=2))
    for name, error in problems.items():
        say(f"error: {source}/{name}: {error}")
    differing = [file for planned in plans for file in planned.differing]
    if problems or (look_only and differing and not keep):
        raise typer.Exit(1)


def _plan(
    settings: Settings, source: str, name: str, *, choices: Choices, sample: Path | None = None
) -> StreamFiles:
    """Plan the files of a stream, with what the bucket says of its keys."""
    found = look_at_keys(settings, source, name)
    planned = plan_files(settings, source, name, choices, sample, found.words)
    return replace(planned, remarks=tuple(filter(None, (found.remark, *planned.remarks))))


def _named(stream: str | None) -> str:
    if stream is None:
        raise typer.BadParameter("name a STREAM, or pass --all")
    return stream


def _check_alone(stream: str | None, choices: Choices, sample: Path | None) -> None:
    """Refuse with --all what can only be said of one stream."""
    single = (stream, sample, choices.fields, choices.primary_key, choices.cursor_field)
    if any((*single, choices.money)):
        raise typer.BadParameter(
            "--all takes no STREAM, and none of --field, --primary-key, --cursor-field, --money "
            "and --from-parquet"
        )


def _write(planned: StreamFiles, settings: Settings, *, keep: bool, as_json: bool) -> None:
    written = write_files(planned, keep=keep)
    if not as_json:
        for file in written:
            typer.echo(f"{_WROTE[file.status]} {_name(file, settings)}")
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
