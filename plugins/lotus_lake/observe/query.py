"""`lotus-lake query`: reading is always allowed (`lake/read_only.py`), writing only on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb

from lotus_lake.errors import PermanentError
from lotus_lake.lake.read_only import confine, query_of
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.write_lock import write_lock

# DuckDB's words for a file that a confined session may not open.
_FORBIDDEN_FILE = "file system operations are disabled by configuration"


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of the last statement.

    Attributes:
        columns: Their names.
        rows: The rows.
        is_cut: Whether there are more than were asked for.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    is_cut: bool = False


def run_query(
    lake: Lake, sql: str, *, limit: int = 0, write: bool = False, external_access: bool = False
) -> Answer:
    """Run statements; names without a catalog are those of the lake.

    Args:
        lake: Open lake, for this call alone; read-only, unless `write`.
        sql: One or more statements; the last one's rows are returned.
        limit: Greatest number of rows; 0 returns all.
        write: Let statements write, one writer at a time, and reach whatever they name.
        external_access: Let queries read files that are not the lake's.

    Raises:
        PermanentError: A statement writes and must not, or is wrong.
        KeyboardInterrupt: Somebody pressed Ctrl-C.
    """
    try:
        statements = lake.con.extract_statements(sql)
        if not statements:
            raise PermanentError("there is no statement to run", hint='lotus-lake query "SELECT 1"')
        lake.con.execute(f"USE {LAKE}")
        if write:
            with write_lock(lake.settings):
                return _interruptible(lake, partial(_answer, lake, statements, limit))
        queries = [_query_of(lake, statement) for statement in statements]
        if not external_access:
            confine(lake.con, lake.settings)
        return _interruptible(lake, partial(_answer, lake, queries, limit))
    except duckdb.PermissionException as error:
        if _FORBIDDEN_FILE not in str(error):
            raise PermanentError(f"the statement failed: {error}") from error
        raise PermanentError(
            f"this is not a file of the lake: {error}",
            hint="--external-access lets a query read other files, buckets and hosts",
        ) from error
    except duckdb.Error as error:
        raise PermanentError(f"the statement failed: {error}") from error


def _interruptible(lake: Lake, run: Callable[[], Answer]) -> Answer:
    """Run in a thread of its own: DuckDB misses a Ctrl-C while the main thread works for it."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(run)
        try:
            return answer.result()
        except KeyboardInterrupt:
            lake.con.interrupt()
            raise


def _answer(lake: Lake, statements: Iterable[duckdb.Statement | str], limit: int) -> Answer:
    for statement in statements:
        lake.con.execute(statement)
    if lake.con.description is None:
        return Answer((), [])
    columns = tuple(str(column[0]) for column in lake.con.description)
    if not limit:
        return Answer(columns, lake.con.fetchall())
    rows = lake.con.fetchmany(limit + 1)
    return Answer(columns, rows[:limit], is_cut=len(rows) > limit)


def _query_of(lake: Lake, statement: duckdb.Statement) -> str:
    try:
        return query_of(lake.con, statement)
    except ValueError as error:
        hint = (
            "--write allows it; do not change by hand what the feeder keeps in `staging` and `meta`"
        )
        if not statement.query.strip():  # PIVOT ... ON column, which DuckDB takes apart
            hint = "name the values: PIVOT ... ON status IN ('paid', 'open') USING count(*)"
        raise PermanentError(
            f"the lake is open for reading, so only queries can run, and {error}: "
            f"{statement.query.strip() or 'PIVOT'}",
            hint=hint,
        ) from error
