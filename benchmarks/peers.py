"""The same files through Lotus Lake, dlt, a Dagster asset and a careful script, each in its lake.

Every run is a process of its own, as a scheduler starts it, on SQLite and a real S3 server on this
machine. *First* is the backlog. *Again* finds nothing new. *Changes* has five new files, five late
ones in a folder of a month ago, and two objects that were replaced. *Damaged* has five new files
and one that was cut off; each way is run twice, as a retry would. *Lost* are rows that the bucket
has and the table lacks, *too many* those that the table has twice, or that the bucket has not any
more. The Dagster asset is
the replaced system's way: globs from the cursor's day on. The versions of dlt and Dagster are those
of `PACKAGES`, installed into an environment of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from benchmarks.lakes import LAST_DAY, PREFIX, keys_of_days, write_file, write_stream
from benchmarks.measuring import measured
from benchmarks.results import Report
from lotus_lake.bucket.keys import partition_path
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.extensions import load_extensions
from lotus_lake.sql import literal
from tests.servers import S3Server, run_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TITLE = "Peers"
PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "dlt[ducklake,filesystem,s3]==1.31.0", "s3fs", "dagster==1.13.29", "duckdb==1.5.5",
    "duckdb-extensions==1.5.5", "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-httpfs==1.5.5", "duckdb-extension-sqlite-scanner==1.5.5",
)  # fmt: skip
OURS = "Lotus Lake"
_SCRIPTS = {"dlt": "with_dlt", "Dagster asset": "with_dagster", "script with a list": "plain"}
_TABLES = {"dlt": "lake.staging.orders"}
_BUCKET, _ROWS, _PER_DAY = "landing", 200, 50
_INSTALL = (
    "from duckdb_extensions import import_extension\n"
    "for name in ('ducklake', 'httpfs', 'sqlite_scanner'): import_extension(name)"
)


@dataclass(frozen=True, slots=True)
class Run:
    """One process, whole."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


