"""The option `--version`."""

from __future__ import annotations

from typing import Annotated

import duckdb
import typer

from lotus_lake import __version__
from lotus_lake.lake.connection import load_extensions


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
    """Versions of lotus-lake, DuckDB and DuckLake, with the format of the catalogs that it makes.

    Raises:
        SettingsError: An extension of DuckDB is missing.
    """
    with duckdb.connect() as con:
        load_extensions(con, "sqlite")
        # A lake in memory, of which no file is written.
        con.execute("ATTACH 'ducklake::memory:' AS lake (DATA_PATH '/nowhere')")
        ((ducklake, catalog_format),) = con.execute(
            "SELECT extension_version, value FROM duckdb_extensions(), "
            "__ducklake_metadata_lake.ducklake_metadata "
            "WHERE extension_name = 'ducklake' AND key = 'version'"
        ).fetchall()
        con.execute("DETACH lake")
    return (
        f"lotus-lake {__version__}, DuckDB {duckdb.__version__}, "
        f"DuckLake {ducklake} (catalog format {catalog_format})"
    )


def _print(wanted: bool) -> None:
    if wanted:
        typer.echo(versions())
        raise typer.Exit
