"""Races: processes that feed at once, on one stream or each on its own.

They meet when all of them have seen the same files waiting: inside their transactions on Postgres,
just before on SQLite, whose one-writer lock lets no two of them in.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.footers import FOOTER_THREADS
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META
from tests import children
from tests.chaos.actors import CONFLICT_LOG
from tests.chaos.checks import Findings
from tests.feeds import Feed, write_stream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Small batches: many commits to meet in.
_OPTIONS = {"batch_files": 2, "max_batches": 100}


@dataclass(frozen=True, slots=True)
class Race:
    """How a race ended.

    Attributes:
        streams: How many streams the processes fed.
        processes: How many there were.
        failed: How many of them did not end well.
        files: Files that arrived.
        rows: Rows in them.
        commits: Snapshots of the lake.
        conflicts: Commits that met another writer and were tried again.
        losses: Files and rows that are not where they should be.
        doubles: Files and rows that are there more than once.
        seconds: From the first start to the last end.
    """

    streams: int
    processes: int
    failed: int
    files: int
    rows: int
    commits: int
    conflicts: int
    losses: int
    doubles: int
    seconds: float


def race(
    settings: Settings, client: S3Client, folder: Path, *, streams: int, processes: int, files: int
) -> Race:
    """Let processes feed the same streams, as many files each; they start on an empty catalog."""
    names = [f"stream_{number}" for number in range(streams)]
    feeds = [
        Feed(settings, write_stream(settings.streams_dir, name, options=_OPTIONS), client)
        for name in names
    ]
    for feed in feeds:
        for number in range(files):
            feed.put(f"part_{number}.parquet", rows=number % 5 + 1)
    barrier, started = children.context.Barrier(processes), time.monotonic()
    logs = [folder / f"racer-{number}.log" for number in range(processes)]
    codes = children.finish(
        *(
            children.start(
                _run, settings, feeds[number % streams].stream, f"racer-{number}", barrier, log
            )
            for number, log in enumerate(logs)
        )
    )
    seconds = time.monotonic() - started
    findings, rows = Findings(), 0
    with open_lake(settings) as lake:
        commits = int(lake.value(f"SELECT id FROM {LAKE}.current_snapshot()"))
        for feed in feeds:
            expected = feed.rows_of(feed.sent)
            rows += expected.total()
            findings.compare("rows", feed.landed(lake).elements(), expected.elements())
            events = lake.rows(
                f"SELECT key FROM {META}.file_events WHERE stream = ? AND event <> 'discovered'",
                [feed.stream.name],
            )
            findings.compare("files", [key for (key,) in events], feed.sent)
    text = "".join(log.read_text() for log in logs)
    if any(codes):
        sys.stderr.write(text)
    return Race(
        streams, processes, sum(code != 0 for code in codes), files * streams, rows, commits,
        text.count(CONFLICT_LOG), findings.losses, findings.doubles, seconds,
    )  # fmt: skip


def _run(settings: Settings, stream: Stream, run_id: str, barrier: Barrier, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, force=True)
    footers = f"SET threads = {FOOTER_THREADS}"
    start = {"postgres": "CALL ducklake_add_data_files", "sqlite": footers}
    hook = children.MeetBefore(barrier, start[settings.catalog.kind])
    children.feed(settings, stream, run_id, hook)
