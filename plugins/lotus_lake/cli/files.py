"""Commands about the lake: where each stream stands, and what became of its files."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from lotus_lake.catalog import META, open_lake
from lotus_lake.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(status)


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
