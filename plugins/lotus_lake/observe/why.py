"""Where a number comes from: the columns and rows behind it, and the files they came in.

The condition is read by `where`, and asked in a session that can read the lake and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path as File
from typing import Any

import duckdb

from lotus_lake.error_translation import one_line
from lotus_lake.errors import PermanentError, StorageUnavailableError, did_you_mean
from lotus_lake.lake.read_only import confine
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.observe.conditions import ASKED, Condition, read_condition
from lotus_lake.observe.versions import (
    LandedRows,
    Versions,
    among,
    find_versions,
    record_key,
    version_columns,
)
from lotus_lake.project.lineage import (
    Input,
    ModelLineage,
    Path,
    Query,
    UnresolvedLineageError,
    read_query,
)
from lotus_lake.project.manifest import Model, load_models
from lotus_lake.project.rendering import UnrenderedModelError, render_model
from lotus_lake.sql import identifier

GREATEST_LIMIT = 100
_VALUE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ColumnSource:
    """A column, and what it is computed from.

    Attributes:
        column: `table.column`.
        origins: The same of the tables that its model reads; none for a constant.
        problem: Why that is not known.
    """

    column: str
    origins: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Rows of a table that belong to the answer.

    Attributes:
        table: Its name.
        matched: What they were found by.
        columns: Columns that are shown.
        rows: The first of the rows; long values are cut.
        total: How many there are.
    """

    table: str
    matched: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: int


@dataclass(frozen=True, slots=True)
class Why:
    """The answer.

    Attributes:
        table: The table that was asked about.
        where: The condition.
        column: The column that was asked about, if one was.
        sources: Columns with what they are computed from, down to the landing tables.
        rows: Rows of the table, then of each table that it is made from.
        landed: Landed rows behind the rows of each processed table.
        remarks: What could not be found out, by name.
    """

    table: str
    where: str
    column: str | None
    sources: tuple[ColumnSource, ...]
    rows: tuple[FoundRows, ...]
    landed: tuple[LandedRows, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """A model on the way to the landing tables, or the problem that its SQL is."""

    model: Model
    query: Query | None
    lineage: ModelLineage | None
    inputs: tuple[Input, ...]
    problem: str | None


def explain(
    lake: Lake,
    manifest: File,
    table: str,
    where: str,
    column: str | None = None,
    *,
    limit: int = 20,
) -> Why:
    """Find out what rows of a table are made from.

    Args:
        lake: Open lake, for this call alone; read-only will do.
        manifest: dbt's manifest.
        table: Name of a processed or enriched model.
        where: Condition over its columns.
        column: One of its columns; all of them by default.
        limit: Greatest number of rows of each table, and of landed versions of each model.

    Raises:
        PermanentError: There is no such table or column, or the condition is more than one.
        StorageUnavailableError: A data file could not be read.
    """
    models = load_models(manifest)
    built = lake.tables("main")
    known = sorted(built & models.keys())
    if table not in known:
        if table in models:
            raise PermanentError(f"{table!r} was not built yet")
        raise PermanentError(f"{table!r} is not the table of a model: {did_you_mean(table, known)}")
    columns = _columns(lake, "main", table)
    condition = read_condition(where, table, columns)
    if column is not None:
        names = {name.lower(): name for name in columns}
        if column.lower() not in names:
            raise PermanentError(
                f"{table} has no column {column!r}: {did_you_mean(column, columns)}"
            )
        column = names[column.lower()]
    steps = _steps(lake, manifest, models, table)
    sources = _sources(steps, table, [column] if column else columns)
    shown = _shown(steps, sources, condition, table) if column else {}
    settings = lake.settings
    confine(lake.con, settings)
    try:
        with lake.snapshot():
            walk = _Walk(lake, steps, condition, limit, shown, built)
            return walk.answer(table, where, column, sources)
    except duckdb.OperationalError as error:
        raise StorageUnavailableError(
            f"reading what is behind {table} failed: {one_line(error)}",
            hint="`lotus-lake reconcile SOURCE STREAM` finds objects that are gone",
        ) from error
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        raise PermanentError(
            f"the condition {where!r} is not valid for {table}: {one_line(error)}",
            hint='such as --where "order_id = 1001"; put text in single quotes',
        ) from error


def _columns(lake: Lake, schema: str, table: str) -> list[str]:
    rows = lake.rows(f"DESCRIBE {identifier(LAKE, schema, table)}")
    return [str(row[0]) for row in rows]


def _steps(lake: Lake, manifest: File, models: Mapping[str, Model], table: str) -> dict[str, _Step]:
    """The model of a table and those that it reads, directly or not; each after its readers."""
    there = {schema: lake.tables(schema) for schema in ("main", "staging")}
    found: dict[str, _Step] = {}
    waiting = [table]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name] = step = _step(lake, manifest, models[name], there)
        waiting += [read.table for read in step.inputs if read.table in models]
    readers: dict[str, set[str]] = {name: set() for name in found}
    for name, step in found.items():
        for read in step.inputs:
            if read.table in found:
                readers[read.table].add(name)
    return {name: found[name] for name in TopologicalSorter(readers).static_order()}


