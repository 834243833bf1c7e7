"""`lotus-lake landing`: write what is derived from the stream configs."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from lotus_lake.cli.arguments import CONFIGURE
from lotus_lake.cli.derived import Check, bring_up_to_date
from lotus_lake.cli.output import AsJson
from lotus_lake.cli.reference_stream import STREAM_PAGE, stream_page
from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import SCHEMA_FILE, published_schema
from lotus_lake.config.streams import known_streams, load_streams
from lotus_lake.landing.tables import ddl_file, ddl_text


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=CONFIGURE)(landing)


def landing(check: Check = False, as_json: AsJson = False) -> None:
    """Derive landing DDL, and the JSON Schema for editors, from the stream configs.

    Run it after a change of include/streams or include/sources, and commit the result. In a
    checkout it also writes docs/reference-stream.md from that schema.

    Example: lotus-lake landing --check
    """
    settings = Settings.from_env()
    known_streams(settings.streams_dir)  # or else a folder would be made for the schema
    streams, errors = load_streams(settings.streams_dir)
    files: dict[Path, str | None] = {
        ddl_file(settings.project_dir, stream): ddl_text(settings, stream) for stream in streams
    }
    files[settings.streams_dir / SCHEMA_FILE] = json.dumps(published_schema(), indent=2) + "\n"
    page = settings.project_dir / STREAM_PAGE
    if page.parent.is_dir():  # an image has no docs
        files[page] = stream_page()
    bring_up_to_date(files, errors, command="lotus-lake landing", check=check, as_json=as_json)
