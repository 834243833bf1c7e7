"""Go back: list files again, process them again and, if asked, feed them again.

No row is duplicated. Listing again finds the same files in the ledger; processing again merges the
same versions, of which the newest has won already; feeding again replaces the earlier registration
of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import natural_order
from lotus_lake.bucket.objects import still_there
from lotus_lake.config.streams import Stream
from lotus_lake.errors import PermanentError
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import (
    LANDED,
    LANDED_SQL,
    FileEvent,
    files_with,
    key_ranges,
    known_versions,
)
from lotus_lake.ledger.guard import Cursor, Guard, read_guard
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import watermark_table, watermarks
from lotus_lake.repair.requeue import requeue

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# At once in memory.
_EVENTS_A_PART = 50_000
_Order = tuple[date, tuple[tuple[int, str], ...]]


@dataclass(frozen=True, slots=True)
class Point:
    """Where to go back to; without any of these, to the very start.

    Attributes:
        key: This file and all that follow it, by day and natural order of keys.
        day: All files of this day and later ones.
        snapshot_id: All files that landed after this snapshot of the lake.
    """

    key: str | None = None
    day: date | None = None
    snapshot_id: int | None = None


@dataclass(frozen=True, slots=True)
class RewindPlan:
    """What going back would do.

    Attributes:
        files: How many landed files there are from the point on.
        size_bytes: Their bytes.
        rows: Their rows.
        retired: Files from the point on whose rows have left the landing table for good.
        snapshot_id: Every one of the files landed after this snapshot.
        cursor: The cursor afterwards.
        models: Processed models that would read the rows again.
        point: Where to go back to.
        known_at: Version of the guard: files of which the ledger learns later are left alone.
    """

    files: int
    size_bytes: int
    rows: int
    retired: int
    snapshot_id: int
    cursor: Cursor
    models: tuple[str, ...]
    point: Point
    known_at: int


def plan_rewind(lake: Lake, stream: Stream, point: Point, consumers: Sequence[str]) -> RewindPlan:
    """Say what going back to a point would do; writes nothing.

    Raises:
        PermanentError: The stream was never fed, or the point names a file that the ledger does
            not know.
    """
    if not was_fed(lake, stream):
        raise PermanentError(f"{stream.id} was never fed: there is nothing to go back to")
    known_at, begin = read_guard(lake, stream).version, _begin(lake, stream, point)
    files, size_bytes, rows, retired = 0, 0, 0, 0
    first: _Order | None = None
    snapshot_id: int | None = None
    for file, snapshot in chain.from_iterable(_landed(lake, stream, known_at)):
        if not _is_after(file, point, snapshot, begin):
            continue
        if file.event == "retired":
            retired += 1
            continue
        files, size_bytes, rows = (
            files + 1,
            size_bytes + file.size_bytes,
            rows + (file.row_count or 0),
        )
        first = min(first or _order(file), _order(file))
        snapshot_id = min(snapshot, snapshot if snapshot_id is None else snapshot_id)
    # A generation is one: half of it must never be fed again.
    if files and point != Point() and not strategy_of(stream).is_divisible:
        return plan_rewind(lake, stream, Point(), consumers)
    return RewindPlan(
        files=files,
        size_bytes=size_bytes,
        rows=rows,
        retired=retired,
        snapshot_id=(snapshot_id or 0) - 1,
        cursor=_last_before(lake, stream, first, known_at) if first else Cursor(),
        models=tuple(consumers),
        point=point,
        known_at=known_at,
    )


def rewind(
    lake: Lake, stream: Stream, plan: RewindPlan, run_id: str, client: S3Client | None = None
) -> int:
    """Do what a plan says.

    The cursor and the watermarks of the models move back in one commit. Feeding again puts the
    files back into the queue; the next run registers each in the place of its old registration.

    Args:
        lake: Open lake.
        stream: The stream.
        plan: Made by `plan_rewind`.
        run_id: Who does it, for the ledger.
        client: S3 client; with it, files whose object is still the same are fed again.

    Returns:
        How many files are fed again.

    Raises:
        PermanentError: A generation of an overwrite stream is not whole any more.
        StorageUnavailableError: The bucket could not be listed; the files that were queued before
            land again, and going back once more does the rest.
    """
    if not plan.files:
        return 0
    queued = _feed_again(lake, stream, plan, run_id, client) if client else 0
    marks = watermarks(lake, plan.models)

    def decide(_: Guard) -> Change:
        for model, mark in marks.items():
            if mark > plan.snapshot_id:
                statement = f"UPDATE {watermark_table(model)} SET snapshot_id_to = ?"
                lake.con.execute(statement, [plan.snapshot_id])
        return Change(cursor=plan.cursor)

    commit(lake, stream, f"rewind {plan.files} files", run_id, decide)
    return queued


def _feed_again(lake: Lake, stream: Stream, plan: RewindPlan, run_id: str, client: S3Client) -> int:
    begin = _begin(lake, stream, plan.point)
    chosen = (
        [
            file
            for file, snapshot in part
            if file.event in LANDED and _is_after(file, plan.point, snapshot, begin)
        ]
        for part in _landed(lake, stream, plan.known_at)
    )
    bucket = lake.settings.bucket
    if strategy_of(stream).is_divisible:
        return sum(
            requeue(lake, stream, still_there(client, bucket, files), run_id) for files in chosen
        )
    again = still_there(client, bucket, chain.from_iterable(chosen))
    if len(again) < plan.files:
        raise PermanentError(
            f"{stream.id}: objects of this generation are gone: it cannot be fed again",
            hint="let Airbyte sync the stream again",
        )
    return requeue(lake, stream, again, run_id)


def _last_before(lake: Lake, stream: Stream, first: _Order, known_at: int) -> Cursor:
    """The cursor at the last landed file before a place."""
    found = (
        file
        for file, _ in chain.from_iterable(_landed(lake, stream, known_at))
        if file.event in LANDED and _order(file) < first
    )
    last = max(found, key=_order, default=None)
    return Cursor(last.key, last.partition_date) if last else Cursor()


def _landed(lake: Lake, stream: Stream, known_at: int) -> Iterator[list[tuple[FileEvent, int]]]:
    """Files that have landed, with the snapshot of it, those included that were retired since.

    In parts: a million files at once would take gigabytes.
    """
    after = ""
    for _, last in key_ranges(lake, stream, _EVENTS_A_PART):
        snapshots = _landed_in(lake, stream, after, last)
        files = files_with(lake, stream, (*LANDED, "retired"), (after, last), known_at)
        # What `rebuild` noted as retired has never landed in this catalog.
        yield [(file, snapshots.get(file.identity, -1)) for file in files]
        after = last


def _landed_in(
    lake: Lake, stream: Stream, after: str, last: str
) -> dict[tuple[str, str, int], int]:
    """Snapshot in which each file of a range of keys landed last."""
    return {
        (key, etag, size_bytes): snapshot
        for key, etag, size_bytes, snapshot in lake.rows(
            f"""
            SELECT key, etag, size_bytes, max(snapshot_id) FROM {META}.file_events
            WHERE source = ? AND stream = ? AND event IN {LANDED_SQL} AND key > ? AND key <= ?
            GROUP BY key, etag, size_bytes
            """,
            [stream.source, stream.name, after, last],
        )
    }


def _is_after(file: FileEvent, point: Point, snapshot: int, begin: _Order | None) -> bool:
    if point.snapshot_id is not None:
        return snapshot > point.snapshot_id
    if point.day is not None:
        return file.partition_date is not None and file.partition_date >= point.day
    if begin is not None:
        return _order(file) >= begin
    return True


def _order(file: FileEvent) -> _Order:
    return file.partition_date or date.min, natural_order(file.key)


def _begin(lake: Lake, stream: Stream, point: Point) -> _Order | None:
    """The place of the file that a point names."""
    if point.key is None:
        return None
    versions = known_versions(lake, stream, [point.key]).get(point.key, [])
    landed = [file for file in versions if file.event in (*LANDED, "retired")]
    if not landed:
        raise PermanentError(
            f"{point.key} has not landed in {stream.id}",
            hint="SELECT key FROM lakehouse.meta.feeder_files WHERE event = 'registered'",
        )
    return min(map(_order, landed))
