"""Errors of DuckDB, the store and the system, turned into errors of the library.

Any other error is a mistake in the code, and is raised as it is.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb

from lotus_lake.config.settings import Settings
from lotus_lake.errors import (
    CatalogUnavailableError,
    LotusLakeError,
    ResourcesExhaustedError,
    SettingsError,
    StorageUnavailableError,
)

TLS_HINT = (
    "name the file of the certificate authority in AWS_CA_BUNDLE, or as `verify` in the extra of "
    "aws_default"
)
_ERROR_CHARS = 600
# DuckDB's advice for those who write its SQL themselves.
_ADVICE = re.compile(
    r"\s*(Possible solutions:|Authentication Failure - |You can override |\* Set \w+ => ).*"
)
# Formats of a catalog: which it has, and which is needed.
_FORMATS = re.compile(r"catalog version is (\d+)\.(\d+).* requires version (\d+)\.(\d+)")
_NO_SNAPSHOT = re.compile(r"No snapshot found at version (\d+)")
_CONNECTING = re.compile(r".*Unable to connect to Postgres at \"[^\"]*\": ")
# A SQLite in WAL mode cannot even be read without room for its shared index; it says "disk I/O".
_ROOM_BYTES = 1_000_000
# libpq's words for a server that went away, and Postgres's for one that is going or coming.
_GONE_TEXTS = (
    "server closed the connection",
    "terminating connection",
    "connection refused",
    "connection reset",
    "connection not open",
    "no connection to the server",
    "the database system is",
    "could not receive data from server",
    "could not send data to server",
    "lost synchronization with server",
    "ssl syscall error",
    # All that is said when the server goes away inside a COMMIT, or while rows are fetched; the
    # second one is Postgres's, and not DuckDB's about a transaction of its own.
    'failed to execute query "rollback"',
    "current transaction is aborted, commands ignored",
    # A query of DuckLake's own, in whose transaction an earlier one met the server going away.
    "attempting to fetch from an unsuccessful query result",
)
# Errors of the SQL and of the values; what names an object of the store may be the store's.
_SAME_AGAIN = re.compile(
    r"\b(Binder|Catalog|Constraint|Conversion|Invalid Input|Mismatch Type|Not implemented|"
    r"Out of Range|Parser|Syntax) Error: "
)
_NOT_FOR_OTHERS = 0o770
# What httpfs says when an object is shorter than it was, or another one than it was a moment ago.
_OTHER_BYTES = ("mismatches requested range", "HTTP 416", "ETag")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRONG_FOLDER = (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError)


def one_line(error: Exception) -> str:
    """An error in one line of bounded length; Postgres gives its reason after the statement."""
    said = _ADVICE.sub("", " ".join(str(error).split()))
    if len(said) <= _ERROR_CHARS:
        return said
    half = _ERROR_CHARS // 2
    return f"{said[: half - 5]} ... {said[-half:]}"


def is_gone(error: Exception | str) -> bool:
    """Whether an error of DuckDB, or its text, says that the catalog's server went away."""
    said = str(error).lower()
    return any(part in said for part in _GONE_TEXTS)


def fails_again(said: str) -> bool:
    """Whether a text reports an error of DuckDB that the same SQL on the same rows meets again."""
    return bool(_SAME_AGAIN.search(said)) and not is_gone(said) and "s3://" not in said


