"""Waiting files are cut into batches bounded in files and bytes: that needs each file's size.

Lotus Lake takes sizes from the listing that found the files. The original reads the metadata of
each file. The naive way has no batches.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks import original
from benchmarks.lakes import (
    LAST_DAY,
    PREFIX,
    environment,
    objects_of_days,
    prepare,
    stream,
    write_file,
    write_stream,
)
from benchmarks.measuring import measured
from benchmarks.results import Report
from benchmarks.store import run_store
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import list_files
from lotus_lake.lake.connection import open_lake

TITLE = "Batching"
_FILES_PER_DAY = 300


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    file = write_file(folder / "file.parquet")
    streams = write_stream(folder)
    per_file: dict[str, float] = {}
    for count in (50,) if quick else (1000, 5000):
        with run_store(partial(objects_of_days, count, _FILES_PER_DAY, str(file))) as store:
            variables = environment(folder, store, streams)
            measured(prepare, environment=variables)
            listed = measured(list_all, environment=variables)
            store.take_counts()
            for how, function in (("Lotus Lake", plan_all), ("original", read_sizes)):
                done = measured(function, environment=variables)
                requests = store.take_counts()
                extra = requests.total - requests.listings
                report.row(
                    "Sizes and batches of files that were found",
                    files=count,
                    how=how,
                    batches=done.result,
                    requests_for_sizes=extra,
                    seconds=done.seconds,
                    CPU_seconds=done.cpu_seconds,
                )
                per_file[how] = extra / count
            assert listed.result == count
    report.target(
        "0 requests per file",
        f"{per_file['Lotus Lake']:g}, original {per_file['original']:g}",
        per_file["Lotus Lake"] == 0,
    )


def list_all() -> int:
    """Put all files into the queue; returns how many."""
    settings = Settings.from_env()
    with open_lake(settings) as lake:
        return list_files(lake, stream(), s3_client(settings.s3), "benchmark").discovered


def plan_all() -> int:
    """Plan the batches of a run; returns how many."""
    with open_lake(Settings.from_env()) as lake:
        return len(plan_batches(lake, stream()))


def read_sizes() -> int:
    """The original's way to sizes; it has one batch."""
    with open_lake(Settings.from_env()) as lake:
        uris = original.discover(lake, PREFIX, None, LAST_DAY)
        assert sum(original.sizes(lake, uris).values()) > 0
    return 1
