"""`lotus-lake`: the lake from the command line, without Airflow."""

from __future__ import annotations

import typer

from lotus_lake.cli import (
    airbyte,
    configs,
    discovering,
    doctor,
    files,
    initialising,
    lake,
    maintaining,
    scaffolding,
    validating,
    version,
)
from lotus_lake.errors import LotusLakeError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Feeds Airbyte's Parquet files into a DuckLake lakehouse, each file exactly once.\n\n"
    "Where the lake is comes from LAKE_CATALOG, LAKE_DATA_PATH, LAKE_RAW_URI and AWS_*.",
)
initialising.add_to(app)
configs.add_to(app)
discovering.add_to(app)
scaffolding.add_to(app)
validating.add_to(app)
lake.add_to(app)
files.add_to(app)
maintaining.add_to(app)
airbyte.add_to(app)
doctor.add_to(app)
version.add_to(app)


def main() -> None:
    """Entry point: errors of the library end in one readable message."""
    try:
        app(prog_name="lotus-lake")
    except LotusLakeError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
