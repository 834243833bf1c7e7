"""What differs between two versions of the lake: its branches, and its snapshots.

A table that differs is compared row by row, by its key. Both sides are read in one query, which
DuckDB spills to disk where memory does not suffice; only counts and a few examples leave it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_beside, open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.landing.tables import describe
from lotus_lake.landing.types import keeps_values
from lotus_lake.quantities import counted
from lotus_lake.sql import identifier

MAIN = "main"
_SIDE = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(@(?P<snapshot>\d{1,18}))?")
# What a build writes of itself: where a row came from, and not what it says.
_OWN_COLUMNS = ("_lake_",)


@dataclass(frozen=True, slots=True)
class Side:
    """A version of the lake, attached.

    Attributes:
        text: As it was asked for.
        catalog: What it is attached as.
    """

    text: str
    catalog: str

    def relation(self, table: str) -> str:
        """A table of `main`, as SQL."""
        return identifier(self.catalog, "main", table)


@dataclass(frozen=True, slots=True)
class Example:
    """One row that differs.

    Attributes:
        change: `added`, `removed` or `changed`.
        key: Its key, by column.
        cells: Of a row that has changed: value before and after, as text, by column.
    """

    change: str
    key: dict[str, str | None]
    cells: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableDiff:
    """What differs between two versions of a table.

    Attributes:
        table: Its name, without the schema `main`.
        state: `added`, `removed`, `changed`, or `same`.
        schema: What differs between the columns, for people.
        lost: Columns that are gone, or whose type cannot hold all values of before.
        rows_before: Rows in the first version; `None` where it has no such table.
        rows_after: Rows in the second.
        key: The columns that rows were compared by; without any, whole rows were.
        added: Rows whose key only the second has.
        removed: Rows whose key only the first has.
        changed: Rows that both have, with other values.
        cells: Rows in which a column has another value, by column.
        examples: Some of the rows that differ.
        remark: What should be known of the comparison.
    """

    table: str
    state: str
    schema: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    rows_before: int | None = None
    rows_after: int | None = None
    key: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    changed: int = 0
    cells: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    remark: str | None = None

    @property
    def destroys(self) -> tuple[str, ...]:
        """What readers of the table lose, for people."""
        if self.state == "removed":
            return ("the table is gone",)
        rows = (f"{counted(self.removed, 'row')} removed",) if self.removed else ()
        return (*(f"column {name} is gone or narrower" for name in self.lost), *rows)


@contextlib.contextmanager
def open_sides(settings: Settings, before: str, after: str) -> Iterator[tuple[Lake, Side, Side]]:
    """Open the lakes of two versions, read-only.

    Args:
        settings: Those of the origin.
        before: `main` or the name of a branch, of its newest snapshot or of `@` one by its number.
        after: The same.

    Raises:
        SettingsError: A text names no version, or there is no such branch.
    """
    with contextlib.ExitStack() as stack:
        lake = stack.enter_context(open_lake(settings, read_only=True))
        sides = []
        for text, catalog in ((before, "lake_before"), (after, "lake_after")):
            chosen, snapshot = _read(settings, text)
            stack.enter_context(open_beside(lake, chosen, catalog, snapshot))
            sides.append(Side(text, catalog))
        yield lake, sides[0], sides[1]


def compare(
    lake: Lake,
    before: Side,
    after: Side,
    tables: Sequence[str],
    keys: Mapping[str, Sequence[str]],
    examples: int = 5,
) -> Iterator[TableDiff]:
    """Compare tables of two versions, one after the other.

    Args:
        lake: From `open_sides`.
        before: The first version.
        after: The second.
        tables: Their names; all of the schema `main`, in order, without any.
        keys: The columns of the key of each.
        examples: So many examples of each kind of change.

    Raises:
        SettingsError: Neither version has a table, or a snapshot does not exist.
    """
    there = [_tables(lake, side) for side in (before, after)]
    for table in tables or sorted(there[0] | there[1]):
        if table not in there[0] | there[1]:
            raise SettingsError(
                f"neither {before.text} nor {after.text} has a table {table}",
                hint='lotus-lake query "SHOW TABLES" lists those of the lake',
            )
        if table not in there[0]:
            yield TableDiff(table, "added", rows_after=_count(lake, after, table))
        elif table not in there[1]:
            yield TableDiff(table, "removed", rows_before=_count(lake, before, table))
        else:
            old, new = (
                describe(lake.con, f"FROM {side.relation(table)}") for side in (before, after)
            )
            comparison = _Comparison(lake, before, after, table, old, new)
            yield comparison.run(tuple(keys.get(table, ())), examples)


@dataclass(frozen=True, slots=True)
class _Comparison:
    lake: Lake
    before: Side
    after: Side
    table: str
    old: Mapping[str, DuckDBPyType]
    new: Mapping[str, DuckDBPyType]

    def run(self, key: tuple[str, ...], examples: int) -> TableDiff:
        both = [c for c in self.old if c in self.new]
        schema = _schema_changes(self.old, self.new)
        rows = [self._figures(side, both) for side in (self.before, self.after)]
        base = TableDiff(
            self.table,
            "changed" if schema else "same",
            schema,
            _lost(self.old, self.new),
            rows[0][0],
            rows[1][0],
        )
        if rows[0] == rows[1]:
            return base
        shared = [c for c in both if not c.startswith(_OWN_COLUMNS)]
        key = tuple(c for c in key if c in shared)
        remark = "its key is not known: whole rows were compared"
        if key and not (self._is_unique(self.before, key) and self._is_unique(self.after, key)):
            key, remark = (), f"{', '.join(key)} is not unique: whole rows were compared"
        if not key:
            added, removed = self._whole_rows(shared)
            found = replace(base, added=added, removed=removed, remark=remark)
        else:
            values = [c for c in shared if c not in key]
            added, removed, changed, cells = self._by_key(key, values)
            shown = tuple(self._examples(key, list(cells), examples))
            found = replace(
                base, key=key, added=added, removed=removed, changed=changed, cells=cells,
                examples=shown,
            )  # fmt: skip
        is_changed = found.added or found.removed or found.changed
        return replace(found, state="changed") if is_changed else found

    def _of(self, side: Side) -> str:
        return side.relation(self.table)

    def _figures(self, side: Side, columns: Sequence[str]) -> tuple[int, Any, Any]:
        """Number of rows, and two sums over what they hold: equal if nothing differs."""
        compared = [identifier(c) for c in columns if not c.startswith(_OWN_COLUMNS)]
        hashed = f"hash({', '.join(compared)})" if compared else "0"
        [found] = self.lake.rows(
            f"SELECT count(*), bit_xor({hashed}), sum({hashed}::HUGEINT) FROM {self._of(side)}"
        )
        return tuple(found)

    def _is_unique(self, side: Side, key: Sequence[str]) -> bool:
        columns = ", ".join(map(identifier, key))
        query = f"SELECT 1 FROM {self._of(side)} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
        return not self.lake.rows(query)

    def _whole_rows(self, columns: Sequence[str]) -> tuple[int, int]:
        chosen = ", ".join(map(identifier, columns))
        old, new = (f"(SELECT {chosen} FROM {self._of(s)})" for s in (self.before, self.after))
        return tuple(
            int(self.lake.value(f"SELECT count(*) FROM ({one} EXCEPT ALL {other})"))
            for one, other in ((new, old), (old, new))
        )  # type: ignore[return-value]

    def _compared(self, column: str, operator: str = "IS DISTINCT FROM") -> str:
        """The sides of a column compared; as text where its type has changed."""
        name = identifier(column)
        cast = "" if str(self.old[column]) == str(self.new[column]) else "::VARCHAR"
        return f"old.{name}{cast} {operator} new.{name}{cast}"

    def _joined(self, key: Sequence[str]) -> str:
        on = " AND ".join(self._compared(column, "IS NOT DISTINCT FROM") for column in key)
        return f"""
            (SELECT true AS _is_there, * FROM {self._of(self.before)}) AS old
            FULL JOIN (SELECT true AS _is_there, * FROM {self._of(self.after)}) AS new ON {on}
        """

    def _by_key(
        self, key: Sequence[str], values: Sequence[str]
    ) -> tuple[int, int, int, dict[str, int]]:
        differ = [self._compared(column) for column in values]
        both = "old._is_there AND new._is_there"
        any_differs = " OR ".join(differ) or "false"
        counts = "".join(f", count(*) FILTER ({both} AND {condition})" for condition in differ)
        [(added, removed, changed, *cells)] = self.lake.rows(
            f"""
            SELECT count(*) FILTER (old._is_there IS NULL), count(*) FILTER (new._is_there IS NULL),
                   count(*) FILTER ({both} AND ({any_differs})){counts}
            FROM {self._joined(key)}
            """
        )
        found = {c: int(n) for c, n in zip(values, cells, strict=True) if n}
        return int(added), int(removed), int(changed), found

    def _examples(self, key: Sequence[str], values: Sequence[str], limit: int) -> Iterator[Example]:
        """The first rows of each kind, by key."""
        keys = [f"coalesce(old.{i}::VARCHAR, new.{i}::VARCHAR)" for i in map(identifier, key)]
        cells = [f"{side}.{identifier(c)}::VARCHAR" for c in values for side in ("old", "new")]
        differ = [self._compared(column) for column in values]
        both = "old._is_there AND new._is_there"
        for change, condition in (
            ("added", "old._is_there IS NULL"),
            ("removed", "new._is_there IS NULL"),
            ("changed", f"{both} AND ({' OR '.join(differ) or 'false'})"),
        ):
            for row in self.lake.rows(
                f"""
                SELECT {", ".join([*keys, *cells])} FROM {self._joined(key)}
                WHERE {condition} ORDER BY {", ".join(map(str, range(1, len(keys) + 1)))}
                LIMIT {int(limit)}
                """
            ):
                pairs = list(zip(row[len(key) :: 2], row[len(key) + 1 :: 2], strict=True))
                shown = {
                    c: pair for c, pair in zip(values, pairs, strict=True) if pair[0] != pair[1]
                }
                yield Example(
                    change,
                    dict(zip(key, row[: len(key)], strict=True)),
                    shown if change == "changed" else {},
                )


def _read(settings: Settings, text: str) -> tuple[Settings, int | None]:
    found = _SIDE.fullmatch(text)
    if found is None:
        raise SettingsError(
            f"{text!r} is no version of the lake",
            hint="main, the name of a branch, or one of them as of a snapshot: main@120",
        )
    name, snapshot = found["name"], found["snapshot"]
    chosen = settings if name == MAIN else settings.of_branch(name)
    return chosen, None if snapshot is None else int(snapshot)


def _tables(lake: Lake, side: Side) -> set[str]:
    query = f"SELECT table_name FROM ducklake_table_info('{side.catalog}') WHERE schema_id = 0"
    return {name for (name,) in lake.rows(query)}


def _count(lake: Lake, side: Side, table: str) -> int:
    return int(lake.value(f"SELECT count(*) FROM {side.relation(table)}"))


def _lost(old: Mapping[str, DuckDBPyType], new: Mapping[str, DuckDBPyType]) -> tuple[str, ...]:
    return tuple(name for name in old if name not in new or not keeps_values(old[name], new[name]))


def _schema_changes(
    old: Mapping[str, DuckDBPyType], new: Mapping[str, DuckDBPyType]
) -> tuple[str, ...]:
    return (
        *(f"column {name} {new[name]} added" for name in new if name not in old),
        *(f"column {name} {old[name]} removed" for name in old if name not in new),
        *(
            f"column {name} is {new[name]}, was {old[name]}"
            for name in old
            if name in new and str(old[name]) != str(new[name])
        ),
    )
