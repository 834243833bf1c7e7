"""`lotus-lake`: the lake from the command line, without Airflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lotus_lake.catalog import META, open_lake
from lotus_lake.errors import LotusLakeError
from lotus_lake.landing import ddl_file, ddl_text
from lotus_lake.settings import Settings
from lotus_lake.streams import SCHEMA_FILE, load_streams, published_schema

app = typer.Typer(
    no_args_is_help=True,
    help="Feeds Airbyte's Parquet files into a DuckLake lakehouse, each file exactly once.\n\n"
    "Where the lake is comes from LAKE_CATALOG, LAKE_DATA_PATH, LAKE_RAW_URI and AWS_*.",
)


@app.command()
def landing(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when a file is not current.")
    ] = False,
) -> None:
    """Derive what follows from the stream configs: landing DDL, and the JSON Schema for editors.

    Run it after a change of include/streams or include/sources, and commit the result.
    """
    settings = Settings.from_env()
    streams, errors = load_streams(settings.streams_dir)
    for error in errors:
        typer.echo(str(error), err=True)
    files = {
        ddl_file(settings.project_dir, stream): ddl_text(settings, stream) for stream in streams
    }
    files[settings.streams_dir / SCHEMA_FILE] = json.dumps(published_schema(), indent=2) + "\n"
    stale = [path for path, text in files.items() if not _holds(path, text)]
    for path in stale:
        typer.echo(f"{'stale' if check else 'wrote'} {path}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    typer.echo(f"{len(files) - len(stale)} of {len(files)} files were current", err=True)
    if errors or (check and stale):
        raise typer.Exit(1)


@app.command()
def status() -> None:
    """Show where each stream stands: cursor, files by what became of them, rows."""
    settings = Settings.from_env()
    table = Table("stream", "seen", "registered", "quarantined", "waiting", "rows", "cursor")
    with open_lake(settings, read_only=True) as lake:
        if "file_events" not in lake.tables("meta"):
            typer.echo("nothing was fed yet", err=True)
            return
        for row in lake.rows(
            "SELECT source || '/' || stream, count(*)::VARCHAR, "
            "count(*) FILTER (event IN ('registered', 'retired'))::VARCHAR, "
            "count(*) FILTER (event = 'quarantined')::VARCHAR, "
            "count(*) FILTER (event = 'discovered')::VARCHAR, "
            "coalesce(sum(row_count) FILTER (event IN ('registered', 'retired')), 0)::VARCHAR, "
            "max(cursors.cursor_path) "
            f"FROM {META}.feeder_files LEFT JOIN {META}.feeder_cursors AS cursors "
            "USING (source, stream) GROUP BY source, stream ORDER BY source, stream"
        ):
            table.add_row(*(value or "" for value in row))
    Console().print(table)


def main() -> None:
    """Entry point: errors of the library end in one readable message."""
    try:
        app()
    except LotusLakeError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
