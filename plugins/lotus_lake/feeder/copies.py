"""Land a file that cannot be registered as it is: a copy of all its rows.

The copy is the lake's own and lies below `LAKE_DATA_PATH`; the object stays where it is until its
day is retired. Values that fit their column without loss are in it. The others are NULL there and
kept in `_lake_rescued`, or keep the file out (`on_type_change`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from duckdb.sqltypes import DuckDBPyType

from lotus_lake.bucket.keys import partition_path
from lotus_lake.config.streams import Stream
from lotus_lake.error_translation import make_folder
from lotus_lake.feeder.columns import Column
from lotus_lake.feeder.footers import Footer
from lotus_lake.feeder.isolation import isolate
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import Lake
from lotus_lake.landing.conversion import RESCUED, RESCUED_TYPE, Conversion, rescued_of
from lotus_lake.landing.evolution import Evolution, evolve
from lotus_lake.landing.tables import table_types
from lotus_lake.landing.types import holds
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.quantities import counted
from lotus_lake.sql import folded, identifier, literal

# DuckDB's own rows of a row group, and those that it works on together.
_ROW_GROUP_ROWS, _VECTOR_ROWS = 122_880, 2_048
# Values of a row group of a wide file: with DuckDB's own rows, 2,000 columns that change their type
# took 4 GB.
_VALUES_AT_ONCE = 100 * _ROW_GROUP_ROWS


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the columns of files become those of the landing table.

    Attributes:
        targets: The columns that the table has, with its types.
        changed: Those of them that need another type or name.
        lost: SQL of what the table cannot take of a column, as entries of `_lake_rescued`.
        reason: Why the files are copied, besides this.
    """

    targets: Mapping[Column, DuckDBPyType]
    changed: Mapping[Column, DuckDBPyType]
    lost: Mapping[Column, str]
    reason: str


@dataclass(frozen=True, slots=True)
class Losses:
    """What a table cannot take of files.

    Attributes:
        rows: Rows with such values.
        by_column: Rows with such values in each column that has some.
    """

    rows: int
    by_column: Mapping[Column, int]


def copy_files(
    lake: Lake,
    stream: Stream,
    footers: Sequence[Footer],
    columns: Sequence[Column],
    table: Mapping[str, DuckDBPyType],
    misfits: Sequence[str],
    reason: str = "",
) -> list[Outcome]:
    """Copy files of one shape, each on its own.

    Args:
        lake: Open lake.
        stream: The stream.
        footers: The files.
        columns: Their columns.
        table: Columns of the landing table; what it has not is left out.
        misfits: Names of the landing table's columns that cannot read the files'.
        reason: Why they are copied, besides these.

    Raises:
        StorageUnavailableError: The object store failed.
    """
    plan = _plan(stream, columns, table, misfits, reason)
    outcomes: list[Outcome] = []
    for footer in footers:
        found, bad = _losses_of(lake, footer, plan)
        if bad:
            outcomes += bad
        elif found[0].rows and stream.feeder.on_type_change == "quarantine":
            outcomes.append(Outcome(footer.file, "quarantined", note=_refusal(plan, found[0])))
        else:
            outcomes.append(_copy(lake, stream, footer, plan, found[0]))
    return outcomes


def _plan(
    stream: Stream,
    columns: Sequence[Column],
    table: Mapping[str, DuckDBPyType],
    misfits: Sequence[str],
    reason: str,
) -> _Plan:
    known = {folded(name): kind for name, kind in table.items()}
    targets = {c: known[folded(c.name)] for c in columns if c.name and folded(c.name) in known}
    changed = {c: kind for c, kind in targets.items() if c.name in misfits or c.is_changed}
    leaves_out = stream.feeder.on_schema_change == "freeze"
    lost = {
        c: sql
        for c, kind in changed.items()
        if (sql := loss(c, kind, leaves_out=leaves_out)) is not None
    }
    lost |= {
        c: Conversion().unplaced(identifier(c.source), c.arriving, c.label)
        for c in columns
        if c.name is None
    }
    return _Plan(targets, changed, lost, reason)


def loss(column: Column, kind: DuckDBPyType, *, leaves_out: bool = False) -> str | None:
    """SQL of what a column loses in a type, as entries of `_lake_rescued`; `None` if nothing."""
    conversion = Conversion(leaves_out, column.made_up)
    return conversion.lost(identifier(column.source), column.arriving, kind, str(column.name))


def _losses_of(lake: Lake, footer: Footer, plan: _Plan) -> tuple[list[Losses], list[Outcome]]:
    rows = footer.rows(lake)
    return isolate(lake, [footer.file], lambda _: [losses(lake, rows, plan.lost)])


