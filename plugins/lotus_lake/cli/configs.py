"""Commands about what is on disk: stream configs and what is derived from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.landing import ddl_file, ddl_text
from lotus_lake.reference import STREAM_PAGE, stream_page
from lotus_lake.settings import Settings
from lotus_lake.streams import SCHEMA_FILE, load_streams, published_schema


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(landing)


def landing(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when a file is not current.")
    ] = False,
) -> None:
    """Derive what follows from the stream configs: landing DDL, and the JSON Schema for editors.

    Run it after a change of include/streams or include/sources, and commit the result. In a
    checkout it also writes docs/reference-stream.md, which says what the schema says.

    Example: lotus-lake landing --check
    """
    settings = Settings.from_env()
    streams, errors = load_streams(settings.streams_dir)
    for error in errors:
        typer.echo(str(error), err=True)
    files = {
        ddl_file(settings.project_dir, stream): ddl_text(settings, stream) for stream in streams
    }
    files[settings.streams_dir / SCHEMA_FILE] = json.dumps(published_schema(), indent=2) + "\n"
    page = settings.project_dir / STREAM_PAGE
    if page.parent.is_dir():  # an image has no docs
        files[page] = stream_page()
    stale = [path for path, text in files.items() if not _holds(path, text)]
    for path in stale:
        typer.echo(f"{'stale' if check else 'wrote'} {path}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    typer.echo(f"{len(files) - len(stale)} of {len(files)} files were current", err=True)
    if errors or (check and stale):
        raise typer.Exit(1)


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
