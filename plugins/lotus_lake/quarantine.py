"""Files that could not land: what there is, try again, or decide that they do not land."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lotus_lake import ledger
from lotus_lake.catalog import META, Lake
from lotus_lake.errors import PermanentError
from lotus_lake.keys import key_problem
from lotus_lake.ledger import FileEvent
from lotus_lake.reconciling import requeue
from lotus_lake.streams import Stream


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
    if "file_events" not in lake.tables("meta"):
        return []
    rows = lake.rows(
        "SELECT source, stream, key, size_bytes, updated_at, error "
        f"FROM {META}.feeder_files WHERE event = 'quarantined' "
        "AND (?::VARCHAR IS NULL OR source = ?) AND (?::VARCHAR IS NULL OR stream = ?) "
        "ORDER BY updated_at, key",
        [source, source, stream, stream],
    )
    return [Quarantined(*row) for row in rows]


def retry(lake: Lake, stream: Stream, keys: Sequence[str], run_id: str) -> int:
    """Put quarantined files back into the queue; the next run looks at them again.

    Args:
        lake: Open lake.
        stream: The stream.
        keys: Which; all of the stream when empty.
        run_id: Who does it, for the ledger.

    Returns:
        How many. Keys that cannot be registered at all are left out, unless they are named.

    Raises:
        PermanentError: A named key is not in quarantine, or cannot ever be registered.
    """
    files = _quarantined(lake, stream, keys)
    prefix = stream.prefix(lake.settings.raw_prefix)
    problems = {file.key: key_problem(prefix, file.key) for file in files}
    usable = [file for file in files if problems[file.key] is None]
    if keys and len(usable) < len(files):
        key, problem = next((key, text) for key, text in problems.items() if text)
        raise PermanentError(
            f"{key} can never land: {problem}",
            hint="write the object under another key, then `lotus-lake quarantine drop` this one",
        )
    return requeue(lake, stream, usable, run_id)


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
    files = _quarantined(lake, stream, keys)

    def unit() -> None:
        guard = ledger.read_guard(lake, stream)
        events = [replace(file, event="ignored", error="dropped by a person") for file in files]
        ledger.record(lake, stream, guard, events, run_id=run_id)

    lake.commit(f"{stream.id}: drop {len(files)} quarantined files, run {run_id}", unit)
    return len(files)


def _quarantined(lake: Lake, stream: Stream, keys: Sequence[str]) -> list[FileEvent]:
    if not ledger.is_initialised(lake, stream):
        raise PermanentError(f"{stream.id} was never fed: nothing is in quarantine")
    found = ledger.files_with(lake, stream, ("quarantined",))
    if unknown := set(keys) - {file.key for file in found}:
        raise PermanentError(
            f"not in quarantine of {stream.id}: {', '.join(sorted(unknown))}",
            hint=f"lotus-lake quarantine list {stream.source} {stream.name}",
        )
    return [file for file in found if not keys or file.key in set(keys)]
