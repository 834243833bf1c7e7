"""The command `contract`: what a stream promises, for data catalogs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml

from lotus_lake.cli.arguments import CONFIGURE, Name, Source
from lotus_lake.cli.output import AsJson
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.scaffold.contract import contract


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="contract", rich_help_panel=CONFIGURE)(print_contract)


def print_contract(
    source: Source,
    stream: Name,
    version: Annotated[str, typer.Option(metavar="VERSION", help="Of the contract.")] = "1.0.0",
    as_json: AsJson = False,
) -> None:
    """Print the contract of a stream, in the Open Data Contract Standard.

    Columns with types and descriptions, the primary key, schedule and freshness, from the stream
    config and the source schema. Data catalogs and contract tools read it.

    Example: lotus-lake contract shopify orders > orders.odcs.yaml
    """
    settings = Settings.from_env()
    found = contract(settings, find_stream(settings.streams_dir, source, stream), version)
    text = json.dumps(found, indent=2) if as_json else yaml.safe_dump(found, sort_keys=False)
    typer.echo(text.rstrip())
