"""What commands print: data to stdout, as a table or as JSON; everything else to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.lake.session import Lake
from lotus_lake.quantities import readable_seconds

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

# In a pipe each row is one line, however long, unless COLUMNS says otherwise.
_PIPE_COLUMNS = 10_000
# Longer values may be broken into lines of this length or more.
_LONG = 24
# Control characters except tab and line feed, and those that turn the direction of a line.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# A column of such values is aligned to the right.
_NUMBER = re.compile(r"-?\d+(\.\d+)?( [kMGT]?B)?")
_PATIENCE_SECONDS = 2.0


def show(
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    dispensable: Sequence[str] = (),
) -> None:
    r"""Print rows that all have the same columns.

    In a terminal that is too narrow, long values are broken into lines; where even that would leave
    a few letters to a column, each column gets a line of its own, as psql's `\x auto` does.

    Args:
        rows: What to print; nothing is printed of no rows, unless as JSON.
        as_json: Print a JSON array.
        dispensable: Columns that a narrow terminal does without, the first one first.
    """
    if as_json:
        typer.echo(json.dumps(list(rows), default=_plain, indent=2))
        return
    if not rows:
        return
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if has_width else _PIPE_COLUMNS)
    cells = {name: [_readable(row[name]) for row in rows] for name in rows[0]}
    for name in dispensable:
        if _width(cells) > console.width:
            del cells[name]
    long = [name for name, values in cells.items() if _longest(values) > _LONG]
    least = _width({n: [v[:_LONG] for v in values] for n, values in cells.items()})
    if _width(cells) > console.width < least:
        _print_records(console, cells)
    else:
        _print_table(console, cells, long)


def _print_table(console: Console, cells: Mapping[str, list[str]], long: Sequence[str]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name, values in cells.items():
        is_number = all(map(_NUMBER.fullmatch, filter(None, values)))
        # A key that is cut off is of no use: it is broken into lines.
        table.add_column(
            name,
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=name not in long,
        )
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))  # as Text: brackets would be taken for markup
    console.print(table)


def _print_records(console: Console, cells: Mapping[str, list[str]]) -> None:
    for number, row in enumerate(zip(*cells.values(), strict=True), start=1):
        record = Table.grid(padding=(0, 2, 0, 0))
        record.add_column(no_wrap=True)
        record.add_column(overflow="fold")
        for name, value in zip(cells, row, strict=True):
            record.add_row(Text(name), Text(value))
        console.print(Text(f"── row {number} ──"), record)


def _width(cells: Mapping[str, list[str]]) -> int:
    """Columns of the terminal that a table takes."""
    return sum(max(cell_len(n), _longest(v)) + 2 for n, v in cells.items()) - 2


def _longest(values: Sequence[str]) -> int:
    return max((cell_len(line) for value in values for line in value.splitlines()), default=0)


def say(text: str) -> None:
    """Print a line to stderr."""
    typer.echo(printable(text), err=True)


def printable(text: str) -> str:
    """A text without what a terminal would obey: names of objects come from anywhere."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


@contextmanager
def telling(text: str) -> Iterator[None]:
    """Say what is going on if it takes longer than a moment."""
    timer = threading.Timer(_PATIENCE_SECONDS, say, [f"{text} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def reading(settings: Settings) -> Iterator[Lake]:
    """Open the lake read-only, and say so if that takes long."""
    with _opening(open_to_read(settings)) as lake:
        yield lake


@contextmanager
def writing(settings: Settings) -> Iterator[Lake]:
    """Open the lake, and say so if that takes long."""
    with _opening(open_lake(settings)) as lake:
        yield lake


@contextmanager
def _opening(lake: AbstractContextManager[Lake]) -> Iterator[Lake]:
    with ExitStack() as stack:
        with telling("opening the catalog"):
            opened = stack.enter_context(lake)
        yield opened


def age(at: datetime | None) -> str:
    """How long ago something happened: `12 min ago`."""
    if at is None:
        return ""
    return f"{readable_seconds((datetime.now(UTC) - at).total_seconds())} ago"


def minute(at: datetime | None) -> str:
    """A moment as people want it in a table."""
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _readable(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else printable(str(value))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
