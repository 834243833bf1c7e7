"""The long storm: `python -m tests.chaos`, or `make chaos`.

Kills every actor at every statement and inside every kind of commit, then at random, on a SQLite
and on a Postgres catalog; checks everything after every round; writes `.lake/chaos/report.md`.
Ends with 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from tests.chaos.actors import ACTORS
from tests.chaos.fuzz import fuzz
from tests.chaos.lakes import run_storm
from tests.chaos.races import Race, race
from tests.chaos.report import Result, write_report
from tests.chaos.storm import Storm
from tests.pipeline.driver import PROJECT
from tests.servers import PostgresServer, S3Server, run_postgres, run_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CATALOGS = ("sqlite", "postgres")
REPORT = PROJECT / ".lake" / "chaos" / "report.md"
ROUND_KILLS = 40
FAULT_RATE = 0.08
RESTARTS = 2
RACERS = 8
RACE_FILES = 48


def main() -> int:
    """Run it; returns the exit code."""
    arguments = _arguments()
    results = []
    with (
        run_s3() as s3,
        run_postgres() as postgres,
        contextlib.closing(s3_client(s3.access)) as client,
    ):
        for catalog in arguments.catalog:
            results.append(_run(catalog, s3, client, postgres, arguments))
            write_report(REPORT, results, arguments.seed, postgres.version())
        damage, wrongs = _fuzz(s3, client, arguments.seed, arguments.damaged)
        with REPORT.open("a") as report:
            report.write("\n".join(["", "## Damaged files", "", damage, *wrongs, ""]))
    print(f"\n{REPORT.read_text()}")
    return int(any(result.wrongs for result in results) or bool(wrongs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", type=int, default=600, help="of processes, for each catalog")
    parser.add_argument("--damaged", type=int, default=2000, help="Parquet files to damage")
    parser.add_argument("--catalog", nargs="+", choices=CATALOGS, default=CATALOGS)
    return parser.parse_args()


def _run(
    catalog: str,
    s3: S3Server,
    client: S3Client,
    postgres: PostgresServer,
    arguments: argparse.Namespace,
) -> Result:
    started = time.monotonic()
    with _folder() as folder:
        client.create_bucket(Bucket=f"storm-{catalog}")
        address = _address(catalog, folder, postgres)
        restart = postgres.restart if catalog == "postgres" else None
        with run_storm(
            folder, address, s3, client, f"storm-{catalog}", arguments.seed, restart
        ) as storm:
            _weather(storm, catalog, arguments.kills, started)
    races = [_race(catalog, s3, client, postgres, streams) for streams in (1, RACERS)]
    for end in races:
        _say(catalog, started, str(end))
    return Result(catalog, storm.tally, races, time.monotonic() - started)


def _fuzz(s3: S3Server, client: S3Client, seed: int, count: int) -> tuple[str, list[str]]:
    """Damaged files among good ones; a line of what became of them, and what was wrong."""
    started = time.monotonic()
    with _folder() as folder:
        client.create_bucket(Bucket="damaged")
        settings = _settings(folder, f"sqlite:{folder / 'catalog.sqlite'}", s3, "damaged")
        tally, wrongs = fuzz(settings, client, seed, count)
    text = f"{count} files: " + ", ".join(f"{n} {what}" for what, n in sorted(tally.items()))
    _say("damage", started, f"{text}, {len(wrongs)} wrong")
    return text, wrongs


def _settings(folder: Path, catalog: str, s3: S3Server, bucket: str) -> Settings:
    return Settings.from_env(
        {
            "LAKE_PROJECT_DIR": str(folder),
            "LAKE_CATALOG": catalog,
            "LAKE_DATA_PATH": str(folder / "data"),
            "LAKE_RAW_URI": f"s3://{bucket}/raw",
            "LAKE_STREAMS_DIR": str(folder / "streams"),
            "LAKE_THREADS": "1",
            **s3.environment(),
        }
    )


def _weather(storm: Storm, catalog: str, kills: int, started: float) -> None:
    """Systematic kills first, then rounds with and without faults and restarts."""

    def say(what: str) -> None:
        tally = storm.tally
        _say(
            catalog, started,
            f"{what}: {tally.kills.total()} kills, {tally.files} files, {tally.commits} commits, "
            f"{tally.looks} looks, {len(tally.findings.wrongs)} wrong",
        )  # fmt: skip

    storm.workload.drop(20)
    storm.calm()
    with storm.watched():
        for name in ACTORS:
            storm.systematic(name)
            say(f"{name} at every step")
        storm.calm()
        number = 0
        while (left := kills - storm.tally.kills.total()) > 0:
            number += 1
            faults = FAULT_RATE if number % 2 else 0.0
            restarts = RESTARTS if number % 4 > 1 else 0
            storm.round(min(left, ROUND_KILLS), faults=faults, restarts=restarts)
            say(f"round {number}")
        storm.crowd(starts=40)
        say("all beside each other")


def _race(
    catalog: str, s3: S3Server, client: S3Client, postgres: PostgresServer, streams: int
) -> Race:
    bucket = f"race-{catalog}-{streams}"
    with _folder() as folder:
        client.create_bucket(Bucket=bucket)
        address = _address(catalog, folder, postgres, f"race_{streams}")
        settings = _settings(folder, address, s3, bucket)
        files = RACE_FILES // streams
        return race(settings, client, folder, streams=streams, processes=RACERS, files=files)


def _address(catalog: str, folder: Path, postgres: PostgresServer, name: str = "storm") -> str:
    if catalog == "sqlite":
        return f"sqlite:{folder / 'catalog.sqlite'}"
    return f"postgres:{postgres.create_database(name)}"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lotus-chaos-") as name:
        yield Path(name)


def _say(catalog: str, started: float, text: str) -> None:
    print(f"{time.monotonic() - started:6.0f} s  {catalog:8}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
