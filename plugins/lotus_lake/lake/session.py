"""An open lake: queries, snapshots, and transactions that are tried again."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import duckdb

from lotus_lake.config.settings import Settings
from lotus_lake.errors import CommitConflictError
from lotus_lake.lake.write_lock import write_lock

LAKE = "lakehouse"
META = f"{LAKE}.meta"
STAGING = f"{LAKE}.staging"
# DuckLake's own tables: only this package reads and writes them.
METADATA = f"__ducklake_metadata_{LAKE}"
COMMIT_ATTEMPTS = 12

_CONFLICT_TEXTS = (
    "transaction conflict",
    "database is locked",
    "maximum retry count",
    "could not serialize access",
)


# Called for each commit that another writer got in the way of, before it is tried again.
conflict_listeners: list[Callable[[], None]] = []

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Lake:
    """An open lake. Use `open_lake`; one process, one thread."""

    con: duckdb.DuckDBPyConnection
    settings: Settings

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        return self.con.execute(sql, parameters).fetchall()

    def tables(self, schema: str) -> set[str]:
        """Names of the committed tables of a schema of the lake.

        Asks DuckLake's metadata: DuckDB would load every table to list them, 20 s for thousands.
        """
        return self._names("table", schema)

    def views(self, schema: str) -> set[str]:
        """Names of the committed views of a schema of the lake."""
        return self._names("view", schema)

    def _names(self, kind: Literal["table", "view"], schema: str) -> set[str]:
        return {
            name
            for (name,) in self.rows(
                f"""
                SELECT {kind}_name FROM {METADATA}.ducklake_{kind} AS named
                JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
                WHERE named.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
                AND schema_name = ?
                """,
                [schema],
            )
        }

    def metadata_rows(self, sql: str) -> list[Any]:
        """All rows of a query that the catalog's database runs itself, where the rows are."""
        return self.rows(f"SELECT * FROM {self.settings.catalog.kind}_query(?, ?)", [METADATA, sql])

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """First column of the first row; `None` when there is no row."""
        row = self.con.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def current_snapshot(self) -> int:
        """Id of the newest snapshot."""
        return int(self.value(f"SELECT id FROM {LAKE}.current_snapshot()"))

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[int]:
        """Read as of one snapshot, whose id is given, until the block ends.

        DuckLake's own tables may be ahead of it: they are read later, in a transaction of theirs.
        """
        self.con.execute("BEGIN TRANSACTION")
        try:
            yield self.current_snapshot()
        finally:
            with contextlib.suppress(duckdb.Error):  # what failed before says more
                self.con.execute("ROLLBACK")

    @contextlib.contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Let DuckDB use so many threads until the block ends, however it ends."""
        before = self.value("SELECT current_setting('threads')")
        self.con.execute(f"SET threads = {count}")
        try:
            yield
        finally:
            with contextlib.suppress(duckdb.Error):  # what failed before says more
                self.con.execute(f"SET threads = {before}")

    def commit(self, message: str, unit: Callable[[], Result]) -> Result:
        """Run `unit` in one transaction, that is, one DuckLake snapshot.

        The whole unit runs again, after a random pause, when another writer got in the way.

        Args:
            message: Commit message, shown by `lakehouse.snapshots()`.
            unit: Reads and writes through this lake; must not swallow a DuckDB error, because
                COMMIT of an aborted transaction answers OK and does nothing.

        Raises:
            CommitConflictError: Other writers won every time.
        """
        return self._retried(message, partial(self._snapshot, message, unit))

    def commit_metadata(
        self, message: str, statements: Sequence[tuple[str, Sequence[object]]]
    ) -> None:
        """Run statements on DuckLake's own tables in one transaction; it makes no snapshot.

        Args:
            message: What is done, for errors.
            statements: SQL and its parameters.

        Raises:
            CommitConflictError: Other writers won every time.
        """

        def unit() -> None:
            with self._transaction():
                for statement, parameters in statements:
                    self.con.execute(statement, parameters)

        self._retried(message, unit)

    def _snapshot(self, message: str, unit: Callable[[], Result]) -> Result:
        with self._transaction():
            result = unit()
            self.con.execute(f"CALL {LAKE}.set_commit_message(?, ?)", ["lotus-lake", message])
        return result

    def _retried(self, message: str, transaction: Callable[[], Result]) -> Result:
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                return transaction()
            except duckdb.Error as error:
                if not is_conflict(error):
                    raise
                log.info(
                    "commit %r conflicted with another writer, attempt %d: %s",
                    message,
                    attempt + 1,
                    error,
                )
                for listener in conflict_listeners:
                    listener()
                time.sleep(random.uniform(0.05, 0.2) * min(attempt + 1, 5))  # noqa: S311
        raise CommitConflictError(
            f"{message}: lost against other writers {COMMIT_ATTEMPTS} times",
            hint="run it again; if it persists, look for another process that writes to this "
            "stream",
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with write_lock(self.settings):
            self.con.execute("BEGIN TRANSACTION")
            try:
                yield
                # DuckLake writes its tables in many small statements: threads only add to each.
                with self.threads(1):
                    self.con.execute("COMMIT")
            except BaseException:
                # After a failed COMMIT there is no transaction left to roll back.
                with contextlib.suppress(duckdb.Error):
                    self.con.execute("ROLLBACK")
                raise


def is_conflict(error: Exception | str) -> bool:
    """Whether an error of DuckDB, or its text, says that another writer got in the way."""
    text = str(error).lower()
    return any(part in text for part in _CONFLICT_TEXTS)
