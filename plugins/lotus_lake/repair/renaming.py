"""Rename what a lake has of a stream: tables and ledger, in one commit.

DuckLake keeps a table's data files, history, options and comments when it is renamed. Files keep
their keys, so nothing is fed again. Renaming the guard conflicts with whatever a feeder of the
stream commits meanwhile: either it comes first, and is renamed too, or it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.errors import ScaffoldError
from lotus_lake.lake.branches import refuse_under_branches
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.lake.tables import tables_with
from lotus_lake.ledger.renames import new_name, note_rename
from lotus_lake.sql import identifier

_OF_A_MODEL = ("watermark", "kept_out", "failed_rows", "inputs")


@dataclass(frozen=True, slots=True)
class Renames:
    """What of a lake gets another name.

    Attributes:
        tables: New names, by schema and old name.
        events: Events of the ledger that name the stream.
        is_done: Whether the lake has the new names already.
    """

    tables: Mapping[tuple[str, str], str]
    events: int
    is_done: bool = False


def plan_renames(lake: Lake, stream: Stream, renamed: Stream, models: Mapping[str, str]) -> Renames:
    """Say what of a lake would get another name; writes nothing.

    Args:
        lake: Open lake.
        stream: The stream.
        renamed: The same with its new name.
        models: New names of its processed models, by their old ones.

    Raises:
        ScaffoldError: The lake has, or knows of, a stream of the new name.
        UpkeepRefusedError: It is a branch, or has live ones, which would keep the old names.
    """
    if new_name(lake, stream.source, stream.name) == renamed.name:
        return Renames({}, 0, is_done=True)
    refuse_under_branches(lake)
    wanted = {
        ("staging", stream.landing_table): renamed.landing_table,
        ("meta", f"guard_{stream.id}"): f"guard_{renamed.id}",
        **{("main", old): new for old, new in models.items()},
        **{
            ("meta", f"{kind}_{old}"): f"{kind}_{new}"
            for kind in _OF_A_MODEL
            for old, new in models.items()
        },
    }
    there = {schema: lake.tables(schema) for schema in ("staging", "main", "meta")}
    if taken := [f"{schema}.{new}" for (schema, _), new in wanted.items() if new in there[schema]]:
        raise ScaffoldError(
            f"the lake has {', '.join(taken)} already",
            hint=f"another name, or drop what an earlier stream {renamed.name} has left",
        )
    if "file_events" in there["meta"] and _events(lake, renamed):
        raise ScaffoldError(
            f"the ledger knows files of an earlier stream {renamed.id}", hint="another name"
        )
    tables = {(s, old): new for (s, old), new in wanted.items() if old in there[s]}
    events = _events(lake, stream) if "file_events" in there["meta"] else 0
    return Renames(tables, events)


def rename_in_lake(
    lake: Lake, stream: Stream, renamed: Stream, models: Mapping[str, str]
) -> Renames:
    """Rename the tables of a stream and the rows that name it, in one commit.

    Until `forget_rename`, nothing can be fed under the old name.

    Raises:
        ScaffoldError: The lake has, or knows of, a stream of the new name.
        UpkeepRefusedError: It is a branch, or has live ones.
        CommitConflictError: Others wrote to the stream every time.
    """
    found = plan_renames(lake, stream, renamed, models)
    if found.is_done or not (found.tables or found.events):
        return found

    def unit() -> None:
        inputs = [name for name in lake.tables("meta") if name.startswith("inputs_")]
        for table in tables_with(lake, "meta", "source", "stream"):
            lake.con.execute(
                f"UPDATE {identifier(LAKE, 'meta', table)} SET stream = ? "
                "WHERE source = ? AND stream = ?",
                [renamed.name, stream.source, stream.name],
            )
        for old, new in models.items():
            for table in inputs:
                lake.con.execute(
                    f"UPDATE {identifier(LAKE, 'meta', table)} SET input = ? WHERE input = ?",
                    [new, old],
                )
        for (schema, old), new in found.tables.items():
            lake.con.execute(
                f"ALTER TABLE {identifier(LAKE, schema, old)} RENAME TO {identifier(new)}"
            )
        note_rename(lake, stream, renamed.name)

    lake.commit(f"{stream.id}: rename to {renamed.id}", unit)
    return found


def _events(lake: Lake, stream: Stream) -> int:
    return int(
        lake.value(
            f"SELECT count(*) FROM {META}.file_events WHERE source = ? AND stream = ?",
            [stream.source, stream.name],
        )
    )
