"""Which file of a batch cannot be read, and why.

What DuckDB calls an "IO Error" may be the file, the store or the network, and what it calls
something else may be the same. So a batch that fails is divided until a file stands alone, whatever
the error is, and then the store is asked about that object. Only if the store gives no other object
either does an error of HTTP end the batch: nothing is quarantined because a store or a network is
down. The error of a single object may look the same: that of a footer that points beyond the end of
its object, or of an object that comes so slowly that it never ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

import duckdb

from lotus_lake.bucket.objects import look_at, s3_client
from lotus_lake.error_translation import is_gone, one_line, raise_if_exhausted, raise_if_no_room
from lotus_lake.errors import CatalogUnavailableError, SettingsError, StorageUnavailableError
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.queue import PendingFile

_BUSY = (429, 503)

Found = TypeVar("Found")


def isolate(
    lake: Lake,
    files: Sequence[PendingFile],
    read: Callable[[Sequence[PendingFile]], list[Found]],
) -> tuple[list[Found], list[Outcome]]:
    """Read all at once; when that fails, divide until the files that cannot be read stand alone.

    Raises:
        StorageUnavailableError: The store does not answer, or lets nobody read at all.
        ResourcesExhaustedError: A disk is full.
    """
    found, bad = _divide(lake, files, files, read)
    refused = [outcome for outcome in bad if outcome.is_refused]
    if refused and not found and not _gives_whole(lake, _landed_last(lake)):
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


def _divide(
    lake: Lake,
    files: Sequence[PendingFile],
    batch: Sequence[PendingFile],
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
        suspects, others = _suspects(error, files)
        if _is_of_the_store(error, files) and not _store_gives(lake, error, suspects, batch):
            raise _storage_error(one_line(error)) from error
        if len(files) == 1:
            return _judge(lake, files[0], batch, read, error)
    found, bad = _divide(lake, others, batch, read)
    more, more_bad = _divide(lake, suspects, batch, read)
    return found + more, bad + more_bad


def _suspects(
    error: duckdb.Error, files: Sequence[PendingFile]
) -> tuple[Sequence[PendingFile], Sequence[PendingFile]]:
    """The files that an error names, or else one half of them; and the others."""
    said = str(error)
    named = {file.key for file in files if file.key in said or quote(file.key) in said}
    if 0 < len(named) < len(files):
        return (
            [file for file in files if file.key in named],
            [file for file in files if file.key not in named],
        )
    middle = (len(files) + 1) // 2
    return files[:middle], files[middle:]


def _is_of_the_store(error: duckdb.Error, files: Sequence[PendingFile]) -> bool:
    """Whether an error of HTTP may concern more than one object."""
    if isinstance(error, duckdb.HTTPException):
        # No answer at all has no status.
        return "NoSuchBucket" in str(error) or not 400 <= getattr(error, "status_code", 0) < 500
    said = str(error)
    for file in files:  # a key may be called HTTP, too
        said = said.replace(file.key, "")
    return isinstance(error, duckdb.IOException) and "HTTP" in said


def _store_gives(
    lake: Lake,
    error: duckdb.Error,
    suspects: Sequence[PendingFile],
    batch: Sequence[PendingFile],
) -> bool:
    """Whether the store gives an object; if there are others, not one of the suspects.

    One that asks for patience is not asked more.
    """
    if getattr(error, "status_code", 0) in _BUSY:
        return False
    suspected = {file.key for file in suspects}
    others = [file.key for file in batch if file.key not in suspected]
    # Two, because each may take a minute: one of the batch, and one that could be read before.
    one = others[0] if others else suspects[0].key
    another = _landed_last(lake) or (others[-1] if others else None)
    return any(_gives_whole(lake, key) for key in dict.fromkeys((one, another)))


def _gives_whole(lake: Lake, key: str | None) -> bool:
    """Whether the store gives all of an object, to us and to DuckDB."""
    if key is None:
        return False
    settings = lake.settings
    try:
        lake.rows("SELECT size FROM read_blob(?)", [settings.uri(key)])
        client = s3_client(settings.s3, attempts=1)
        return look_at(client, settings.bucket, key, whole=True).refusal is None
    except (duckdb.Error, SettingsError, StorageUnavailableError):
        return False


def _judge(
    lake: Lake,
    file: PendingFile,
    batch: Sequence[PendingFile],
    read: Callable[[Sequence[PendingFile]], list[Found]],
    error: duckdb.Error,
) -> tuple[list[Found], list[Outcome]]:
    """Why a file that stands alone cannot be read."""
    settings = lake.settings
    try:
        seen = look_at(s3_client(settings.s3, attempts=2), settings.bucket, file.key)
    except (SettingsError, StorageUnavailableError) as unanswered:
        said = str(unanswered).partition("\nhint: ")[0]
        if not _store_gives(lake, error, [file], batch):
            raise _storage_error(f"{one_line(error)}; {said}") from unanswered
        return [], [Outcome(file, "quarantined", note=said, is_refused=True)]
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
        is_refused = False
        if _is_of_the_store(again, [file]):
            if not _store_gives(lake, again, [file], batch):
                raise _storage_error(one_line(again)) from again
            # Without a status the file may lie about itself; then all of it can be had.
            is_refused = bool(getattr(again, "status_code", 0)) or not _gives_whole(lake, file.key)
        note = _reason(lake, again)
        return [], [Outcome(file, "quarantined", note=note, is_refused=is_refused)]


def _landed_last(lake: Lake) -> str | None:
    """Key of the object that landed last: if it can be read, then the credentials are right."""
    key: str | None = lake.value(
        f"SELECT arg_max(key, recorded_at) FROM {META}.file_events WHERE event = 'registered'"
    )
    return key


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
