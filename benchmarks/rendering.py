"""Turn saved results into RESULTS.md and its plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.results import shown

_MARKS = {True: "met", False: "**missed**", None: "-"}
_VERSIONS = ("duckdb", "duckdb-extension-ducklake", "apache-airflow", "astronomer-cosmos",
             "dbt-core", "dbt-duckdb")  # fmt: skip
_HEAD = """\
# Results

Written by `make bench` (`python -m benchmarks`), which runs everything but `volume`, and by
`python -m benchmarks NAME ...`, which runs some (again); not by hand. `make bench-quick` does the
same at small sizes, to see that it still runs.

{machine}

The machine is shared: within a benchmark compare figures with each other, not with those of another
day. Every figure of a table comes from processes of their own that ran in turn on the same data.
*CPU* is that of the process and its children, *memory* the highest resident memory of its process.
Requests are counted by the S3 server.

* **Lotus Lake** is this repository's code, called as its tasks call it.
* **Original** is the algorithm of the Dagster system that this one replaces: a glob per day from
  the cursor on (a full glob without one), the size of each file by one metadata read, one
  `ducklake_add_data_files` and commit per file.
* **Naive** is what one would write without either: a wildcard `S3KeySensor`, one
  `ducklake_add_data_files` for a glob.

S3 is `benchmarks/store.py`, a server that costs almost nothing and can answer later by a fixed
time; *30 ms* means that every request is answered 30 ms later. Files are small (200 rows) unless
said otherwise.
"""


def render(titles: Mapping[str, tuple[str, str]], results: Path, page: Path) -> None:
    """Write the page, and its plots beside it.

    Args:
        titles: Title and description of each benchmark, in order of the page.
        results: Folder of the saved results.
        page: The page to write.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    found = {
        name: json.loads((results / f"{name}.json").read_text())
        for name in titles
        if (results / f"{name}.json").exists()
    }
    lines = [_HEAD.format(machine=_machine()), "## Targets\n"]
    lines += ["| | target | measured | |", "|---|---|---|---|"]
    for name, result in found.items():
        link = f"[{titles[name][0]}](#{_anchor(titles[name][0])})"
        if result["error"]:
            lines.append(f"| {link} | | stopped: {_last_line(result['error'])} | **failed** |")
        for target in result["targets"]:
            lines.append(
                f"| {link} | {target['text']} | {target['figure']} | {_MARKS[target['met']]} |"
            )
    for name, result in found.items():
        lines += ["", *_section(name, *titles[name], result, page.parent / "plots")]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _section(
    name: str, title: str, description: str, result: dict[str, Any], plots: Path
) -> list[str]:
    lines = [f"## {title}", "", description.strip(), ""]
    lines += [f"`python -m benchmarks {name}`, {result['date']}, {result['seconds']:.0f} s.", ""]
    if result["error"]:
        lines += ["It did not come to its end:", "", "```text", result["error"].strip(), "```", ""]
    for table in result["tables"]:
        lines += [f"{table['title']}:", "", *_table(table["columns"], table["rows"]), ""]
    for remark in result["remarks"]:
        lines += [remark, ""]
    for plot in result["plots"]:
        draw(plot, plots / f"{plot['name']}.png")
        lines += [f"![{plot['title']}](plots/{plot['name']}.png)", ""]
    return lines[:-1]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    numeric = [
        all(isinstance(row[place], int | float | None) for row in rows)
        for place in range(len(columns))
    ]
    return [
        f"| {' | '.join(columns)} |",
        f"|{'|'.join('---:' if right else '---' for right in numeric)}|",
        *(f"| {' | '.join(shown(cell) for cell in row)} |" for row in rows),
    ]


def draw(plot: Mapping[str, Any], file: Path) -> None:
    """Draw a plot of named lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    file.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(7.0, 3.6), dpi=110)
    for mark, (name, points) in zip("os^Dvx*Ph", plot["series"].items(), strict=False):
        axes.plot(*zip(*sorted(map(tuple, points)), strict=True), marker=mark, label=name)
    if "x" in plot["logarithmic"]:
        axes.set_xscale("log")
    if "y" in plot["logarithmic"]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set(title=plot["title"], xlabel=plot["x"], ylabel=plot["y"])
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.tight_layout()
    # No date in the file: the same figures make the same picture.
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"{platform.system()} {platform.release().partition('-')[0]}, {os.cpu_count()} processors "
        f"({names[0] if names else platform.machine()}), {memory:.0f} GiB.\n"
        f"Python {platform.python_version()}, {versions}."
    )


def _anchor(title: str) -> str:
    kept = "".join(char for char in title.lower() if char.isalnum() or char in " -_")
    return kept.replace(" ", "-")


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1][:200].replace("|", "/")
