"""Commands that make a lake: `init`, and `rebuild` for one whose catalog is lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lotus_lake.cli.arguments import OPERATE
from lotus_lake.cli.output import AsJson, say, show
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.errors import LotusLakeError, SchemaMismatchError
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.lake.database import create_indexes, missing_indexes
from lotus_lake.lake.session import Lake
from lotus_lake.project.manifest import ensure_manifest, load_models, processed_models
from lotus_lake.quantities import counted
from lotus_lake.repair.initialise import missing, prepare
from lotus_lake.repair.rebuild import Rebuilt, rebuild


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=OPERATE)(init)
    app.command(name="rebuild", rich_help_panel=OPERATE)(rebuild_tables)


def init(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; fail when something is missing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make what the lake lacks: catalog, ledger, landing tables, their options, Postgres's indexes.

    Run it once before the first Dag runs, and after each change of the stream configs or upgrade.
    It drops nothing, and what is there stays as it is. A lake of an older release gets what it
    lacks. A stream whose table cannot take what its config declares is named, and stops no other.

    Example: lotus-lake init --check
    """
    settings = Settings.from_env()
    streams, broken = load_streams(settings.streams_dir)
    problems, found = list[LotusLakeError](broken), list[str]()
    with open_to_read(settings) if check else open_lake(settings) as lake:
        for stream in streams:
            try:
                found += _stream(lake, stream, check=check)
            except SchemaMismatchError as error:
                problems.append(error)
        found += _indexes(lake, check=check)
    for problem in problems:
        say(str(problem))
    state = "missing" if check else "made"
    lacking = list(dict.fromkeys(found))
    show([{"what": what, "state": state} for what in lacking], as_json=as_json)
    say(f"{counted(len(streams), 'stream')}, {counted(len(lacking), 'thing')} {state}")
    if problems or (check and lacking):
        raise typer.Exit(1)


def rebuild_tables(as_json: AsJson = False) -> None:
    """Make processed tables again from their data files: the catalog is lost, and no dump is left.

    Run it on the empty catalog after `init` and before any model, then `reconcile`, then the
    models. Of every record it takes the newest version in any file of the table's folder below
    LAKE_DATA_PATH. Tables that are there already are left alone.

    Example: lotus-lake rebuild
    """
    settings = Settings.from_env()
    streams, broken = load_streams(settings.streams_dir)
    models = load_models(ensure_manifest(settings.project_dir))
    made: list[Rebuilt] = []
    with open_lake(settings) as lake:
        there = lake.tables("main")
        for stream in streams:
            prepare(lake, stream)
            for model in processed_models(models, stream.id):
                if model.unique_key and model.name not in there:
                    say(f"reading the data files of {model.name}")
                    made += [done] if (done := rebuild(lake, stream, model, "rebuild")) else []
    for problem in broken:
        say(str(problem))
    show([asdict(table) for table in made], as_json=as_json, number_columns=2)
    say(f"{counted(len(made), 'table')} made; next: lotus-lake reconcile, then the models")
    if broken:
        raise typer.Exit(1)


def _stream(lake: Lake, stream: Stream, *, check: bool) -> list[str]:
    lacking = missing(lake, stream)
    if lacking and not check:
        prepare(lake, stream)
    return lacking


def _indexes(lake: Lake, *, check: bool) -> list[str]:
    lacking = missing_indexes(lake)
    if lacking and not check:
        create_indexes(lake)
    return lacking
