"""The commands `init`, and `rebuild` for a lake whose catalog is lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lotus_lake.cli.arguments import OPERATE
from lotus_lake.cli.output import AsJson, say, show
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.project.manifest import ensure_manifest, load_models, processed_models
from lotus_lake.quantities import counted
from lotus_lake.repair.initialise import initialise, prepare
from lotus_lake.repair.rebuild import Rebuilt, rebuild


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=OPERATE)(init)
    app.command(name="rebuild", rich_help_panel=OPERATE)(rebuild_tables)


def init(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; fail if something is missing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create what the lake lacks: catalog, ledger, landing tables, their options, indexes.

    Run it before the first Dag runs, after every change of the stream configs, and after an
    upgrade. It drops nothing and leaves what exists as it is. If a landing table cannot follow its
    config, the stream is reported and the others are prepared.

    Example: lotus-lake init --check
    """
    settings = Settings.from_env()
    streams, broken = load_streams(settings.streams_dir)
    with open_to_read(settings) if check else open_lake(settings) as lake:
        lacking, problems = initialise(lake, streams, check=check)
    for error in (*broken, *problems):
        say(f"error: {error}")
    state = "missing" if check else "made"
    show([{"what": what, "state": state} for what in lacking], as_json=as_json)
    say(f"{counted(len(streams), 'stream')}, {counted(len(lacking), 'thing')} {state}")
    if broken or problems or (check and lacking):
        raise typer.Exit(1)


def rebuild_tables(as_json: AsJson = False) -> None:
    """Rebuild processed tables from their data files, after the catalog is lost without a dump.

    Run it on the empty catalog, after `init` and before any model; then run `reconcile`, and then
    the models. It takes the newest version of every record from the files in the table's folder
    below LAKE_DATA_PATH, and leaves existing tables alone.

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
    for error in broken:
        say(f"error: {error}")
    show([asdict(table) for table in made], as_json=as_json)
    say(f"{counted(len(made), 'table')} rebuilt; next: lotus-lake reconcile, then the models")
    if broken:
        raise typer.Exit(1)