class Bucket:
    """The bucket, and which rows a lake should have of it: ids, by key."""

    def __init__(self, client: S3Client, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.ids: dict[str, range] = {}
        self.written = 0
        client.create_bucket(Bucket=_BUCKET)

    def put(self, key: str, *, cut: bool = False) -> None:
        """Write an object with rows that no other has; a cut one has none that can be read."""
        first, self.written = self.written * _ROWS, self.written + 1
        file = write_file(self.folder / "file.parquet", _ROWS, first)
        content = file.read_bytes()
        self.client.put_object(
            Bucket=_BUCKET, Key=key, Body=content[: len(content) // 2] if cut else content
        )
        self.ids[key] = range(0) if cut else range(first, first + _ROWS)


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    report.step(f"installing {', '.join(PACKAGES[:3])}")
    python = install(folder / "environment")
    with run_s3() as server:
        bucket = Bucket(s3_client(server.access), folder)
        ways = {OURS: lotus(folder, server)} | {
            name: script(name, python, folder, server) for name in _SCRIPTS
        }
        for phase, put in phases(bucket, 20 if quick else 1000):
            put()
            for name, (start, rows) in ways.items():
                for _ in range(2 if phase == "damaged" else 1):
                    done = start()
                found = rows()
                lost, too_many = compare(found or [], bucket)
                report.row(
                    "The same files", run=phase, how=name, seconds=done.seconds,
                    CPU_seconds=done.cpu_seconds, memory_MB=done.peak_mb,
                    ends="well" if done.code == 0 else "with an error",
                    rows_lost=lost if found else "table cannot be read",
                    rows_too_many=too_many if found else None,
                )  # fmt: skip
                if name == OURS:
                    said = f"{lost:,} lost, {too_many:,} too many"
                    report.target(f"{phase}: no row is lost or doubled", said, lost + too_many == 0)


def phases(bucket: Bucket, count: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """What the bucket gets before each run."""
    keys = keys_of_days(count, _PER_DAY)
    late = LAST_DAY - timedelta(days=30)

    def put(day: str, name: str, number: int = 5) -> None:
        for part in range(number):
            bucket.put(f"{PREFIX}{day}/{name}_{part}.parquet")

    def change() -> None:
        put(partition_path(LAST_DAY), "new")
        put(partition_path(late), "late")
        for key in keys[:2]:
            bucket.put(key)

    def damage() -> None:
        put(partition_path(LAST_DAY), "newer")
        bucket.put(f"{PREFIX}{partition_path(LAST_DAY)}/newer_2_cut.parquet", cut=True)

    def fill() -> None:
        for key in keys:
            bucket.put(key)

    yield "first", fill
    yield "again", lambda: None
    yield "changes", change
    yield "damaged", damage


def lotus(
    folder: Path, server: S3Server
) -> tuple[Callable[[], Run], Callable[[], list[int] | None]]:
    """Our command, and the ids in the landing table."""
    home = folder / "lotus"
    variables = {
        "LAKE_PROJECT_DIR": str(home),
        "LAKE_CATALOG": f"sqlite:{home / 'catalog.sqlite'}",
        "LAKE_DATA_PATH": str(home / "data"),
        "LAKE_RAW_URI": f"s3://{_BUCKET}/raw",
        "LAKE_STREAMS_DIR": str(write_stream(home, on_overwrite="reload", lookback_days=60)),
        **server.environment(),
    }
    command = [sys.executable, "-m", "lotus_lake.cli", "feed", "shop", "orders"]
    return (
        lambda: _whole(command, variables),
        lambda: measured(_landed, environment=variables).result,
    )


def script(
    name: str, python: Path, folder: Path, server: S3Server
) -> tuple[Callable[[], Run], Callable[[], list[int] | None]]:
    """A script of the folder `peer_scripts`, and the ids in its table."""
    home = folder / _SCRIPTS[name]
    home.mkdir()
    command = [
        str(python), str(Path(__file__).parent / "peer_scripts" / f"{_SCRIPTS[name]}.py"),
        f"s3://{_BUCKET}/{PREFIX.rstrip('/')}", str(home), str(LAST_DAY),
    ]  # fmt: skip
    variables = _peer_variables(python) | server.environment()
    table = _TABLES.get(name, "lake.orders")
    return (
        lambda: _whole(command, variables),
        lambda: measured(_ids, str(home), table, environment=server.environment()).result,
    )


def install(folder: Path) -> Path:
    """Make an environment with the peers, and DuckDB's extensions in it; returns its Python."""
    uv, python = str(Path(sys.executable).with_name("uv")), folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    packages = [uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES]
    subprocess.run(packages, check=True)
    variables = os.environ | _peer_variables(python)
    subprocess.run([str(python), "-c", _INSTALL], env=variables, check=True)
    return python


def compare(ids: list[int], bucket: Bucket) -> tuple[int, int]:
    """Rows that are lost, and rows that are too many."""
    wanted = {number for numbers in bucket.ids.values() for number in numbers}
    found = set(ids)
    return len(wanted - found), len(ids) - len(found & wanted)


def _whole(command: list[str], variables: Mapping[str, str]) -> Run:
    """Run a command, and take all that it costs."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    return Run(
        process.returncode, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
    )


def _peer_variables(python: Path) -> dict[str, str]:
    home = python.parents[1]
    return {
        "HOME": str(home),  # where DuckDB installs extensions
        "PYTHONPATH": str(PROJECT),
        "DAGSTER_HOME": "",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }


def _landed() -> list[int]:
    with open_lake(Settings.from_env(), read_only=True) as lake:
        return [
            number for (number,) in lake.rows("SELECT id FROM lakehouse.staging.stg_shop__orders")
        ]


def _ids(home: str, table: str) -> list[int] | None:
    """Ids in a table; `None` if it cannot be read, as when an object of it was replaced."""
    with _attached(Path(home)) as con:
        try:
            return [number for (number,) in con.execute(f"SELECT id FROM {table}").fetchall()]
        except duckdb.Error:
            return None


@contextmanager
def _attached(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        load_extensions(con, "sqlite")
        host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
        con.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID {literal(os.environ['AWS_ACCESS_KEY_ID'])}, "
            f"SECRET {literal(os.environ['AWS_SECRET_ACCESS_KEY'])}, ENDPOINT {literal(host)}, "
            "USE_SSL false, URL_STYLE 'path')"
        )
        con.execute(f"ATTACH {literal(f'ducklake:sqlite:{home}/catalog.sqlite')} AS lake")
        yield con
