"""The commands `reconcile`, `rewind` and `quarantine`."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from lotus_lake.cli.arguments import FEED, AnyName, AnySource, DryRun, Name, Source, Yes
from lotus_lake.cli.feed import open_stream, run_id_of
from lotus_lake.cli.output import AsJson, minute, reading, say, show, telling, writing
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, choose_streams
from lotus_lake.errors import LotusLakeError
from lotus_lake.observe.files import expect_stream
from lotus_lake.operations import (
    Acknowledge,
    Drop,
    Reconcile,
    Report,
    Retry,
    Rewind,
    carry_out,
    plan,
)
from lotus_lake.quantities import counted, readable_bytes
from lotus_lake.repair import quarantine
from lotus_lake.repair.rewind import Point

Keys = Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Keys of objects.")]

in_quarantine = typer.Typer(
    no_args_is_help=True, help="Files that could not land: list them, try again, or drop them."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="reconcile", rich_help_panel=FEED)(reconcile_streams)
    app.command(name="rewind", rich_help_panel=FEED)(rewind_stream)
    app.command(name="acknowledge", rich_help_panel=FEED)(acknowledge)
    app.add_typer(in_quarantine, name="quarantine", rich_help_panel=FEED)


def reconcile_streams(
    source: AnySource = None,
    stream: AnyName = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Remove the rows of missing objects from the landing tables."
        ),
    ] = False,
    empty: Annotated[
        bool,
        typer.Option(
            "--empty",
            help="The source is empty: remove the rows of an overwrite stream whose objects are "
            "all gone.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare bucket, ledger and landing tables as a whole; land what is missing.

    Finds what no run would notice: files that arrived later than `lookback_days`, and objects that
    somebody deleted. Exits with 1 if something needs a person.

    Without a stream: all streams of the source; without a source: all streams.

    Example: lotus-lake reconcile shopify orders --repair
    """
    # What it warns of are the problems that are printed in the end.
    logging.getLogger("lotus_lake.repair.reconcile").setLevel(logging.ERROR)
    results, problems = [], []
    settings, run_id = Settings.from_env(), run_id_of("reconcile")
    with writing(settings) as lake:
        for chosen in _choose(settings, source, stream):
            name = f"{chosen.source}/{chosen.name}"
            try:
                with telling(f"{name}: comparing bucket, ledger and landing table"):
                    result = carry_out(lake, chosen, Reconcile(repair, empty), run_id)
            except LotusLakeError as error:  # the other streams have nothing to do with it
                problems.append(f"{name}: {error}")
                continue
            results.append({"stream": name, **result.figures})
            problems += [f"{name}: {problem}" for problem in result.problems]
    show(results, as_json=as_json)
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(1)


def rewind_stream(
    source: Source,
    stream: Name,
    to_file: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Go back to this file: it and all that follow it."),
    ] = None,
    to_date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Go back to this day."),
    ] = None,
    to_snapshot: Annotated[
        int | None,
        typer.Option(metavar="ID", help="Go back to what landed after this snapshot."),
    ] = None,
    feed_again: Annotated[
        bool, typer.Option("--feed-again", help="Also register the files again.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """List files again, and let the models process their rows again. No row is duplicated.

    Without a point, the stream goes back to its start. With --feed-again, each file also replaces
    its old registration, for instance to land columns that `freeze` left out.

    Example: lotus-lake rewind shopify orders --to-date 2026-03-01 --dry-run
    """
    point = Point(to_file, to_date.date() if to_date else None, to_snapshot)
    request = Rewind(point, feed_again)
    with open_stream(source, stream, read_only=dry_run) as (lake, config):
        with telling("finding the files in the ledger"):
            planned = plan(lake, config, request)
        models = planned.figures["models"]
        shown = {**planned.figures, "models": models if as_json else ", ".join(models)}
        show([shown], as_json=as_json)
        say(planned.summary)
        if dry_run or not planned.figures["files"]:
            return
        if not yes:
            typer.confirm("Rewind?", abort=True, err=True)
        say(carry_out(lake, config, request, run_id_of("rewind")).summary)


def acknowledge(source: Source, stream: Name, keys: Keys = None, as_json: AsJson = False) -> None:
    """Say that you have seen what is wrong with a stream, or with these files.

    They stay as they are, and are not alerted any more until something new happens. The table
    `meta.acknowledgements`, and the Lake page, say who has seen what, and when.

    Example: lotus-lake acknowledge shopify orders
    """
    person = os.environ.get("USER") or str(os.getuid())
    with open_stream(source, stream) as (lake, config):
        request = Acknowledge(person, tuple(keys or ()))
        result = carry_out(lake, config, request, run_id_of("acknowledge"))
    if as_json:
        show([{"stream": config.id, **result.figures}], as_json=True)
    else:
        say(result.summary)


@in_quarantine.command(name="list")
def list_command(source: AnySource = None, stream: AnyName = None, as_json: AsJson = False) -> None:
    """Show the files in quarantine, and why each is there.

    Example: lotus-lake quarantine list shopify
    """
    with reading(Settings.from_env()) as lake:
        expect_stream(lake, source, stream)
        found = quarantine.list_quarantined(lake, source, stream)
    rows = [
        asdict(file)
        if as_json
        else {
            "key": file.key,
            "size": readable_bytes(file.size_bytes),
            "since": minute(file.quarantined_at),
            "error": file.error,
        }
        for file in found
    ]
    show(rows, as_json=as_json)
    say(f"{counted(len(found), 'file')} in quarantine")


@in_quarantine.command(name="retry")
def retry_command(
    source: Source,
    stream: Name,
    keys: Keys = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Let them add columns to the landing table.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put quarantined files back into the queue: those with these keys, or all of the stream.

    If a version was quarantined because it replaced a landed object, it now lands in its place.
    With --accept, files that wait for approval of their schema change land, and change the table.

    Example: lotus-lake quarantine retry shopify orders
    """
    result = _decide(source, stream, Retry(tuple(keys or ()), accept), "queued", as_json=as_json)
    if not as_json:
        say(f"{result.summary}; `lotus-lake feed {source} {stream}` lands them now")


@in_quarantine.command(name="drop")
def drop_command(
    source: Source,
    stream: Name,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="Keys of objects.")],
    as_json: AsJson = False,
) -> None:
    """Close the case of quarantined files: they do not land. Their objects stay in the bucket.

    Example: lotus-lake quarantine drop shopify orders raw/shopify/orders/year=2026/.../x.parquet
    """
    result = _decide(source, stream, Drop(tuple(keys)), "dropped", as_json=as_json)
    if not as_json:
        say(result.summary)


def _decide(
    source: str, stream: str, request: Retry | Drop, counted_as: str, *, as_json: bool
) -> Report:
    """Retry or drop files; with `--json` their count, under the word of the command."""
    with open_stream(source, stream) as (lake, config):
        result = carry_out(lake, config, request, run_id_of(type(request).__name__.lower()))
    if as_json:
        show([{"stream": config.id, counted_as: result.figures["files"]}], as_json=True)
    return result


def _choose(settings: Settings, source: str | None, stream: str | None) -> list[Stream]:
    streams, errors = choose_streams(settings.streams_dir, source, stream)
    for error in errors:
        say(str(error))
    return streams
