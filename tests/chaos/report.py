"""The report of a long storm: one page of Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tests.chaos.actors import ACTORS
from tests.chaos.races import Race
from tests.chaos.tally import Kill, Tally

_WRONG_CHARS = 3000


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one catalog.

    Attributes:
        catalog: Which one.
        tally: What happened in the storm.
        races: How the races ended.
        seconds: How long all of it took.
    """

    catalog: str
    tally: Tally
    races: Sequence[Race]
    seconds: float

    @property
    def losses(self) -> int:
        return self.tally.findings.losses + sum(race.losses for race in self.races)

    @property
    def doubles(self) -> int:
        return self.tally.findings.doubles + sum(race.doubles for race in self.races)

    @property
    def wrongs(self) -> list[str]:
        """Everything that is wrong, in words."""
        failed = [str(race) for race in self.races if race.failed or race.losses or race.doubles]
        return [*self.tally.findings.wrongs, *failed]


def write_report(path: Path, results: Sequence[Result], seed: int, postgres: str) -> None:
    """Write the page."""
    kills = sum(result.tally.kills.total() for result in results)
    parts = [
        "# Chaos report",
        f"{kills} kills, {sum(result.losses for result in results)} losses, "
        f"{sum(result.doubles for result in results)} doubles, "
        f"{sum(len(result.wrongs) for result in results)} other things wrong.",
        _machine(seed, postgres),
        *(part for result in results for part in _catalog(result)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n")


def _machine(seed: int, postgres: str) -> str:
    con = duckdb.connect(":memory:")
    (engine,) = con.execute("SELECT version()").fetchone() or ("?",)
    con.close()
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} processors; "
        f"Python {platform.python_version()}, DuckDB {engine}, {postgres}; seed {seed}."
    )


def _catalog(result: Result) -> list[str]:
    tally = result.tally
    facts = [
        ("files", f"{tally.files:,} with {tally.rows:,} rows"),
        ("files retired", f"{tally.retired:,}, objects deleted: {tally.deleted:,}"),
        ("commits", f"{tally.commits:,}, snapshots expired: {tally.expired:,}"),
        ("commits tried again", f"{tally.conflicts:,}"),
        ("restarts of the catalog's server", f"{tally.restarts:,}"),
        ("looks of readers", f"{tally.looks:,}, {tally.interrupted} more cut off by a restart"),
        ("losses", f"{tally.findings.losses}"),
        ("doubles", f"{tally.findings.doubles}"),
        ("wall time", f"{result.seconds / 60:.1f} minutes"),
    ]
    return [
        f"## {result.catalog}",
        _table(("", ""), facts),
        "Kills (SIGKILL of the whole process), and how the others ended:",
        _kills(tally),
        "Faults of the object store:",
        _table(
            ("fault", "request", "times"),
            [
                (fault, operation, str(count))
                for (fault, operation), count in sorted(tally.faults.items())
            ],
        ),
        "Races:",
        _races(result.races),
        *(f"```text\n{wrong[-_WRONG_CHARS:]}\n```" for wrong in result.wrongs),
    ]


def _kills(tally: Tally) -> str:
    ends = ("done", "transient error", "wrong")
    rows = [
        (
            name,
            *(str(tally.kills[name, kind]) for kind in Kill),
            *(str(tally.ends[name, end]) for end in ends),
        )
        for name in ACTORS
    ]
    return _table(("actor", *Kill, *ends), rows)


def _races(races: Sequence[Race]) -> str:
    head = (
        "processes", "streams", "files", "rows", "commits", "tried again", "losses", "doubles",
        "failed", "seconds",
    )  # fmt: skip
    rows = [
        (
            *map(
                str,
                (
                    race.processes, race.streams, race.files, race.rows, race.commits,
                    race.conflicts, race.losses, race.doubles, race.failed,
                ),
            ),
            f"{race.seconds:.1f}",
        )
        for race in races
    ]  # fmt: skip
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
