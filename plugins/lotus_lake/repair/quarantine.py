"""Quarantined files: list them, queue them again, or drop them.

Objects that the store refused are retried without a person: `ledger/events.py`, `unknown_objects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import s3_client, still_there
from lotus_lake.config.streams import Stream
from lotus_lake.errors import PermanentError
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import ACCEPTED, FileEvent, files_with
from lotus_lake.ledger.guard import Guard
from lotus_lake.ledger.schema import was_fed
from lotus_lake.repair.requeue import requeue


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file in quarantine."""

    source: str
    stream: str
    key: str
    size_bytes: int
    quarantined_at: datetime
    error: str


def list_quarantined(lake: Lake, source: str | None, stream: str | None) -> list[Quarantined]:
    """Files in quarantine, of one source or stream or of all, oldest first."""
    if not was_fed(lake):
        return []
    rows = lake.rows(
        f"""
        SELECT source, stream, key, size_bytes, updated_at, error FROM {META}.feeder_files
        WHERE event = 'quarantined'
        AND (?::VARCHAR IS NULL OR source = ?) AND (?::VARCHAR IS NULL OR stream = ?)
        ORDER BY updated_at, key
        """,
        [source, source, stream, stream],
    )
    return [Quarantined(*row) for row in rows]


def quarantined_in(lake: Lake, stream: Stream, run_id: str, *, limit: int) -> list[Quarantined]:
    """Files that a run has quarantined and that are still there, up to a limit."""
    rows = lake.rows(
        f"""
        SELECT source, stream, key, size_bytes, updated_at, error FROM {META}.feeder_files
        WHERE source = ? AND stream = ? AND event = 'quarantined' AND dag_run_id = ?
        ORDER BY key LIMIT ?
        """,
        [stream.source, stream.name, run_id, limit],
    )
    return [Quarantined(*row) for row in rows]


def retry(
    lake: Lake, stream: Stream, keys: Sequence[str], run_id: str, *, accept: bool = False
) -> int:
    """Put quarantined files back into the queue; the next run tries them again.

    Args:
        lake: Open lake.
        stream: The stream.
        keys: Which; all of the stream when empty.
        run_id: Who does it, for the ledger.
        accept: Let them add columns to the landing table, whatever `on_schema_change` says.

    Returns:
        How many. Keys that cannot be registered at all are left out, unless they are named, and so
        are versions of an object that are not there any more.

    Raises:
        PermanentError: A named key is not in quarantine, cannot ever be registered, or has lost
            the object that is in quarantine.
        StorageUnavailableError: The bucket could not be listed; nothing was done.
    """
    files = _quarantined(lake, stream, keys)
    layout = layout_of(lake.settings, stream)
    problems = {file.key: layout.problem(file.key) for file in files}
    usable = still_there(
        s3_client(lake.settings.s3),
        lake.settings.bucket,
        [file for file in files if problems[file.key] is None],
    )
    for key in keys:
        if problem := problems[key]:
            raise PermanentError(
                f"{key} can never land: {problem}",
                hint="write the object under another key, then `lotus-lake quarantine drop` this",
            )
        if key not in {file.key for file in usable}:
            raise PermanentError(
                f"{key} is not, or no longer, the object that is in quarantine",
                hint="the next run lands the present object; `lotus-lake quarantine drop` the "
                "other",
            )
    # The path format may be another one than when they were listed.
    dated = [
        replace(file, partition_date=layout.day(file.key, file.last_modified)) for file in usable
    ]
    return requeue(lake, stream, dated, run_id, ACCEPTED if accept else None)


def drop(lake: Lake, stream: Stream, keys: Sequence[str], run_id: str) -> int:
    """Decide that quarantined files do not land; their objects stay where they are.

    Args:
        lake: Open lake.
        stream: The stream.
        keys: Which.
        run_id: Who does it, for the ledger.

    Raises:
        PermanentError: A key is not in quarantine.
    """

    def decide(_: Guard) -> Change:
        files = _quarantined(lake, stream, keys)
        return Change([replace(f, event="ignored", remark="dropped by a person") for f in files])

    _quarantined(lake, stream, keys)
    return len(commit(lake, stream, f"drop {len(keys)} quarantined files", run_id, decide))


def _quarantined(lake: Lake, stream: Stream, keys: Sequence[str]) -> list[FileEvent]:
    if not was_fed(lake, stream):
        raise PermanentError(f"{stream.id} was never fed: nothing is in quarantine")
    found = files_with(lake, stream, ("quarantined",))
    if unknown := set(keys) - {file.key for file in found}:
        raise PermanentError(
            f"not in the quarantine of {stream.id}: {', '.join(sorted(unknown))}",
            hint=f"lotus-lake quarantine list {stream.source} {stream.name}",
        )
    return [file for file in found if not keys or file.key in set(keys)]
