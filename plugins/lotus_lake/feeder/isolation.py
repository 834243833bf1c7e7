"""Which file of a batch cannot be read, and why.

What DuckDB calls an "IO Error" may be the file, the store or the network, and what it calls
something else may be the same. So its classes decide nothing here: a batch that fails for whatever
reason is halved until a file stands alone, and then the store is asked about that object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import duckdb

from lotus_lake.bucket.objects import look_at, s3_client
from lotus_lake.errors import StorageUnavailableError
from lotus_lake.failures import one_line, raise_if_no_room
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.queue import PendingFile

Found = TypeVar("Found")


def isolate(
    lake: Lake,
    files: Sequence[PendingFile],
    read: Callable[[Sequence[PendingFile]], list[Found]],
) -> tuple[list[Found], list[Outcome]]:
    """Read all at once; when that fails, halve until the files that cannot be read stand alone.

    Raises:
        StorageUnavailableError: The store does not answer, or lets nobody read at all.
        ResourcesExhaustedError: A disk is full.
    """
    found, bad = _halve(lake, files, read)
    if (
        bad
        and not found
        and all(outcome.is_unreadable for outcome in bad)
        and not _others_are_readable(lake)
    ):
        raise StorageUnavailableError(
            f"none of {len(bad)} raw files can be read, such as {bad[0].file.key}: {bad[0].note}",
            hint="check the credentials and s3:GetObject on the raw prefix",
        )
    return found, bad


def _halve(
    lake: Lake,
    files: Sequence[PendingFile],
    read: Callable[[Sequence[PendingFile]], list[Found]],
) -> tuple[list[Found], list[Outcome]]:
    if not files:
        return [], []
    try:
        return read(files), []
    except duckdb.Error as error:
        raise_if_no_room(error)
        if len(files) == 1:
            return _read_alone(lake, files[0], read)
    middle = len(files) // 2
    left, left_bad = _halve(lake, files[:middle], read)
    right, right_bad = _halve(lake, files[middle:], read)
    return left + right, left_bad + right_bad


def _read_alone(
    lake: Lake,
    file: PendingFile,
    read: Callable[[Sequence[PendingFile]], list[Found]],
) -> tuple[list[Found], list[Outcome]]:
    """Judge a file that could not be read; a store that answers may have failed a moment ago."""
    if outcome := _changed_or_refused(lake, file):
        return [], [outcome]
    try:
        return read([file]), []
    except duckdb.Error as again:
        raise_if_no_room(again)
        return [], [Outcome(file, "quarantined", note=_reason(lake, again))]


def _changed_or_refused(lake: Lake, file: PendingFile) -> Outcome | None:
    """What the store says of an object that could not be read; `None` when it is as it was listed.

    Raises:
        StorageUnavailableError: The store does not answer.
    """
    settings = lake.settings
    seen = look_at(s3_client(settings.s3), settings.bucket, file.key)
    if seen.refusal is not None:
        return Outcome(file, "quarantined", note=seen.refusal, is_unreadable=True)
    if (seen.etag, seen.size_bytes) != (file.etag, file.size_bytes):
        return Outcome(file, "replaced", note="the object has changed since it was listed")
    return None


def _others_are_readable(lake: Lake) -> bool:
    """Whether the object that landed last can still be read: then nothing ails the credentials."""
    settings = lake.settings
    key = lake.value(
        f"SELECT arg_max(key, recorded_at) FROM {META}.file_events WHERE event = 'registered'"
    )
    return key is not None and (
        look_at(s3_client(settings.s3), settings.bucket, key).refusal is None
    )


def _reason(lake: Lake, error: duckdb.Error) -> str:
    if isinstance(error, duckdb.OutOfMemoryException):
        limit = lake.settings.memory_limit
        return f"reading it needs more memory than LAKE_MEMORY_LIMIT={limit}: {one_line(error)}"
    return one_line(error)