def is_disk_full(error: Exception) -> bool:
    """Whether an error says that a disk has no room left."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return True
    message = str(error).lower()
    return "no space left" in message or "disk is full" in message or "disk full" in message


def raise_if_no_room(error: duckdb.Error) -> None:
    """Raise when a disk is full: memory may have run out because of a single file.

    Raises:
        ResourcesExhaustedError: Names the disk, and what to do.
    """
    if not isinstance(error, duckdb.OutOfMemoryException) or "failed to offload" in str(error):
        raise_if_exhausted(error)


def raise_if_exhausted(error: duckdb.Error, settings: Settings | None = None) -> None:
    """Raise when memory or disk ran out.

    Args:
        error: What DuckDB says.
        settings: Of the lake, when the error may come from its catalog.

    Raises:
        ResourcesExhaustedError: Says which, and what to do.
    """
    if isinstance(error, duckdb.OutOfMemoryException):
        # It has no class of its own for a folder that has no room for what memory has not.
        if "failed to offload" in str(error):
            raise ResourcesExhaustedError(
                f"the folder of temporary files is full: {one_line(error)}",
                hint="free space below LAKE_TEMP_DIR, or raise LAKE_MEMORY_LIMIT",
            ) from error
        raise ResourcesExhaustedError(
            f"out of memory: {one_line(error)}",
            hint="raise LAKE_MEMORY_LIMIT, or lower batch_files and batch_bytes of the stream",
        ) from error
    if settings and settings.catalog.kind == "sqlite" and _is_catalog_full(settings, str(error)):
        folder = Path(settings.catalog.address).parent
        raise _disk_full(f"{folder} has no room for the catalog: {one_line(error)}") from error
    if is_disk_full(error):
        raise _disk_full(one_line(error)) from error


def make_folder(folder: Path, variable: str) -> None:
    """Create the folder of a variable; other users of the machine cannot read it.

    Raises:
        SettingsError: The folder cannot be created.
        ResourcesExhaustedError: The disk is full.
        CatalogUnavailableError: The disk failed.
    """
    try:
        folder.mkdir(mode=_NOT_FOR_OTHERS, parents=True, exist_ok=True)
    except OSError as error:
        raise folder_error(folder, variable, error) from error


def folder_error(folder: Path, variable: str, error: OSError) -> LotusLakeError:
    """What a folder that cannot be written to is reported as."""
    if is_disk_full(error):
        return _disk_full(f"{variable}: {folder}: {error.strerror}")
    said = f"{variable}: the folder {folder} cannot be written to: {error.strerror}"
    if isinstance(error, _WRONG_FOLDER):
        return SettingsError(said, hint=f"set {variable} to a place where this user may write")
    return CatalogUnavailableError(said, hint="check the disk")


@contextlib.contextmanager
def translated(settings: Settings, *, opening: bool = False) -> Iterator[None]:
    """Raise what DuckDB says of a lake as one of the library's errors.

    Errors that say nothing of catalog, store, memory or disk are mistakes in the code, and pass.

    Args:
        settings: Of the lake.
        opening: Any error means that the lake cannot be opened.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached, or failed.
        StorageUnavailableError: The data files cannot be read or written.
        ResourcesExhaustedError: Memory or disk ran out.
    """
    try:
        yield
    except duckdb.Error as error:
        meant = _opening_error(settings, error) if opening else _error_of(settings, error)
        if meant is None:
            raise
        raise meant from error


def _opening_error(settings: Settings, error: duckdb.Error) -> LotusLakeError:
    said, catalog = str(error), settings.catalog
    name = f"{catalog.kind}:{catalog.address}"
    if exhausted := _exhausted(settings, error):
        return exhausted
    if "DATA_PATH parameter" in said:
        return SettingsError(
            f"the catalog {name} has another data path than "
            f"LAKE_DATA_PATH={settings.data_path!r}: {one_line(error)}",
            hint="set LAKE_DATA_PATH to the path named above, or use another catalog",
        )
    if found := _NO_SNAPSHOT.search(said):
        return SettingsError(
            f"there is no snapshot {found[1]}",
            hint='lotus-lake query "SELECT snapshot_id, snapshot_time FROM snapshots()"',
        )
    if "catalog version mismatch" in said:
        return SettingsError(
            f"the catalog {name} needs another DuckLake than that of "
            f"DuckDB {duckdb.__version__}{_migrated(said)}: {one_line(error)}",
            hint="install the requirements that the catalog was created with, or try the migration "
            "on a branch: lotus-lake upgrade --rehearse, see docs/deployment.md",
        )
    if catalog.kind == "sqlite" and not Path(catalog.address).exists():
        return CatalogUnavailableError(
            f"there is no catalog {name}",
            hint="the first run of a stream creates it; if it existed before, check LAKE_CATALOG",
        )
    reason = _CONNECTING.sub("", one_line(error))
    return CatalogUnavailableError(
        f"opening the catalog {name} failed: {reason}", hint=_opening_hint(settings)
    )


def _error_of(settings: Settings, error: duckdb.Error) -> LotusLakeError | None:
    """An error in the use of an open lake; `None` for a mistake in the code."""
    if exhausted := _exhausted(settings, error):
        return exhausted
    said = str(error)
    if "SSL peer certificate" in said:
        return StorageUnavailableError(
            f"the certificate of the store is not trusted: {one_line(error)}", hint=TLS_HINT
        )
    is_http = isinstance(error, duckdb.HTTPException)
    if (settings.raw_uri in said and not is_http) or any(text in said for text in _OTHER_BYTES):
        return StorageUnavailableError(
            f"an object does not hold what has landed from it, or is damaged: {one_line(error)}",
            hint="if it was replaced, the next run of its stream takes its old rows out, as does "
            "`lotus-lake reconcile SOURCE STREAM`; on_overwrite decides about the new ones",
        )
    if is_http or "for HTTP" in said:
        own = settings.data_path.startswith("s3://") and settings.data_path in said
        return StorageUnavailableError(
            f"reading or writing the lake's data files failed: {one_line(error)}",
            hint="check LAKE_DATA_PATH, its bucket, and the right to write there"
            if own
            else "check the endpoint and the credentials; when an object is gone or was replaced, "
            "`lotus-lake reconcile SOURCE STREAM --repair` takes its rows out",
        )
    failed_commit = isinstance(error, duckdb.TransactionException) and "Failed to commit" in said
    # What comes from SQLite has no class of its own.
    unnamed = isinstance(error, duckdb.IOException) or type(error) is duckdb.Error
    if unnamed or failed_commit or is_gone(error):
        catalog = settings.catalog
        return CatalogUnavailableError(
            f"the catalog {catalog.kind}:{catalog.address} failed: "
            f"{_CONNECTING.sub('', one_line(error))}",
            hint="nothing is half done: run it again once the catalog answers",
        )
    return None


def _opening_hint(settings: Settings) -> str:
    if settings.catalog.kind == "postgres":
        return (
            "check LAKE_CATALOG or the connection lake_catalog, that the server answers and has "
            "this database and user, and the password (PGPASSWORD, passfile, or in the connection)"
        )
    return "check LAKE_CATALOG, and that file and folder can be read and written"


def _is_catalog_full(settings: Settings, said: str) -> bool:
    if "database or disk is full" in said:
        return True
    folder = Path(settings.catalog.address).parent
    return (
        "disk I/O error" in said
        and folder.is_dir()
        and shutil.disk_usage(folder).free < _ROOM_BYTES
    )


def _exhausted(settings: Settings, error: duckdb.Error) -> ResourcesExhaustedError | None:
    try:
        raise_if_exhausted(error, settings)
    except ResourcesExhaustedError as found:
        return found
    return None


def _disk_full(said: str) -> ResourcesExhaustedError:
    return ResourcesExhaustedError(
        f"the disk is full: {said}",
        hint="free space below LAKE_TEMP_DIR, LAKE_DATA_PATH and the catalog",
    )


def _migrated(said: str) -> str:
    """What it means that a catalog has a later format than this DuckLake gives it."""
    found = _FORMATS.search(said)
    if found is None:
        return ""
    has, needs = tuple(map(int, found.groups()[:2])), tuple(map(int, found.groups()[2:]))
    return ", because another client has migrated it" if has > needs else ""
