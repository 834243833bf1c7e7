"""Go back: look at files again, process them again and, if asked, feed them again.

Nothing is ever doubled by it. Looking again finds the same files in the ledger; processing again
merges the same versions, of which the newest has won already; feeding again registers a file in
the place of its earlier registration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import natural_order
from lotus_lake.bucket.objects import still_there
from lotus_lake.config.streams import Stream
from lotus_lake.errors import PermanentError
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import LANDED, LANDED_SQL, FileEvent, files_with
from lotus_lake.ledger.guard import Cursor, Guard
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import watermark_table, watermarks
from lotus_lake.repair.requeue import requeue

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


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
        files: Landed files from the point on.
        size_bytes: Their bytes.
        rows: Their rows.
        retired: Files from the point on whose rows have left the landing table for good.
        snapshot_id: Every one of the files landed after this snapshot.
        cursor: The cursor afterwards.
        models: Processed models that would read the rows again.
    """

    files: tuple[FileEvent, ...]
    size_bytes: int
    rows: int
    retired: int
    snapshot_id: int
    cursor: Cursor
    models: tuple[str, ...]


def plan_rewind(lake: Lake, stream: Stream, point: Point, consumers: Sequence[str]) -> RewindPlan:
    """Say what going back to a point would do; writes nothing.

    Raises:
        PermanentError: The stream was never fed, or the point names a file that the ledger does
            not know.
    """
    if not was_fed(lake, stream):
        raise PermanentError(f"{stream.id} was never fed: there is nothing to go back to")
    landed = files_with(lake, stream, LANDED)
    retired = files_with(lake, stream, ("retired",))
    snapshots = _landed_in(lake, stream)
    if point.key is not None and point.key not in {f.key for f in [*landed, *retired]}:
        raise PermanentError(
            f"{point.key} has not landed in {stream.id}",
            hint="SELECT key FROM lakehouse.meta.feeder_files WHERE event = 'registered'",
        )
    chosen = [f for f in landed if _is_after(f, point, snapshots)]
    # A generation is one: half of it must never be fed again.
    files = chosen if strategy_of(stream).is_divisible or not chosen else landed
    first = min(map(_order, files), default=())
    last = max((f for f in landed if _order(f) < first), key=_order, default=None)
    return RewindPlan(
        files=tuple(files),
        size_bytes=sum(file.size_bytes for file in files),
        rows=sum(file.row_count or 0 for file in files),
        retired=sum(_is_after(file, point, snapshots) for file in retired),
        snapshot_id=min((snapshots[f.identity] for f in files), default=0) - 1,
        cursor=Cursor(last.key, last.partition_date) if last else Cursor(),
        models=tuple(consumers),
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
        StorageUnavailableError: The bucket could not be listed; nothing was done.
    """
    if not plan.files:
        return 0
    again = still_there(client, lake.settings.bucket, plan.files) if client else []
    if client and not strategy_of(stream).is_divisible and len(again) < len(plan.files):
        raise PermanentError(
            f"{stream.id}: objects of this generation are gone: it cannot be fed again",
            hint="let Airbyte sync the stream again",
        )
    marks = watermarks(lake, plan.models)

    def decide(_: Guard) -> Change:
        for model, mark in marks.items():
            if mark > plan.snapshot_id:
                statement = f"UPDATE {watermark_table(model)} SET snapshot_id_to = ?"
                lake.con.execute(statement, [plan.snapshot_id])
        return Change(cursor=plan.cursor)

    commit(lake, stream, f"rewind {len(plan.files)} files", run_id, decide)
    return requeue(lake, stream, again, run_id)


def _landed_in(lake: Lake, stream: Stream) -> dict[tuple[str, str, int], int]:
    """Snapshot in which each file landed last."""
    return {
        (key, etag, size_bytes): snapshot
        for key, etag, size_bytes, snapshot in lake.rows(
            f"""
            SELECT key, etag, size_bytes, max(snapshot_id) FROM {META}.file_events
            WHERE source = ? AND stream = ? AND event IN {LANDED_SQL}
            GROUP BY key, etag, size_bytes
            """,
            [stream.source, stream.name],
        )
    }


def _is_after(file: FileEvent, point: Point, snapshots: dict[tuple[str, str, int], int]) -> bool:
    if point.snapshot_id is not None:
        return snapshots.get(file.identity, -1) > point.snapshot_id
    if point.day is not None:
        return file.partition_date is not None and file.partition_date >= point.day
    if point.key is not None:
        return natural_order(file.key) >= natural_order(point.key)
    return True


def _order(file: FileEvent) -> tuple[tuple[int, str], ...]:
    """Keys of a stream begin with its prefix and the day."""
    return natural_order(file.key)
