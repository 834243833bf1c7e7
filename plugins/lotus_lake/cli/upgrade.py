"""The command `upgrade`: what another DuckDB and DuckLake make of the lake, tried on a branch."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.arguments import OPERATE
from lotus_lake.cli.output import AsJson, say, show, telling
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.observe.rehearsal import ANSWERS, compare_facts, read_facts, read_facts_with
from lotus_lake.quantities import counted
from lotus_lake.repair.branches import create_branch, drop_branch

BRANCH = "upgrade_rehearsal"
_LONGEST = 60


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=OPERATE)(upgrade)


def upgrade(
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Try it on a branch, which is dropped afterwards.")
    ] = False,
    python: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The Python of an environment with the new versions; by default the same.",
        ),
    ] = None,
    values: Annotated[
        bool, typer.Option("--values/--no-values", help="Compare all values, or count rows only.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Try another version of DuckDB and DuckLake on a branch of the lake.

    Makes a branch, looks at every table with the versions that run this command, lets --python
    migrate the branch and look at the same, says what differs, and drops the branch. The lake stays
    as it is. Exits with 1 if tables, columns, rows or values differ; other statistics and plans
    are shown. docs/deployment.md says how to migrate the lake itself.

    Example: lotus-lake upgrade --rehearse --python /opt/new/bin/python
    """
    if not rehearse:
        raise SettingsError(
            "the lake itself is migrated by hand", hint="docs/deployment.md, or --rehearse"
        )
    settings = Settings.from_env({**os.environ, "LAKE_BRANCH": ""})
    branch = settings.of_branch(BRANCH)
    with open_lake(settings) as lake, telling("making a branch"):
        create_branch(lake, BRANCH, days=1)
    try:
        with open_lake(branch, read_only=True) as lake, telling("reading every table"):
            before = read_facts(lake, values=values)
        with telling("reading every table with the other version"):
            after = read_facts_with(python or Path(sys.executable), branch, values=values)
    finally:
        with open_lake(settings) as lake:
            drop_branch(lake, BRANCH)
    found = list(compare_facts(before, after))
    rows = [asdict(each) for each in found]
    if not as_json:
        rows = [{n: v if len(v) <= _LONGEST else f"{v[:_LONGEST]}…" for n, v in row.items()}
                for row in rows]  # fmt: skip
    show(rows, as_json=as_json)
    say(f"before: {before['versions']}")
    say(f"after:  {after['versions']}")
    say(f"{counted(len(after['tables']), 'table')}, {counted(len(found), 'difference')}")
    if any(each.what in ANSWERS for each in found):
        raise typer.Exit(1)
