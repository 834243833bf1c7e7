"""What happens to files of one shape: register, copy or quarantine them.

`on_schema_change` decides about columns that the table lacks, `on_type_change` about values that do
not fit those that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import duckdb

from lotus_lake.config.streams import Stream
from lotus_lake.error_translation import one_line
from lotus_lake.feeder.append import Append
from lotus_lake.feeder.bounds import validate
from lotus_lake.feeder.columns import (
    Column,
    columns_of,
    field_in_folders,
    name_problem,
    unreadable_name,
)
from lotus_lake.feeder.copies import copy_files, loss, losses
from lotus_lake.feeder.footers import Footer
from lotus_lake.feeder.formats import parquet_rows
from lotus_lake.feeder.isolation import isolate, raise_if_catalog_fails
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import Lake
from lotus_lake.landing.evolution import Evolution, evolve, plan_evolution
from lotus_lake.landing.tables import table_types
from lotus_lake.landing.types import holds, landing_type
from lotus_lake.ledger.events import WAITS_FOR_APPROVAL
from lotus_lake.sql import folded


@dataclass(frozen=True, slots=True)
class _Fit:
    """How a shape fits the landing table.

    Attributes:
        refusal: Why no file of this shape can land.
        note: A remark on those that land.
        evolution: What the table has to become first.
        misfits: Columns that have to be cast.
        by_copy: Whether the files have to be copied.
    """

    refusal: str | None = None
    note: str | None = None
    evolution: Evolution = field(default_factory=Evolution)
    misfits: tuple[str, ...] = ()
    by_copy: bool = False


def decide(lake: Lake, strategy: Append, group: Sequence[Footer]) -> list[Outcome]:
    """Decide on files of one shape, and make the landing table fit those that land.

    Raises:
        StorageUnavailableError: The object store failed.
    """
    stream = strategy.stream
    described, bad = isolate(
        lake,
        [group[0].file],
        lambda some: [columns_of(lake, stream, some[0], group[0].reading)],
    )
    if bad:  # another file of the same schema may do
        return [*bad, *decide(lake, strategy, group[1:])] if group[1:] else bad
    [columns] = described
    if refusal := unreadable_name(columns):
        return _quarantined(group, refusal)
    if group[0].reading is None:
        columns, bad = _with_text(lake, stream, group, columns)
    unread = {outcome.file for outcome in bad}
    group = [footer for footer in group if footer.file not in unread]
    is_parquet = bool(group) and group[0].reading is None
    fit = _fit(
        lake,
        strategy,
        columns,
        group[0].untyped if group else (),
        is_accepted=any(footer.file.is_accepted for footer in group),
    )
    if fit.refusal:
        return [*bad, *_quarantined(group, fit.refusal)]
    outcomes = [*bad, *(Outcome(f.file, "empty", row_count=0) for f in group if not f.row_count)]
    full = [footer for footer in group if footer.row_count]
    misleading: dict[Footer, str] = {}
    if full and is_parquet and stream.feeder.validation == "full":
        full, misleading, bad = validate(lake, full, {c.source: c.arriving for c in columns})
        outcomes += bad
    # What is refused leaves no column behind.
    if full or misleading or any(outcome.event == "empty" for outcome in outcomes):
        try:
            evolve(lake, stream, fit.evolution, min(footer.file.key for footer in group))
        except duckdb.Error as error:
            raise_if_catalog_fails(lake, error, f"{stream.id}: adding columns")
            return [*outcomes, *_quarantined([*full, *misleading], one_line(error))]
    table = table_types(lake, stream)
    for footer in full:
        if name := field_in_folders(footer.file.key, table):
            misleading[footer] = f"a folder of its key is named as its field {name}"
    full = [footer for footer in full if footer not in misleading]
    if fit.by_copy or not is_parquet:
        outcomes += copy_files(lake, stream, full, columns, table, fit.misfits)
    else:
        outcomes += [_register(lake, footer, fit.note) for footer in full]
    for footer, reason in misleading.items():
        outcomes += copy_files(lake, stream, [footer], columns, table, fit.misfits, reason)
    return outcomes


def decide_again(
    lake: Lake, strategy: Append, refused: Sequence[Outcome], reason: str
) -> list[Outcome]:
    """Decide on files of one shape that DuckLake would not register: copies of them may do."""
    stream = strategy.stream
    table, columns = table_types(lake, stream), columns_of(lake, stream, refused[0].file)
    misfits = plan_evolution(table, {c.name: c.kind for c in columns if c.name}).misfits
    footers = [Footer(o.file, o.file.size_bytes, o.row_count or 0, o.shape) for o in refused]
    return copy_files(lake, stream, footers, columns, table, misfits, reason)


def _quarantined(footers: Sequence[Footer], reason: str) -> list[Outcome]:
    return [Outcome(footer.file, "quarantined", note=reason) for footer in footers]


def _with_text(
    lake: Lake, stream: Stream, group: Sequence[Footer], columns: Sequence[Column]
) -> tuple[list[Column], list[Outcome]]:
    """Columns of which the table knows nothing yet: bytes without annotation are text if they can.

    Impala and older Hive and Spark annotate no text.
    """
    known = {folded(name) for name in table_types(lake, stream)}
    texts = {
        column: duckdb.sqltype(
            landing_type(column.arriving, bytes_are_text=True, without=column.made_up)
        )
        for column in columns
        if column.name and folded(column.name) not in known
        if holds(column.arriving, lambda kind: kind.id == "blob")
    }
    if not texts:
        return list(columns), []
    files = [footer.file for footer in group]
    lost = {column: sql for column, kind in texts.items() if (sql := loss(column, kind))}
    found, bad = isolate(lake, files, lambda some: [losses(lake, parquet_rows(lake, some), lost)])
    binary = {column for one in found for column in one.by_column}
    return [
        replace(column, kind=texts[column]) if column in texts.keys() - binary else column
        for column in columns
    ], bad


def _register(lake: Lake, footer: Footer, note: str | None) -> Outcome:
    uri = lake.settings.uri(footer.file.key)
    return Outcome(footer.file, "registered", footer.row_count, note, uri, shape=footer.shape)


def _fit(
    lake: Lake,
    strategy: Append,
    columns: Sequence[Column],
    untyped: Sequence[str],
    *,
    is_accepted: bool,
) -> _Fit:
    options, table = strategy.stream.feeder, table_types(lake, strategy.stream)
    on_schema_change = "evolve" if is_accepted else options.on_schema_change
    placed = {column.name: column for column in columns if column.name}
    evolution = plan_evolution(
        table, {n: c.kind for n, c in placed.items() if c.source not in untyped}
    )
    # Every value of an untyped column is null: no reason to add or to widen a column.
    holes = [
        name
        for name, column in placed.items()
        if column.source in untyped and plan_evolution(table, {name: column.kind})
    ]
    new_columns = ", ".join(f"{'.'.join(path)} {kind}" for path, kind in evolution.added)
    problems, said = list[str](), name_problem(columns)
    if said and (on_schema_change == "fail" or options.on_type_change == "quarantine"):
        problems.append(f"{said}: rename it at the source, or set on_type_change to rescue")
    if on_schema_change == "fail":
        problems += evolution.problems
        if new_columns:
            problems.append(f"new columns {new_columns}, and on_schema_change is fail")
    if problems:
        return _Fit(refusal="; ".join(problems))
    if on_schema_change == "ask" and (change := _described(evolution)):
        return _Fit(refusal=f"{WAITS_FOR_APPROVAL}{change}")
    note = None
    if on_schema_change == "freeze" and new_columns:
        evolution = Evolution((), evolution.widened, evolution.problems, evolution.misfits)
        note = f"columns left out by on_schema_change freeze: {new_columns}"
    known = {folded(column) for column in table}
    misfits = (*evolution.misfits, *(name for name in holes if folded(name) in known))
    by_copy = strategy.copies or bool(misfits or holes) or any(c.is_changed for c in columns)
    return _Fit(None, note, evolution, misfits, by_copy)


def _described(evolution: Evolution) -> str:
    """What a landing table would get, for people; nothing when it stays as it is."""
    added = [f"new column {'.'.join(path)} {kind}" for path, kind in evolution.added]
    return ", ".join([*added, *(f"column {n} becomes {kind}" for n, kind in evolution.widened)])
