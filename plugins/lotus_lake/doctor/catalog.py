"""Checks of the database that holds DuckLake's metadata."""

from __future__ import annotations

import fcntl
import re
import time
from pathlib import Path

from lotus_lake.config.settings import Settings
from lotus_lake.doctor.findings import Result, ok, problem, skipped
from lotus_lake.lake.connection import open_to_read
from lotus_lake.lake.database import ask_postgres
from lotus_lake.lake.session import Lake
from lotus_lake.lake.write_lock import LOCK_TIMEOUT_SECONDS

# Byte 18 of a SQLite file: the version it is written with.
_HEADER_BYTES, _WAL = 20, 2
_ENGLISH = re.compile(r"(C|POSIX|en|English)([._@-].*)?", re.IGNORECASE)


def sqlite_journal_is_wal(settings: Settings) -> Result:
    """The SQLite catalog keeps a write-ahead log: with another journal readers break writers."""
    if settings.catalog.kind != "sqlite":
        return skipped("the catalog is in Postgres")
    path = Path(settings.catalog.address)
    if not path.exists():
        return skipped(f"{path} does not exist yet")
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return skipped(f"{path} is still empty")
    if header[18] != _WAL:
        return problem(
            f"{path} is not in WAL mode: an open reader makes a commit fail, and the lake cannot "
            "be opened read-only",
            hint='lotus-lake query --write "SELECT 1" switches it back',
        )
    return ok("it is in WAL mode")


def nobody_sits_on_the_write_lock(settings: Settings) -> Result:
    """The one-writer lock of a SQLite catalog is free, or held by a process at work."""
    path = Path(f"{settings.catalog.address}.lock")
    if settings.catalog.kind != "sqlite" or not path.exists():
        return skipped("there is no lock")
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ok("the lock is free")
        except BlockingIOError:
            holder = file.read().strip() or "an unknown process"
    seconds = time.time() - path.stat().st_mtime
    pid = re.match(r"process (\d+):", holder)
    if pid and not Path("/proc", pid[1]).exists():
        return problem(
            f"the write lock was taken by {holder}, which is gone: one of its child processes "
            "still holds it",
            hint=f"`fuser {path}` names the process; end it",
        )
    if seconds > LOCK_TIMEOUT_SECONDS:
        return problem(
            f"the write lock is held for {seconds / 60:.0f} minutes by {holder}",
            hint="end that process if it hangs; use a Postgres catalog for several writers",
        )
    return ok(f"held for {seconds:.0f} s by {holder}")


def catalog_opens(settings: Settings) -> Result:
    """The catalog is there, of this DuckLake, and of this data path."""
    with open_to_read(settings) as lake:
        tables = len(lake.tables("staging"))
    return ok(f"{settings.catalog.kind}, {tables} landing tables")


def postgres_speaks_english(lake: Lake) -> Result:
    """DuckLake knows a conflict by Postgres's English texts."""
    if lake.settings.catalog.kind != "postgres":
        return skipped("the catalog is in SQLite")
    (language,) = ask_postgres(lake, "SELECT current_setting('lc_messages') AS lc_messages")
    if not is_english(str(language)):
        return problem(
            f"lc_messages is {language}: DuckLake does not recognise conflicts, and does not "
            "retry them",
            hint="ALTER ROLE ... SET lc_messages = 'C' for the user of LAKE_CATALOG",
        )
    return ok(f"lc_messages is {language or 'the default'}")


def is_english(language: str) -> bool:
    """Whether a value of `lc_messages` gives English texts."""
    return not language or _ENGLISH.fullmatch(language) is not None


CHECKS = (sqlite_journal_is_wal, nobody_sits_on_the_write_lock)
OPEN = (catalog_opens,)
POSTGRES = (postgres_speaks_english,)
