"""Did everything that an Airbyte job wrote reach the lake?

Each landed row carries the id of the job that wrote it (`_airbyte_meta.sync_id`), and Airbyte says
how many records of each stream the destination has confirmed. Airbyte delivers at least once: a
failed attempt leaves rows that are sent again. More rows than confirmed records are therefore
normal, and fewer are a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from lotus_lake.airbyte.answers import Job
from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import list_stream
from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, STAGING, Lake
from lotus_lake.ledger.events import LANDED_SQL, unknown_objects
from lotus_lake.ledger.schema import was_fed
from lotus_lake.sql import identifier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

State = Literal["landed", "waiting", "quarantined", "missing", "unproven"]

_CHUNK = 10_000
# The clocks of Airbyte and of the object store may differ a little; Airbyte's days are UTC days.
_SLACK = timedelta(hours=1)
_EVER = datetime.fromtimestamp(0, UTC)


class Holdings(NamedTuple):
    """What the ledger knows of a stream's files."""

    landed_files: int = 0
    landed_rows: int = 0
    waiting_files: int = 0
    quarantined_files: int = 0
    retired_rows: int = 0


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """What became of the files of one stream of a job.

    Attributes:
        stream: Id of the stream, such as `shopify__orders`.
        committed: Records that Airbyte says were written; `None` when it does not say.
        landed: Rows of the job in the landing table.
        waiting: Files since the job's start that are not registered yet.
        quarantined: Files since the job's start that could not be registered.
        retired: Rows of that time that were retired again, so they cannot be counted.
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
    lake: Lake, client: S3Client, stream: Stream, job: Job, source_name: str
) -> StreamCheck:
    """Compare what a job has written of a stream with what landed.

    Args:
        lake: Open lake; read-only is enough.
        client: S3 client.
        stream: The stream.
        job: A job that is over.
        source_name: The source's own name of the stream.

    Raises:
        StorageUnavailableError: The bucket could not be listed.
    """
    since = job.created_at - _SLACK
    unknown, known = _unknown_files(lake, client, stream, since), holdings(lake, stream, since)
    return StreamCheck(
        stream=stream.id,
        committed=None if job.committed is None else job.committed.get(source_name, 0),
        landed=_landed_rows(lake, stream, job),
        waiting=unknown + known.waiting_files,
        quarantined=known.quarantined_files,
        retired=known.retired_rows,
    )


def holdings(lake: Lake, stream: Stream, since: datetime = _EVER) -> Holdings:
    """What the ledger knows of the objects written since a moment, or ever."""
    if not was_fed(lake, stream):
        return Holdings()
    [row] = lake.rows(
        f"""
        SELECT count(*) FILTER (event IN {LANDED_SQL}),
               coalesce(sum(row_count) FILTER (event IN {LANDED_SQL}), 0)::BIGINT,
               count(*) FILTER (event = 'discovered'),
               count(*) FILTER (event = 'quarantined'),
               coalesce(sum(row_count) FILTER (event = 'retired'), 0)::BIGINT
        FROM {META}.feeder_files
        WHERE source = ? AND stream = ? AND last_modified >= ?
        """,
        [stream.source, stream.name, since],
    )
    return Holdings(*row)


def _unknown_files(lake: Lake, client: S3Client, stream: Stream, since: datetime) -> int:
    """Objects that were written since a moment and are not in the ledger."""
    layout = layout_of(lake.settings, stream)
    start = layout.window_start(since.date(), lookback_days=1)
    objects = list_stream(client, lake.settings.bucket, layout, start)
    new = (item for item in objects if item.last_modified >= since)
    fed = was_fed(lake, stream)
    count = 0
    while chunk := list(islice(new, _CHUNK)):
        count += len(unknown_objects(lake, stream, chunk) if fed else chunk)
    return count


def _landed_rows(lake: Lake, stream: Stream, job: Job) -> int:
    if stream.landing_table not in lake.tables("staging"):
        return 0
    first_day, recent = job.created_at.date() - timedelta(days=1), ""
    if layout_of(lake.settings, stream).has_hive_days:
        # These columns are constants of each file: older files are not opened.
        recent = f"""
            AND year >= {first_day.year}
            AND make_date(year::INTEGER, month::INTEGER, day::INTEGER) >= DATE '{first_day}'
        """
    rows = lake.value(
        f"""
        SELECT count(*) FROM {STAGING}.{identifier(stream.landing_table)}
        WHERE _airbyte_meta.sync_id = ? {recent}
        """,
        [job.job_id],
    )
    return int(rows)
