"""The one way into the ledger: a transaction that reads the guard, decides, and moves it on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.errors import CommitConflictError
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import FileEvent, append
from lotus_lake.ledger.guard import Cursor, Guard, read_guard, update_guard
from lotus_lake.ledger.queue import first_pending


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction adds to the ledger.

    Attributes:
        events: Events to append.
        cursor: Where the cursor moves; it stays when `None`.
    """

    events: Sequence[FileEvent] = ()
    cursor: Cursor | None = None


def commit(
    lake: Lake,
    stream: Stream,
    message: str,
    run_id: str,
    decide: Callable[[Guard], Change | None],
) -> Sequence[FileEvent]:
    """Decide on a change of the ledger, and make it, in one DuckLake commit.

    Args:
        lake: Open lake.
        stream: The stream.
        message: What is done, for the commit message.
        run_id: Id of the Dag run, or of the command.
        decide: Reads, writes to tables of the lake what belongs to the change, and returns it;
            `None` when there is nothing to do. It is called again, with the guard as it is then,
            when another writer gets in the way.

    Returns:
        The events that were appended.

    Raises:
        CommitConflictError: Other writers won every time, or the guard row has gone.
    """
    expected = -1

    def unit() -> Sequence[FileEvent]:
        nonlocal expected
        guard = read_guard(lake, stream)
        change = decide(guard)
        expected = guard.version + (change is not None)
        if change is None:
            return ()
        record(lake, stream, guard, change, run_id)
        return change.events

    events = lake.commit(f"{stream.id}: {message}, run {run_id}", unit)
    # COMMIT of an aborted transaction answers OK and does nothing.
    if (version := read_guard(lake, stream).version) < expected:
        raise CommitConflictError(
            f"{stream.id}: the guard is at {version} after the commit of {expected}"
        )
    return events


def record(lake: Lake, stream: Stream, guard: Guard, change: Change, run_id: str) -> None:
    """Append a change and move the guard on, in the transaction in which the guard was read.

    Raises:
        CommitConflictError: The guard row is another one; nothing may be committed without it.
    """
    version = guard.version + 1
    queued = sum(event.position is not None for event in change.events)
    waiting = guard.first_pending
    if queued:
        waiting = first_pending(lake, stream, after=waiting or 0, otherwise=guard.file_count + 1)
    if change.events:
        append(lake, stream, change.events, version=version, run_id=run_id)
    if change.cursor is not None:
        lake.con.execute(
            f"INSERT INTO {META}.cursor_events VALUES (?, ?, ?, ?, now(), ?)",
            [stream.source, stream.name, change.cursor.path, version, run_id],
        )
    moved = Guard(version, guard.file_count + queued, change.cursor or guard.cursor, waiting)
    if not update_guard(lake, stream, guard, moved):
        raise CommitConflictError(f"{stream.id}: the guard row moved or vanished")