def losses(lake: Lake, relation: str, lost: Mapping[Column, str]) -> Losses:
    """Count the rows of a relation of which SQL finds something that a table cannot take."""
    if not lost:
        return Losses(0, {})
    flags = ", ".join(f"len({sql}) > 0" for sql in lost.values())
    # Not a count for each column: DuckDB's time would go with the square of their number.
    rows: dict[int, int] = dict(
        lake.rows(
            f"""
            SELECT number, count(*) FROM (
                SELECT generate_subscripts(flags, 1) AS number, unnest(flags) AS is_lost FROM (
                    SELECT list_prepend(list_contains(flags, true), flags) AS flags FROM (
                        SELECT [{flags}] AS flags FROM {relation}
                    )
                )
            ) WHERE is_lost GROUP BY number
            """
        )
    )
    by_column = {column: rows[n] for n, column in enumerate(lost, start=2) if n in rows}
    return Losses(rows.get(1, 0), by_column)


def copy_uri(lake: Lake, stream: Stream, file: PendingFile) -> str:
    """A new address for a copy: never one that a catalog of the past or another feeder knows."""
    day = partition_path(file.partition_date)
    folder = f"{lake.settings.data_path}copies/{stream.source}/{stream.name}/{day}"
    if not folder.startswith("s3://"):
        make_folder(Path(folder), "LAKE_DATA_PATH")
    return f"{folder}/{uuid4().hex}.parquet"


def _copy(lake: Lake, stream: Stream, footer: Footer, plan: _Plan, found: Losses) -> Outcome:
    """Write a copy of a file, and see that it has all of its rows."""
    file, target = footer.file, copy_uri(lake, stream, footer.file)
    if found.rows and RESCUED not in table_types(lake, stream):  # altered by hand, or by a branch
        evolve(lake, stream, Evolution(added=(((RESCUED,), RESCUED_TYPE),)))
    selected = _selected(plan, with_rescued=bool(found.rows))

    def write(some: Sequence[PendingFile]) -> list[int]:
        (written,) = lake.rows(
            f"COPY (SELECT {selected} FROM {footer.rows(lake)}) "
            f"TO {literal(target)} (FORMAT parquet, ROW_GROUP_SIZE {_row_group_rows(plan)})"
        )
        return [written[0]]

    counts, bad = isolate(lake, [file], write)
    if bad:
        return bad[0]
    if counts[0] != footer.row_count:
        note = f"{counts[0]} rows could be copied, its footer says {footer.row_count}"
        return Outcome(file, "quarantined", note=note)
    return Outcome(
        file,
        "copied",
        footer.row_count,
        _remark(plan, found, footer.row_count),
        target,
        rescued_count=found.rows,
    )


def _row_group_rows(plan: _Plan) -> int:
    """Rows that DuckDB holds in memory before it writes them."""
    rows = _VALUES_AT_ONCE // max(1, len(plan.targets) + len(plan.lost))
    return min(_ROW_GROUP_ROWS, max(_VECTOR_ROWS, rows))


def _selected(plan: _Plan, *, with_rescued: bool) -> str:
    selected = []
    for column, kind in plan.targets.items():
        value = identifier(column.source)
        if column in plan.changed:
            conversion = Conversion(made_up=column.made_up)
            value = conversion.value(value, column.arriving, kind)
        selected.append(f"{value} AS {identifier(str(column.name))}")
    if with_rescued:
        selected.append(f"{rescued_of(list(plan.lost.values()))} AS {RESCUED}")
    return ", ".join(selected)


def _remark(plan: _Plan, found: Losses, row_count: int) -> str | None:
    """Why a file has landed as a copy, and what of it was rescued."""
    said = [plan.reason] if plan.reason else []
    for column, kind in plan.changed.items():
        name = "" if column.name == column.source else f"{column.name} "
        said.append(f"{column.source} {column.arriving} as {name}{kind}")
    if not (said or found.rows):
        return None
    parts = [f"landed as a copy: {', '.join(said)}" if said else "landed as a copy"]
    if found.rows:
        rows = counted(row_count, "row")
        names = ", ".join(f"{c.label or '(no name)'} {n}" for c, n in found.by_column.items())
        parts.append(f"{found.rows} of {rows} with values in {RESCUED}: {names}")
    return "; ".join(parts)


def _refusal(plan: _Plan, found: Losses) -> str:
    """What would be lost if a file landed."""
    parts = []
    for column, count in found.by_column.items():
        kind = plan.targets[column]
        bytes_ = holds(column.arriving, lambda inner: inner.id == "blob")
        parts.append(
            f"column {column.source} is {kind}, arriving as {column.arriving}, and {count} values "
            f"would change{': bytes that are not UTF-8 text' if bytes_ else ''}"
        )
    return f"{'; '.join(parts)}; on_type_change rescue would keep them"
