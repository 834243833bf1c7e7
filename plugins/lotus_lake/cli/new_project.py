"""`lotus-lake new-project`: a project without streams, to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.arguments import CONFIGURE
from lotus_lake.cli.output import AsJson, say
from lotus_lake.config.settings import Settings
from lotus_lake.scaffold.new_project import make_project


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="new-project", rich_help_panel=CONFIGURE)(new_project)


def new_project(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the new project; empty or new.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a project of your own: Dags, library, dbt project and deployment, without any stream.

    It is a copy of what this checkout consists of, without the demo's streams, models and samples.
    `lotus-lake validate` passes in it, and its Dags load.

    Example: lotus-lake new-project ../my-lake

    Next: its README.md. Exit code 1: the folder is not empty, or lies in this project.
    """
    made = make_project(Settings.from_env(), folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "made": made}, indent=2))
    else:
        for name in made:
            typer.echo(f"wrote {folder / name}")
    say(f"next: cd {folder}, and see README.md")
