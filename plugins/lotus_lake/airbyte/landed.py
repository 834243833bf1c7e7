"""Did everything that an Airbyte job wrote reach the lake?

Each landed row carries the id of the job that wrote it (`_airbyte_meta.sync_id`), and Airbyte tells
how many records of each stream the destination has confirmed. Airbyte delivers at least once: a
failed attempt leaves rows that are sent again, so more rows than confirmed records are as it
should be, and fewer are a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Literal

from lotus_lake.airbyte.answers import Job
from lotus_lake.bucket.keys import window_start
from lotus_lake.bucket.objects import list_objects
from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, STAGING, Lake
from lotus_lake.ledger.events import unknown_objects
from lotus_lake.sql import identifier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

State = Literal["landed", "waiting", "quarantined", "missing", "unproven"]

_CHUNK = 10_000
# The clocks of Airbyte and of the object store differ a little; its days are UTC days.
_SLACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """What became of the files of one stream of a job.

    Attributes:
        stream: Id of the stream, such as `shopify__orders`.
        committed: Records that Airbyte says were written; `None` when it does not say.
        landed: Rows of the job in the landing table.
        waiting: Files since the job's start that are not registered yet.
        quarantined: Files since the job's start that could not be registered.
        retired: Rows of that time that were retired again, so that they cannot be counted.
    """

    stream: str
    committed: int | None
    landed: int
    waiting: int
    quarantined: int
    retired: int

    @property
    def state(self) -> State:
        """What this means.

        `landed`: everything is in the lake. `waiting`: files wait for the feeder. `quarantined`:
        files could not be registered. `missing`: all files were fed, and rows are missing.
        `unproven`: Airbyte gives no number, or the rows were retired already.
        """
        if self.quarantined:
            return "quarantined"
        if self.waiting:
            return "waiting"
        if self.committed is None:
            return "unproven"
        if self.landed >= self.committed:
            return "landed"
        return "unproven" if self.retired else "missing"


def check_stream(
    lake: Lake, client: S3Client, stream: Stream, job: Job, committed: int | None
) -> StreamCheck:
    """Compare what a job has written of a stream with what landed.

    Args:
        lake: Open lake; reading is enough.
        client: S3 client.
        stream: The stream.
        job: A job that is over.
        committed: What the job says it wrote of the stream.

    Raises:
        StorageUnavailableError: The bucket could not be listed.
    """
    unknown, fed = _unknown_files(lake, client, stream, job), _fed_files(lake, stream, job)
    return StreamCheck(
        stream=stream.id,
        committed=committed,
        landed=_landed_rows(lake, stream, job),
        waiting=unknown + fed[0],
        quarantined=fed[1],
        retired=fed[2],
    )


def committed_records(job: Job, name: str) -> int | None:
    """Records of a stream that a job has written, by the source's name for the stream."""
    return None if job.committed is None else job.committed.get(name, 0)


def holdings(lake: Lake, stream: Stream) -> tuple[int, int]:
    """Files and rows of a stream in its landing table, by the ledger."""
    if "file_events" not in lake.tables("meta"):
        return 0, 0
    files, rows = lake.rows(
        f"SELECT count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.feeder_files "
        "WHERE source = ? AND stream = ? AND event IN ('registered', 'copied')",
        [stream.source, stream.name],
    )[0]
    return files, rows


def _unknown_files(lake: Lake, client: S3Client, stream: Stream, job: Job) -> int:
    """Objects that appeared since the job's start and are not in the ledger."""
    prefix = stream.prefix(lake.settings.raw_prefix)
    start = window_start(prefix, job.created_at.date(), lookback_days=1)
    objects = (
        item
        for item in list_objects(client, lake.settings.bucket, prefix, start)
        if item.last_modified >= job.created_at - _SLACK
    )
    known = "file_events" in lake.tables("meta")
    count = 0
    while chunk := list(islice(objects, _CHUNK)):
        count += len(unknown_objects(lake, stream, chunk) if known else chunk)
    return count


def _fed_files(lake: Lake, stream: Stream, job: Job) -> tuple[int, int, int]:
    """Files since the job's start that wait, that are quarantined; rows that were retired."""
    if "file_events" not in lake.tables("meta"):
        return 0, 0, 0
    waiting, quarantined, retired = lake.rows(
        "SELECT count(*) FILTER (event = 'discovered'), count(*) FILTER (event = 'quarantined'), "
        "coalesce(sum(row_count) FILTER (event = 'retired'), 0)::BIGINT "
        f"FROM {META}.feeder_files WHERE source = ? AND stream = ? AND last_modified >= ?",
        [stream.source, stream.name, job.created_at - _SLACK],
    )[0]
    return waiting, quarantined, retired


def _landed_rows(lake: Lake, stream: Stream, job: Job) -> int:
    if stream.landing_table not in lake.tables("staging"):
        return 0
    first_day = job.created_at.date() - timedelta(days=1)
    # The Hive columns are constants of each file: older files are not opened.
    return int(
        lake.value(
            f"SELECT count(*) FROM {STAGING}.{identifier(stream.landing_table)} "
            "WHERE _airbyte_meta.sync_id = ? AND year >= ? "
            "AND make_date(year::INTEGER, month::INTEGER, day::INTEGER) >= ?",
            [job.job_id, first_day.year, first_day],
        )
    )
