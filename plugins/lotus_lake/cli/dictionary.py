"""The command `dictionary`: the models and their columns as a page."""

from __future__ import annotations

import typer

from lotus_lake.cli.arguments import CONFIGURE
from lotus_lake.config.settings import Settings
from lotus_lake.observe.dictionary import dictionary
from lotus_lake.project.manifest import ensure_manifest


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="dictionary", rich_help_panel=CONFIGURE)(print_dictionary)


def print_dictionary() -> None:
    """Print the data dictionary: tables, columns, tests and lineage as one HTML page.

    It is dbt's page of docs, with the columns of the landing tables. It needs no lake, loads
    nothing and works without a server. Airflow serves it beside the Lake page.

    Example: lotus-lake dictionary > dictionary.html
    """
    settings = Settings.from_env()
    ensure_manifest(settings.project_dir)
    page, _ = dictionary(settings)
    typer.echo(page)
