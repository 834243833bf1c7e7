"""The option `--version`: versions of lotus-lake, DuckDB and DuckLake, and the catalog format."""

from __future__ import annotations

from typing import Annotated

import duckdb
import typer

from lotus_lake import __version__
from lotus_lake.lake.extensions import ducklake_version


def add_to(app: typer.Typer) -> None:
    """Add the option of this module."""

    @app.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version",
                callback=_print,
                is_eager=True,
                help="Print the versions of lotus-lake, DuckDB and DuckLake.",
            ),
        ] = False,
    ) -> None: ...


def versions() -> str:
    """Versions of lotus-lake, DuckDB and DuckLake, with the format of the catalogs that it creates.

    Raises:
        SettingsError: An extension of DuckDB is missing.
    """
    ducklake, catalog_format = ducklake_version()
    return (
        f"lotus-lake {__version__}, DuckDB {duckdb.__version__}, "
        f"DuckLake {ducklake} (catalog format {catalog_format})"
    )


def _print(wanted: bool) -> None:
    if wanted:
        typer.echo(versions())
        raise typer.Exit
