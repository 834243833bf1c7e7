"""100,000 files wait in the bucket, and nothing has ever landed.

One Airflow run is done task by task, each task in a process of its own, as Airflow does it: `list`,
`batch`, and `register` for each batch. After each, another process asks what can be queried. The
original reads the sizes of all files before it registers the first one; what that takes is computed
from a part of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import original
from benchmarks.lakes import (
    environment,
    keys_of_days,
    objects_of_days,
    prepare,
    stream,
    write_file,
    write_stream,
)
from benchmarks.measuring import Measurement, measured
from benchmarks.results import Plot, Report
from benchmarks.store import BUCKET, run_store
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.feeder.batch import Batch, plan_batches
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import STAGING
from lotus_lake.ledger.queue import backlog

TITLE = "Backlog"
ROWS_PER_FILE = 200
_FILES_PER_DAY = 1000
_SAMPLE = 200
_MEMORY_MB = 512
_XCOM_BYTES = 48 * 1024


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    count, batches = (2_000, 2) if quick else (100_000, 20)
    file = write_file(folder / "file.parquet", ROWS_PER_FILE)
    plot = Plot("backlog_memory", "Highest memory of each task", "task", "MB", logarithmic="")
    peaks, xcoms = [], []

    with run_store(partial(objects_of_days, count, _FILES_PER_DAY, str(file))) as store:
        variables = environment(folder, store, write_stream(folder, max_batches=batches))
        measured(prepare, environment=variables)

        def note(task: str, done: Measurement[str]) -> None:
            rows, waiting = measured(queryable, environment=variables).result
            peaks.append(done.peak_mb)
            xcoms.append(len(done.result.encode()))
            report.point(plot, "Lotus Lake", len(peaks), done.peak_mb)
            report.row(
                "One run over a backlog",
                task=task,
                seconds=done.seconds,
                CPU_seconds=done.cpu_seconds,
                memory_MB=done.peak_mb,
                XCom_bytes=xcoms[-1],
                rows_queryable_after=rows,
                files_that_wait_after=waiting,
            )

        note("list", measured(list_task, environment=variables))
        planned = measured(batch_task, environment=variables)
        note("batch", planned)
        registered = 0
        first_rows = 0
        for number, batch in enumerate(json.loads(planned.result), start=1):
            note(f"register {number}", measured(register_task, batch, environment=variables))
            registered += batch["file_count"]
            rows, waiting = measured(queryable, environment=variables).result
            first_rows = first_rows or rows
            assert rows == registered * ROWS_PER_FILE
            assert waiting == count - registered
        fresh = environment(folder, store, write_stream(folder))
        measured(prepare, environment=fresh)
        sample = keys_of_days(_SAMPLE, _FILES_PER_DAY)
        done = measured(read_sizes_of, sample, environment=fresh)
    report.target(
        "first rows can be queried after the first batch",
        f"{first_rows:,} rows while {count - first_rows // ROWS_PER_FILE:,} files wait",
        first_rows > 0,
    )
    report.target(
        "progress is kept per batch", f"after each of {batches} batches all its rows are there",
        True,
    )  # fmt: skip
    report.target(
        f"highest memory below {_MEMORY_MB} MB", f"{max(peaks):.0f} MB", max(peaks) < _MEMORY_MB
    )
    report.target("XCom below 48 KB a task", f"{max(xcoms):,} bytes", max(xcoms) < _XCOM_BYTES)
    report.remark(
        f"The original would have read metadata for {done.seconds / _SAMPLE * count / 60:.0f} "
        f"minutes ({_SAMPLE} files took {done.seconds:.1f} s) before its first commit."
    )


def list_task() -> str:
    """Task `list`; returns its XCom."""
    settings = Settings.from_env()
    with open_lake(settings) as lake:
        return json.dumps(asdict(list_files(lake, stream(), s3_client(settings.s3), "run")))


def batch_task() -> str:
    """Task `batch`; returns its XCom."""
    with open_lake(Settings.from_env()) as lake:
        return json.dumps([asdict(batch) for batch in plan_batches(lake, stream())])


def register_task(batch: dict[str, int]) -> str:
    """Task `register` of one batch; returns its XCom."""
    with open_lake(Settings.from_env()) as lake:
        return json.dumps(asdict(register_batch(lake, stream(), Batch(**batch), "run")))


def queryable() -> tuple[int, int]:
    """Rows of the landing table, and files that wait."""
    config = stream()
    with open_lake(Settings.from_env(), read_only=True) as lake:
        rows = lake.value(f"SELECT count(*) FROM {STAGING}.{config.landing_table}")
        return rows, backlog(lake, config)[0]


def read_sizes_of(keys: list[str]) -> None:
    """The original's way to the sizes of some files."""
    with open_lake(Settings.from_env()) as lake:
        original.sizes(lake, [f"s3://{BUCKET}/{key}" for key in keys])
