"""`make simulate`: 30 days of hourly syncs, side by side with and without upkeep.

`ARGS="--upkeep with"` leaves the lake without upkeep out, which takes most of the time.

Prints a line a day, then tables for docs/maintenance.md, and writes every figure to
.lake/simulation/days.csv. The lakes are copied on some days, and the copies are compared in the
end, in turns.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.session import Lake
from tests.pipeline.driver import PROJECT
from tests.servers import PostgresServer, S3Server, run_postgres, run_s3
from tests.simulation.branch import QUERIES, Branch, Day, poll
from tests.simulation.copies import compare, copy_lake
from tests.simulation.shop import Shop, write_streams

HOURS = 24
OUTPUT = PROJECT / ".lake" / "simulation" / "days.csv"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make simulate ARGS=...")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--history", type=int, default=50_000, help="orders of the backfill")
    parser.add_argument("--catalog", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--upkeep", choices=["both", "with", "without"], default="both")
    chosen = parser.parse_args()
    shop = Shop(chosen.seed, chosen.history)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(run_s3())
        client = s3_client(server.access)
        on_postgres = chosen.catalog == "postgres"
        postgres = stack.enter_context(run_postgres()) if on_postgres else None
        copies: dict[str, Settings] = {}
        branches = [
            stack.enter_context(branch)
            for branch in _branches(Path(folder), server, postgres)
            if chosen.upkeep in ("both", _name(branch))
        ]
        for hour in range(chosen.days * HOURS):
            files = shop.sync(hour)
            for branch in branches:
                branch.sync(files)
                if hour % HOURS == HOURS - 1:
                    branch.end_day()
                    print(_line(branch), flush=True)
                    if len(branch.days) in _some(chosen.days):
                        name = f"day-{len(branch.days)}-{_name(branch)}"
                        copies[name] = copy_lake(
                            branch.settings, Path(folder, name), client, postgres
                        )
        for branch in branches:
            assert branch.rows() == shop.expected()
            assert all(path.startswith(branch.settings.raw_uri) for path in branch.registered())
        _write(branches)
        print("\n" + "\n".join(_table(branches)))
        runs: dict[str, Callable[[Lake], object]] = {
            name: partial(Lake.rows, sql=sql) for name, sql in QUERIES.items()
        }
        runs["poll"] = partial(poll, client=client)
        print("\ncopies: milliseconds of CPU, and of time")
        for name, found in compare(copies, runs).items():
            print(f"{name}: {found}")


def _branches(folder: Path, server: S3Server, postgres: PostgresServer | None) -> Iterator[Branch]:
    client = s3_client(server.access)
    addresses = {}
    if postgres:
        addresses = {n: f"postgres:{postgres.create_database(n)}" for n in ("off", "on")}
    for name in ("off", "on"):
        client.create_bucket(Bucket=f"simulation-{name}")
        settings = Settings.from_env(
            {
                "LAKE_PROJECT_DIR": str(folder / name),
                "LAKE_CATALOG": addresses.get(name, f"sqlite:{folder / name / 'catalog.sqlite'}"),
                "LAKE_DATA_PATH": str(folder / name / "data"),
                "LAKE_RAW_URI": f"s3://simulation-{name}/raw",
                "LAKE_STREAMS_DIR": str(folder / name / "streams"),
                # So small a lake is read faster by one thread than by two.
                "LAKE_THREADS": "1",
                **server.environment(),
            }
        )
        write_streams(settings.streams_dir)
        yield Branch(settings, s3_client(server.access), has_upkeep=name == "on")


def _some(days: int) -> list[int]:
    """The days that are shown, and on which lakes are copied."""
    return sorted({1, *range(5, days + 1, 5), days})


def _name(branch: Branch) -> str:
    return "with" if branch.has_upkeep else "without"


def _line(branch: Branch) -> str:
    return f"{_name(branch)} upkeep: {branch.days[-1]}"


def _flat(branch: Branch, day: Day) -> dict[str, Any]:
    return {
        "upkeep": _name(branch),
        "day": day.day,
        **{f"{name}_ms": value for name, value in day.query_ms.items()},
        "poll_ms": day.poll_ms,
        "poll_requests": day.poll_requests,
        **{f"files {name}": value for name, value in sorted(day.files.items())},
        "snapshots": day.snapshots,
        "disk_bytes": day.disk_bytes,
        "raw_objects": day.raw_objects,
        "catalog_bytes": day.catalog_bytes,
        "inlined_rows": day.inlined_rows,
        "upkeep_seconds": day.upkeep_seconds,
    }


def _write(branches: Sequence[Branch]) -> None:
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    rows = [_flat(branch, day) for branch in branches for day in branch.days]
    with OUTPUT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"\nwrote {OUTPUT.relative_to(PROJECT)}")


def _table(branches: Sequence[Branch]) -> Iterator[str]:
    """A Markdown table: some days, both branches."""
    days = _some(len(branches[0].days))
    names = [
        name for name in _flat(branches[0], branches[0].days[0]) if name not in ("upkeep", "day")
    ]
    for branch in branches:
        yield f"\n{_name(branch)} upkeep\n"
        yield "| day | " + " | ".join(str(day) for day in days) + " |"
        yield "|---|" + "---:|" * len(days)
        for name in names:
            cells = (str(_flat(branch, branch.days[day - 1])[name]) for day in days)
            yield f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
