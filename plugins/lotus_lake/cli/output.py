"""What commands print: data to stdout, as a table or as JSON; everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

# In a pipe each row is one line, however long, unless COLUMNS says otherwise.
_PIPE_COLUMNS = 10_000


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, number_columns: int = 0) -> None:
    """Print rows that all have the same columns.

    Args:
        rows: What to print; nothing is printed of no rows, unless as JSON.
        as_json: Print a JSON array.
        number_columns: So many columns after the first are aligned to the right.
    """
    if as_json:
        typer.echo(json.dumps(list(rows), default=_plain, indent=2))
        return
    if not rows:
        return
    table = Table(*rows[0], box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(table.columns):
        column.overflow = "fold"  # a key that is cut off is of no use
        column.justify = "right" if 0 < number <= number_columns else "left"
    for row in rows:
        # As Text, because brackets in a string would be taken for markup.
        table.add_row(*(Text(_readable(value)) for value in row.values()))
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if has_width else _PIPE_COLUMNS).print(table)


def say(text: str) -> None:
    """Print a line to stderr."""
    typer.echo(text, err=True)


def minute(at: datetime | None) -> str:
    """A moment as people want it in a table."""
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _readable(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
