"""The command `branch`: writable copies of the lake."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lotus_lake.cli.arguments import OPERATE, Yes
from lotus_lake.cli.output import AsJson, minute, say, show, telling
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.quantities import counted
from lotus_lake.repair.branches import DAYS, MAX_DAYS, create_branch, drop_branch, list_branches


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=OPERATE)(branch)


def branch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The branch to make or drop.")
    ] = None,
    days: Annotated[
        float,
        typer.Option(min=0.01, max=MAX_DAYS, help="Keep the files that it reads for so many days."),
    ] = DAYS,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete the branch and the files that it has written.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a writable copy of the lake that shares its files, drop one, or list all.

    Only the catalog is copied, so that it takes seconds whatever the size of the lake. With
    LAKE_BRANCH=NAME every command, dbt and every Dag works on the branch, which writes to a
    folder of its own. Nothing that happens there changes the lake or deletes a file of it.

    Example: lotus-lake branch new_sales

    Example: LAKE_BRANCH=new_sales lotus-lake query "FROM fct_sales LIMIT 5"

    Example: lotus-lake branch new_sales --drop
    """
    settings = Settings.from_env({**os.environ, "LAKE_BRANCH": ""})  # always the origin
    if name is None:
        if drop:
            raise SettingsError("--drop needs a name", hint="`lotus-lake branch` lists them")
        with open_to_read(settings) as lake:
            branches = list_branches(lake)
        rows = [
            {
                "name": found.branch.name,
                "state": found.state,
                "created": minute(found.branch.created_at),
                "expires": minute(found.branch.expires_at),
                "files": found.branch.data_path,
            }
            for found in branches
        ]
        show(rows, as_json=as_json)
        if not rows and not as_json:
            say("no branches; `lotus-lake branch NAME` makes one")
        return
    if drop and not yes:
        folder = settings.of_branch(name).data_path
        typer.confirm(f"Drop branch {name} and its files in {folder}?", abort=True, err=True)
    with open_lake(settings) as lake:
        if drop:
            with telling(f"dropping branch {name}"):
                deleted = drop_branch(lake, name)
            say(f"dropped branch {name} and {counted(deleted, 'file')} of its own")
            return
        with telling(f"copying the catalog to branch {name}"):
            made = create_branch(lake, name, days)
    say(f"branch {name} is made; what it writes lies in {made.data_path}")
    say(f"its origin keeps what it reads until {minute(made.expires_at)}")
    say(f"hint: export LAKE_BRANCH={name} to work on it")