def _step(lake: Lake, manifest: File, model: Model, there: Mapping[str, Collection[str]]) -> _Step:
    try:
        sql = render_model(manifest, model.name)
        query = read_query(model.name, sql)
        tables: dict[str, dict[str, list[str]]] = {"main": {}, "staging": {}}
        for schema, name in query.tables:
            if name in there.get(schema, ()):
                tables[schema][name] = _columns(lake, schema, name)
        lineage = ModelLineage(model.name, sql, tables)
        return _Step(model, query, lineage, tuple(lineage.inputs()), None)
    except (UnrenderedModelError, UnresolvedLineageError) as error:
        return _Step(model, None, None, (), str(error))


def _sources(
    steps: Mapping[str, _Step], table: str, columns: Iterable[str]
) -> tuple[ColumnSource, ...]:
    """What columns are computed from, and what that is computed from, down to the landing."""
    found: dict[tuple[str, str], ColumnSource] = {}
    waiting = [(table, column) for column in columns]
    while waiting:
        name, column = place = waiting.pop(0)
        if place in found:
            continue
        label, step = f"{name}.{column}", steps[name]
        if step.lineage is None:
            found[place] = ColumnSource(label, (), step.problem)
            continue
        try:
            origins = step.lineage.origins(column)
        except UnresolvedLineageError as error:
            found[place] = ColumnSource(label, (), str(error))
            continue
        found[place] = ColumnSource(label, tuple(map(str, origins)))
        waiting += [(origin.table, origin.path[0]) for origin in origins if origin.table in steps]
    return tuple(found.values())


def _shown(
    steps: Mapping[str, _Step], sources: Iterable[ColumnSource], condition: Condition, table: str
) -> dict[str, set[str]]:
    """Columns of each table that take part, in small letters: also keys, and what rows match by."""
    shown = {name: {*step.model.unique_key} for name, step in steps.items()}
    shown[table] |= set(condition.columns)
    for source in sources:
        name, _, column = source.column.partition(".")
        shown[name].add(column)
    for name, step in steps.items():
        for read in step.inputs:
            if read.table in steps:
                link = _link(steps[read.table], read)
                shown[name] |= {*link}
                shown[read.table] |= {path[0] for path in link.values()}
    return {name: {column.lower() for column in columns} for name, columns in shown.items()}


def _link(step: _Step, read: Input) -> Mapping[str, Path]:
    """What rows of a table match rows of its reader by: its key if the reader carries all of it."""
    held = {path: column for column, path in read.carried.items()}
    key: dict[str, Path] = {
        column: (part,) for part in step.model.unique_key if (column := held.get((part.lower(),)))
    }
    return key if key and len(key) == len(step.model.unique_key) else read.carried


