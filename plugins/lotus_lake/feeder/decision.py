"""Decide what becomes of files of one shape: registered, copied, empty or quarantined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from duckdb.sqltypes import DuckDBPyType

from lotus_lake.feeder.append import Append
from lotus_lake.feeder.copies import copy_files
from lotus_lake.feeder.footers import Footer, columns_of, renamed_columns
from lotus_lake.feeder.isolation import isolate
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.feeder.values import validate
from lotus_lake.lake.session import Lake
from lotus_lake.landing.evolution import Evolution, evolve, name_problem, plan_evolution
from lotus_lake.landing.tables import table_types


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
        lake, [group[0].file], lambda some: [columns_of(lake, file) for file in some]
    )
    if bad:  # another file of the same schema may do
        return [*bad, *decide(lake, strategy, group[1:])] if group[1:] else bad
    [arriving] = described
    if renamed := renamed_columns(lake, group[0].file, arriving):
        reason = f"two of its columns differ in case only, such as {renamed[0]}"
        return [Outcome(footer.file, "quarantined", note=reason) for footer in group]
    fit = _fit(lake, strategy, arriving, group[0].untyped)
    if fit.refusal:
        return [Outcome(footer.file, "quarantined", note=fit.refusal) for footer in group]
    outcomes = [Outcome(f.file, "empty", row_count=0) for f in group if not f.row_count]
    full = [footer for footer in group if footer.row_count]
    misleading: dict[Footer, str] = {}
    if full and stream.feeder.validation == "full":
        full, misleading, bad = validate(lake, full, arriving)
        outcomes += bad
    if full or misleading or outcomes:
        evolve(lake, stream, fit.evolution)
    table = table_types(lake, stream)
    if fit.by_copy:
        outcomes += copy_files(lake, stream, full, arriving, table, fit.misfits)
    else:
        outcomes += [_register(lake, footer, fit.note) for footer in full]
    for footer, reason in misleading.items():
        outcomes += copy_files(lake, stream, [footer], arriving, table, fit.misfits, reason)
    return outcomes


def decide_again(lake: Lake, strategy: Append, refused: Outcome, reason: str) -> list[Outcome]:
    """Decide on a file that DuckLake would not register: a copy of it may do."""
    file = refused.file
    arriving, table = columns_of(lake, file), table_types(lake, strategy.stream)
    misfits = plan_evolution(table, arriving).misfits
    footer = Footer(file, file.size_bytes, refused.row_count or 0, shape="")
    return copy_files(lake, strategy.stream, [footer], arriving, table, misfits, reason)


def _register(lake: Lake, footer: Footer, note: str | None) -> Outcome:
    uri = lake.settings.uri(footer.file.key)
    return Outcome(footer.file, "registered", footer.row_count, note, data_file=uri)


def _fit(
    lake: Lake, strategy: Append, arriving: Mapping[str, DuckDBPyType], untyped: Sequence[str]
) -> _Fit:
    stream = strategy.stream
    table = table_types(lake, stream)
    typed = {name: kind for name, kind in arriving.items() if name not in untyped}
    evolution = plan_evolution(table, typed)
    # Every value of an untyped column is null: it is no reason to add or to widen a column.
    holes = [n for n in untyped if plan_evolution(table, {n: arriving[n]})]
    new_columns = ", ".join(f"{'.'.join(path)} {kind}" for path, kind in evolution.added)
    policy, problems = stream.feeder.on_schema_change, []
    if named := name_problem(arriving):
        problems.append(named)
    if policy == "fail" and evolution.problems:
        problems += evolution.problems
    if policy == "fail" and new_columns:
        problems.append(f"new columns {new_columns}, and on_schema_change is fail")
    if problems:
        return _Fit(refusal="; ".join(problems))
    note = None
    if policy == "freeze" and new_columns:
        evolution = Evolution((), evolution.widened, evolution.problems, evolution.misfits)
        note = f"columns left out by on_schema_change freeze: {new_columns}"
    misfits = (*evolution.misfits, *(name for name in holes if _known(table, name)))
    by_copy = strategy.copies or bool(misfits or holes)
    return _Fit(None, note, evolution, misfits, by_copy)


def _known(table: Mapping[str, DuckDBPyType], name: str) -> bool:
    return name.lower() in {column.lower() for column in table}
