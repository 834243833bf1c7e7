"""What a landing table lacks to take files of some shape, and how it gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.landing.types import children, reads_as, widens_to
from lotus_lake.ledger.schema_changes import Kind, note_changes
from lotus_lake.sql import folded, identifier


@dataclass(frozen=True, slots=True)
class Evolution:
    """What a table lacks to take files of some shape.

    Attributes:
        added: Path and type of each column or nested field to add.
        widened: Name and new type of each column to widen.
        problems: What no change of the table can fix.
        misfits: Names of the arriving columns with such problems.
    """

    added: tuple[tuple[tuple[str, ...], str], ...] = ()
    widened: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.widened or self.problems)


def plan_evolution(
    table: Mapping[str, DuckDBPyType], arriving: Mapping[str, DuckDBPyType]
) -> Evolution:
    """What `table` lacks to read files, or a declaration, with the columns of `arriving`."""
    added: list[tuple[tuple[str, ...], str]] = []
    widened: list[tuple[str, str]] = []
    problems: list[str] = []
    misfits: list[str] = []
    known = {folded(name): name for name in table}
    for name, kind in arriving.items():
        if column := known.get(folded(name)):
            before = len(problems)
            _compare((column,), table[column], kind, added, widened, problems)
            misfits += [name] if len(problems) > before else []
        else:
            added.append(((name,), str(kind)))
    return Evolution(tuple(added), tuple(widened), tuple(problems), tuple(misfits))


def evolve(lake: Lake, stream: Stream, evolution: Evolution, key: str | None = None) -> None:
    """Add and widen columns, in a transaction of its own: ALTER conflicts with registrations.

    Args:
        lake: Open lake.
        stream: The stream whose landing table changes.
        evolution: What to add and to widen.
        key: Object that needs it; `None` when the stream config does.
    """
    if not (evolution.added or evolution.widened):
        return
    table = identifier(LAKE, "staging", stream.landing_table)

    def alter() -> None:
        for path, kind in evolution.added:
            lake.con.execute(
                f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {identifier(*path)} {kind}"
            )
        for name, kind in evolution.widened:
            if kind == "TIME":  # no ALTER leads there from a time zone; no file could be registered
                lake.con.execute(f"ALTER TABLE {table} DROP COLUMN {identifier(name)}")
                lake.con.execute(f"ALTER TABLE {table} ADD COLUMN {identifier(name)} TIME")
                continue
            lake.con.execute(f"ALTER TABLE {table} ALTER COLUMN {identifier(name)} TYPE {kind}")
        note_changes(lake, stream, changes, key)

    changes: list[tuple[str, Kind, str]] = [
        *((".".join(path), "added", kind) for path, kind in evolution.added),
        *((name, "widened", kind) for name, kind in evolution.widened),
    ]
    lake.commit(f"{stream.id}: evolve {', '.join(name for name, _, _ in changes)}", alter)


def _compare(
    path: tuple[str, ...],
    table: DuckDBPyType,
    arriving: DuckDBPyType,
    added: list[tuple[tuple[str, ...], str]],
    widened: list[tuple[str, str]],
    problems: list[str],
) -> None:
    if table.id == "struct" and arriving.id == "struct":
        known = {folded(name): (name, kind) for name, kind in children(table)}
        for name, kind in children(arriving):
            if folded(name) in known:
                old_name, old_kind = known[folded(name)]
                _compare((*path, old_name), old_kind, kind, added, widened, problems)
            else:
                added.append(((*path, name), str(kind)))
    elif table.id == "list" and arriving.id == "list":
        inner, arriving_inner = children(table)[0][1], children(arriving)[0][1]
        _compare((*path, "element"), inner, arriving_inner, added, widened, problems)
    elif table.id == "map" and arriving.id == "map":
        for (name, kind), (_, arriving_kind) in zip(
            children(table), children(arriving), strict=True
        ):
            _compare((*path, name), kind, arriving_kind, added, widened, problems)
    elif not reads_as(str(arriving), str(table)):
        if len(path) == 1 and widens_to(str(table), str(arriving)):
            widened.append((path[0], str(arriving)))
        else:
            problems.append(f"column {'.'.join(path)} is {table}, arriving as {arriving}")
