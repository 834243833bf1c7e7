"""Which file of a batch cannot be read, and why.

What DuckDB calls an "IO Error" may be the file, the store or the network, and what it calls
something else may be the same. So a batch that fails is halved until a file stands alone, whatever
the error is, and then the store is asked about that object. Only an error of HTTP that is not about
one object ends the batch: nothing is quarantined because a store or a network is down. A footer
that points beyond the end of its object is an error of HTTP as well: the store itself is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import duckdb

from lotus_lake.bucket.objects import look_at, s3_client
from lotus_lake.errors import CatalogUnavailableError, SettingsError, StorageUnavailableError
from lotus_lake.failures import is_gone, one_line, raise_if_exhausted, raise_if_no_room
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
    refused = [outcome for outcome in bad if outcome.is_refused]
    if refused and not found and not _another_is_readable(lake):
        raise _storage_error(refused[0].note or "")
    return found, bad


def raise_if_catalog_fails(lake: Lake, error: duckdb.Error, doing: str) -> None:
    """Raise when not a file, but the catalog or the machine, is the reason of an error.

    Raises:
        CatalogUnavailableError: The catalog does not answer.
        ResourcesExhaustedError: Memory or disk ran out.
    """
    raise_if_exhausted(error, lake.settings)
    with contextlib.suppress(duckdb.Error):
        if not is_gone(error) and lake.current_snapshot() >= 0:
            return
    raise CatalogUnavailableError(
        f"{doing} failed: {one_line(error)}", hint="nothing is half done: run it again"
    ) from error


def _halve(
    lake: Lake,
    files: Sequence[PendingFile],
    read: Callable[[Sequence[PendingFile]], list[Found]],
) -> tuple[list[Found], list[Outcome]]:
    if not files:
        return [], []
    try:
        return read(files), []
    except duckdb.FatalException:  # DuckDB has given itself up: each next file would seem broken
        raise
    except duckdb.Error as error:
        raise_if_no_room(error)
        if _is_of_the_store(error, files) and not _gives_whole(lake, files[0], error):
            raise _storage_error(one_line(error)) from error
        if len(files) == 1:
            return _judge(lake, files[0], read, error)
    middle = len(files) // 2
    left, left_bad = _halve(lake, files[:middle], read)
    right, right_bad = _halve(lake, files[middle:], read)
    return left + right, left_bad + right_bad


def _is_of_the_store(error: duckdb.Error, files: Sequence[PendingFile]) -> bool:
    """Whether an error of HTTP tells about more than one object."""
    if isinstance(error, duckdb.HTTPException):
        # No answer at all has no status.
        return "NoSuchBucket" in str(error) or not 400 <= getattr(error, "status_code", 0) < 500
    said = str(error)
    for file in files:  # a key may be called HTTP, too
        said = said.replace(file.key, "")
    return isinstance(error, duckdb.IOException) and "HTTP" in said


def _gives_whole(lake: Lake, file: PendingFile, error: duckdb.Error) -> bool:
    """Whether the store, which gave no status to blame, gives DuckDB and us all of an object."""
    if getattr(error, "status_code", 0):
        return False
    settings = lake.settings
    try:
        lake.rows("SELECT size FROM read_blob(?)", [settings.uri(file.key)])
        client = s3_client(settings.s3, attempts=2)
        return look_at(client, settings.bucket, file.key, whole=True).refusal is None
    except (duckdb.Error, SettingsError, StorageUnavailableError):
        return False


def _judge(
    lake: Lake,
    file: PendingFile,
    read: Callable[[Sequence[PendingFile]], list[Found]],
    error: duckdb.Error,
) -> tuple[list[Found], list[Outcome]]:
    """Why a file that stands alone cannot be read."""
    settings = lake.settings
    try:
        seen = look_at(s3_client(settings.s3, attempts=2), settings.bucket, file.key)
    except (SettingsError, StorageUnavailableError) as unanswered:
        said = str(unanswered).partition("\nhint: ")[0]
        raise _storage_error(f"{one_line(error)}; {said}") from unanswered
    if seen.refusal is not None:
        note = f"the store refuses to give it: {one_line(error)}"
        return [], [Outcome(file, "quarantined", note=note, is_refused=True)]
    if (seen.etag, seen.size_bytes) != (file.etag, file.size_bytes):
        return [], [Outcome(file, "replaced", note="the object has changed since it was listed")]
    try:  # a store that answers now may have failed a moment ago
        return read([file]), []
    except duckdb.FatalException:
        raise
    except duckdb.Error as again:
        raise_if_no_room(again)
        if isinstance(again, duckdb.HTTPException) and not _gives_whole(lake, file, again):
            raise _storage_error(one_line(again)) from again
        return [], [Outcome(file, "quarantined", note=_reason(lake, again))]


def _another_is_readable(lake: Lake) -> bool:
    """Whether the object that landed last can be read: then the credentials are right."""
    settings = lake.settings
    key = lake.value(
        f"SELECT arg_max(key, recorded_at) FROM {META}.file_events WHERE event = 'registered'"
    )
    if key is None:
        return False
    return look_at(s3_client(settings.s3, attempts=2), settings.bucket, key).refusal is None


def _reason(lake: Lake, error: duckdb.Error) -> str:
    if isinstance(error, duckdb.OutOfMemoryException):
        limit = lake.settings.memory_limit
        return f"reading it needs more memory than LAKE_MEMORY_LIMIT={limit}: {one_line(error)}"
    return one_line(error)


def _storage_error(said: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"reading raw files, or copying them, failed: {said}",
        hint="check the endpoint, the credentials, s3:GetObject on the raw prefix, and that "
        "LAKE_DATA_PATH can be written to",
    )
