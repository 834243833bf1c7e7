"""SQL of an operator on the lake: reading is always allowed, writing only when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from lotus_lake.errors import PermanentError
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.write_lock import write_lock

# What a read-only catalog does not refuse by itself. CREATE is not among them: PIVOT makes a
# temporary type, and nothing can be created in the lake.
_WRITING = {
    duckdb.StatementType.ATTACH,
    duckdb.StatementType.COPY,
    duckdb.StatementType.COPY_DATABASE,
    duckdb.StatementType.EXPORT,
}
# Table functions that delete objects, even where the catalog is attached read-only.
_DELETING = re.compile(r"cleanup_old_files|delete_orphaned_files|expire_snapshots", re.IGNORECASE)
_READ_ONLY_TEXT = "read-only mode"


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


def run_query(lake: Lake, sql: str, *, limit: int = 0, write: bool = False) -> Answer:
    """Run statements; names without a catalog are those of the lake.

    Args:
        lake: Open lake; read-only, unless `write`.
        sql: One or more statements; the last one's rows are returned.
        limit: Greatest number of rows; 0 returns all.
        write: Let statements write, one writer at a time.

    Raises:
        PermanentError: A statement writes and must not, or is wrong.
    """
    try:
        statements = lake.con.extract_statements(sql)
        if not statements:
            raise PermanentError("there is no statement to run", hint='lotus-lake query "SELECT 1"')
        if not write:
            _refuse_writes(statements)
        lake.con.execute(f"USE {LAKE}")
        if not write:
            return _answer(lake, statements, limit)
        with write_lock(lake.settings):
            return _answer(lake, statements, limit)
    except duckdb.Error as error:
        if _READ_ONLY_TEXT in str(error):
            raise _refused(str(error)) from error
        raise PermanentError(f"the statement failed: {error}") from error


def _answer(lake: Lake, statements: Sequence[duckdb.Statement], limit: int) -> Answer:
    for statement in statements:
        lake.con.execute(statement)
    if lake.con.description is None:
        return Answer((), [])
    columns = tuple(str(column[0]) for column in lake.con.description)
    if not limit:
        return Answer(columns, lake.con.fetchall())
    rows = lake.con.fetchmany(limit + 1)
    return Answer(columns, rows[:limit], is_cut=len(rows) > limit)


def _refuse_writes(statements: Sequence[duckdb.Statement]) -> None:
    for statement in statements:
        if statement.type in _WRITING or _DELETING.search(statement.query):
            raise _refused(statement.query.strip())


def _refused(what: str) -> PermanentError:
    return PermanentError(
        f"this would write, and the lake is open for reading only: {what}",
        hint="--write allows it; what the feeder keeps in `staging` and `meta` is not to be "
        "changed by hand",
    )
