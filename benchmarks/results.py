"""What a benchmark writes down: targets, tables and plots, saved after every step."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Cell = str | int | float | None


@dataclass
class Table:
    """A table of figures."""

    title: str
    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)


@dataclass
class Plot:
    """A plot of named series of (x, y).

    Attributes:
        name: Name of its file, without extension.
        title: What it shows.
        x: Label of the x axis.
        y: Label of the y axis.
        series: Points of each line.
        logarithmic: Which axes are: any of the letters x and y.
    """

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    logarithmic: str = "xy"


@dataclass
class Target:
    """A target with what was measured; `met` is unknown when there is only a figure."""

    text: str
    figure: str
    met: bool | None


class Report:
    """Collects the results of one benchmark in a file, so that a failure loses nothing.

    Args:
        file: The file.
        quick: Whether sizes are those that only show that everything still runs.
    """

    def __init__(self, file: Path, *, quick: bool) -> None:
        self.file = file
        self.quick = quick
        self.started = time.monotonic()
        self.date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        self.tables: dict[str, Table] = {}
        self.plots: dict[str, Plot] = {}
        self.targets: list[Target] = []
        self.remarks: list[str] = []
        self.error: str | None = None

    def step(self, text: str) -> None:
        """Say what is done now."""
        seconds = time.monotonic() - self.started
        print(f"{self.file.stem:>12} {seconds:4.0f} s  {text}", file=sys.stderr, flush=True)

    def row(self, table: str, **cells: Cell) -> None:
        """Append a row to a table; names of cells become columns, `_` is a space."""
        columns = [name.replace("_", " ") for name in cells]
        found = self.tables.setdefault(table, Table(table, columns))
        if found.columns != columns:
            raise ValueError(f"table {table!r} has the columns {found.columns}, not {columns}")
        found.rows.append(list(cells.values()))
        self.step("; ".join(f"{name} {shown(cell)}" for name, cell in cells.items()))
        self.save()

    def point(self, plot: Plot, series: str, x: float, y: float) -> None:
        """Append a point to a series of a plot, which is added when it is new."""
        self.plots.setdefault(plot.name, plot).series.setdefault(series, []).append((x, y))

    def target(self, text: str, figure: str, met: bool | None) -> None:
        """Say whether a target is met."""
        self.targets.append(Target(text, figure, met))
        self.step(f"{'met' if met else 'figure' if met is None else 'MISSED'}: {text}: {figure}")
        self.save()

    def remark(self, text: str) -> None:
        """Add a sentence below the tables."""
        self.remarks.append(text)
        self.save()

    def save(self) -> None:
        """Write everything down."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "date": self.date,
            "seconds": round(time.monotonic() - self.started, 1),
            "quick": self.quick,
            "error": self.error,
            "targets": [asdict(target) for target in self.targets],
            "tables": [asdict(table) for table in self.tables.values()],
            "plots": [asdict(plot) for plot in self.plots.values()],
            "remarks": self.remarks,
        }
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(document, indent=1, ensure_ascii=False))
        draft.replace(self.file)


def shown(cell: Any) -> str:
    """A cell as people read it: three significant figures, thousands apart."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        if abs(cell) >= 100:
            return f"{cell:,.0f}"
        return f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def median(values: Sequence[float]) -> float:
    """The middle value, or the lower one of the two."""
    return sorted(values)[(len(values) - 1) // 2]
