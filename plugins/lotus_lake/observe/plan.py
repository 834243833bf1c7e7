"""What the next run of a stream would do. Lists the bucket, reads the ledger, writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import Layout, layout_of, natural_order
from lotus_lake.bucket.objects import RawObject, list_objects
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.list import CHUNK_OBJECTS, first_event, listing_start
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.events import FileEvent, known_versions, unknown_objects
from lotus_lake.ledger.queue import PendingFile, pending_files
from lotus_lake.ledger.schema import was_fed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class DayPlan:
    """New files of a day."""

    day: date
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """One commit."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RefusedPlan:
    """A new object that would not be fed, and why."""

    key: str
    event: str
    error: str


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the next run of a stream would do.

    Attributes:
        stream: `source/stream`.
        start_after: Exclusive lower bound of the listing; `None` lists the whole prefix.
        listed: Objects in that window.
        others: Those of them that the stream does not own: their keys are not of its path format.
        new_files: Those the ledger does not know and that can be fed.
        new_bytes: Their bytes.
        waiting_files: Files that earlier runs left in the queue.
        waiting_bytes: Their bytes.
        days: The new files by the day in their key.
        batches: The commits of the run. What files are like inside is not looked at: a file may
            turn out to be empty, or be quarantined.
        left_files: Files that the run would leave to the one after it.
        refused: New objects that would be quarantined or ignored.
        has_more: Whether there are more objects, or files in the queue, than were looked at.
    """

    stream: str
    start_after: str | None
    listed: int
    others: int
    new_files: int
    new_bytes: int
    waiting_files: int
    waiting_bytes: int
    days: tuple[DayPlan, ...]
    batches: tuple[BatchPlan, ...]
    left_files: int
    refused: tuple[RefusedPlan, ...]
    has_more: bool = False


def plan_run(
    lake: Lake,
    stream: Stream,
    client: S3Client,
    *,
    whole: bool = False,
    limit: int | None = None,
) -> RunPlan:
    """Say what the next run would do.

    Args:
        lake: Open lake; read-only will do.
        stream: The stream.
        client: S3 client.
        whole: Look at the whole prefix, as reconciling does, instead of the run's window.
        limit: Look at so many objects and files of the queue, and no more.

    Raises:
        StorageUnavailableError: The listing failed.
    """
    layout = layout_of(lake.settings, stream)
    start_after = None if whole else listing_start(lake, stream)
    listed, others, new, refused = 0, 0, list[RawObject](), list[RefusedPlan]()
    objects = iter(list_objects(client, lake.settings.bucket, layout.prefix, start_after))
    looked_at = islice(objects, limit)
    while chunk := list(islice(looked_at, CHUNK_OBJECTS)):
        listed += len(chunk)
        own = list(layout.own(chunk))
        others += len(chunk) - len(own)
        for item, first in _judge(lake, stream, layout, own):
            if first.event == "discovered":
                new.append(item)
            else:
                reason = first.error or first.remark or ""
                refused.append(RefusedPlan(item.key, first.event, reason))
    has_more = limit is not None and next(objects, None) is not None
    waiting = pending_files(lake, stream, limit=limit) if was_fed(lake, stream) else []
    has_more |= len(waiting) == limit
    replaced = {item.key for item in new}
    waiting = [file for file in waiting if file.key not in replaced]
    queue = [*waiting, *_pending(layout, new, first=len(waiting))]
    batches = tuple(
        BatchPlan(len(group), sum(file.size_bytes for file in group))
        for group in strategy_of(stream).cut(queue)
    )
    return RunPlan(
        stream=f"{stream.source}/{stream.name}",
        start_after=start_after,
        listed=listed,
        others=others,
        new_files=len(new),
        new_bytes=sum(item.size_bytes for item in new),
        waiting_files=len(waiting),
        waiting_bytes=sum(file.size_bytes for file in waiting),
        days=_days(layout, new),
        batches=batches,
        left_files=len(queue) - sum(batch.files for batch in batches),
        refused=tuple(refused),
        has_more=has_more,
    )


def _judge(
    lake: Lake, stream: Stream, layout: Layout, objects: list[RawObject]
) -> Iterator[tuple[RawObject, FileEvent]]:
    """The unknown objects, each with what it would become."""
    strategy, fed = strategy_of(stream), was_fed(lake)
    unknown = unknown_objects(lake, stream, objects) if fed else objects
    known: dict[str, list[FileEvent]] = {}
    if fed and unknown:
        known = known_versions(lake, stream, [item.key for item in unknown])
    for item in unknown:
        others = [v for v in known.get(item.key, []) if v.identity != item.identity]
        yield item, first_event(strategy, layout, item, others)


def _pending(layout: Layout, new: list[RawObject], first: int) -> list[PendingFile]:
    """New objects, as files of the queue."""
    return [
        PendingFile(
            position=position,
            key=item.key,
            etag=item.etag,
            size_bytes=item.size_bytes,
            last_modified=item.last_modified,
            partition_date=layout.day(item.key, item.last_modified) or datetime.now(UTC).date(),
            generation_id=None,
            snapshot_id=0,
        )
        for position, item in enumerate(
            sorted(new, key=lambda item: natural_order(item.key)), start=first + 1
        )
    ]


def _days(layout: Layout, new: list[RawObject]) -> tuple[DayPlan, ...]:
    files, size_bytes = Counter[date](), Counter[date]()
    for item in new:
        if day := layout.day(item.key, item.last_modified):
            files[day] += 1
            size_bytes[day] += item.size_bytes
    return tuple(DayPlan(day, files[day], size_bytes[day]) for day in sorted(files))