class _Walk:
    """From the rows of a table to those that they are made from, one table after the other."""

    def __init__(
        self,
        lake: Lake,
        steps: Mapping[str, _Step],
        condition: Condition,
        limit: int,
        shown: Mapping[str, Collection[str]],
        built: Collection[str],
    ) -> None:
        self._lake, self._steps, self._condition = lake, steps, condition
        self._limit, self._shown, self._built = limit, shown, built
        self._rows: list[FoundRows] = []
        self._landed: list[LandedRows] = []
        self._remarks: list[str] = []
        self._selectors: dict[str, list[str]] = {name: [] for name in steps}
        self._matched: dict[str, list[str]] = {name: [] for name in steps}
        self._heads: dict[str, set[str]] = {name: set() for name in steps}
        self._places: dict[str, Mapping[str, Path]] = {}

    def answer(
        self, table: str, where: str, column: str | None, sources: tuple[ColumnSource, ...]
    ) -> Why:
        """Walk from a table down."""
        self._places[table] = {name: (name,) for name in self._condition.columns}
        self._selectors[table] = [self._condition.sql()]
        self._matched[table] = [where]
        self._heads[table] |= set(self._condition.columns)
        problems = [step.problem for step in self._steps.values() if step.problem]
        for number, (name, step) in enumerate(self._steps.items()):
            if not self._selectors[name]:
                continue
            found = f"temp.why_{number}"
            count = self._find(name, found) if name in self._built else None
            if count is None:
                self._remarks.append(f"{name}: it was not built yet")
            for read in step.inputs:
                if read.table in self._steps:
                    self._choose(name, read, found if count else None)
            landing = {read.table for read in step.inputs} - self._steps.keys()
            if landing:
                self._land(step, landing, found if count else None, number)
        said = [*problems, *self._remarks]
        for source in sources:
            if source.problem and source.problem not in said:
                said.append(source.problem)
        return Why(
            table, where, column, sources, tuple(self._rows), tuple(self._landed), tuple(said)
        )

    def _find(self, name: str, found: str) -> int:
        """Keep the first rows of a table that are chosen; returns how many those are."""
        chosen = " OR ".join(f"({selector})" for selector in self._selectors[name])
        source = f"FROM {identifier(LAKE, 'main', name)} AS {ASKED} WHERE {chosen}"
        self._lake.con.execute(
            f"CREATE OR REPLACE TEMP TABLE {found.removeprefix('temp.')} AS "
            f"SELECT * {source} ORDER BY ALL LIMIT {self._limit}"
        )
        total = int(self._lake.value(f"SELECT count(*) {source}"))
        columns = [str(row[0]) for row in self._lake.rows(f"DESCRIBE {found}")]
        if self._shown:
            columns = [column for column in columns if column.lower() in self._shown[name]]
        names = ", ".join(identifier(column) for column in columns)
        rows = [tuple(map(_cut, row)) for row in self._lake.rows(f"SELECT {names} FROM {found}")]
        matched = " or ".join(self._matched[name])
        self._rows.append(FoundRows(name, matched, tuple(columns), tuple(rows), total))
        return len(rows)

    def _choose(self, name: str, read: Input, found: str | None) -> None:
        """Note which rows of a table that is read belong to the rows found of its reader."""
        link = _link(self._steps[read.table], read)
        places = _below(self._places.get(name), read)
        if places is not None:
            self._places.setdefault(read.table, places)
        if found and link:
            self._selectors[read.table].append(among(self._lake, link, found))
            self._matched[read.table].append(f"{', '.join(link)} of {name}")
            self._heads[read.table] |= {path[0] for path in link.values()}
        elif places is not None:
            self._selectors[read.table].append(self._condition.sql(places))
            self._matched[read.table].append(f"the condition, as {name} carries its columns")
            self._heads[read.table] |= {path[0] for path in places.values()}
        else:
            above = self._places.get(name) or {}
            lost = [
                c for c in self._condition.columns if above.get(c, ("",))[0] not in read.carried
            ]
            self._remarks.append(
                f"{read.table}: {name} does not carry {', '.join(lost)} from it unchanged, "
                "so the rows behind the condition are not known"
            )

    def _land(self, step: _Step, landing: Collection[str], found: str | None, number: int) -> None:
        name, (table, *others) = step.model.name, sorted(landing)
        needed = {*record_key(step.model), *version_columns(step.model)}
        if found:
            needed -= {str(row[0]) for row in self._lake.rows(f"DESCRIBE {found}")}
        asked = set() if found else self._heads[name]
        columns = {"_lake_row_id", *record_key(step.model), *version_columns(step.model), *asked}
        holder = step.lineage.holder(columns) if step.lineage else None
        if step.model.is_history:
            why = "each row of a history is a version that landed"
        elif others or not table.startswith("stg_"):
            why = f"it reads {', '.join((table, *others))}, and not one landing table alone"
        elif found and needed:
            why = f"its table has no {', '.join(sorted(needed))}"
        elif holder is None or step.query is None:
            why = f"none of its CTEs has {', '.join(sorted(columns))}"
        else:
            chosen = " OR ".join(f"({selector})" for selector in self._selectors[name])
            versions = Versions(step.model, table, step.query.ctes, holder)
            self._landed.append(
                find_versions(self._lake, versions, found, chosen, self._limit, number)
            )
            return
        self._remarks.append(f"{name}: landed versions are not shown, because {why}")


def _below(places: Mapping[str, Path] | None, read: Input) -> dict[str, Path] | None:
    """Where columns of the condition are in a table that is read; `None` if not all are."""
    if places is None:
        return None
    below = {}
    for column, (head, *fields) in places.items():
        if head.lower() not in read.carried:
            return None
        below[column] = (*read.carried[head.lower()], *fields)
    return below


def _cut(value: object) -> object:
    """A value of bounded length."""
    if isinstance(value, str | list | dict | bytes) and len(str(value)) > _VALUE_CHARACTERS:
        return f"{str(value)[:_VALUE_CHARACTERS]}..."
    return value
