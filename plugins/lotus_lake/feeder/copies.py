"""Land a file that cannot be registered as it is: a copy with casts, if they change no value.

The copy is the lake's own and lies below `LAKE_DATA_PATH`; the object stays where it is until its
day is retired. A cast is considered harmless when casting back gives the same value for every row.
What no column can hold (a VARIANT, a field without a name) becomes JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.bucket.keys import partition_path
from lotus_lake.config.streams import Stream
from lotus_lake.failures import make_folder
from lotus_lake.feeder.columns import Column
from lotus_lake.feeder.footers import Footer
from lotus_lake.feeder.isolation import isolate
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import Lake
from lotus_lake.landing.types import (
    NESTED,
    children,
    free_name,
    holds,
    is_only_text,
    landing_type,
)
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.sql import folded, identifier, json_array, literal


def copy_files(
    lake: Lake,
    stream: Stream,
    footers: Sequence[Footer],
    columns: Sequence[Column],
    table: Mapping[str, DuckDBPyType],
    misfits: Sequence[str],
    reason: str = "",
) -> list[Outcome]:
    """Copy files of one shape, each on its own; those that would lose a value are quarantined.

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
    known = {folded(name): kind for name, kind in table.items()}
    targets = {
        column: known[folded(column.name)] for column in columns if folded(column.name) in known
    }
    cast_ones = {c: kind for c, kind in targets.items() if c.name in misfits or c.is_changed}
    outcomes: list[Outcome] = []
    for footer in footers:
        file = footer.file
        lost, bad = isolate(lake, [file], lambda some: [lost_values(lake, some, cast_ones)])
        if bad:
            outcomes += bad
        elif lost[0]:
            note = "; ".join(
                _loss(column, known[folded(column.name)], n) for column, n in lost[0].items()
            )
            outcomes.append(Outcome(file, "quarantined", note=note))
        else:
            outcomes.append(_copy(lake, stream, footer, targets, cast_ones, reason))
    return outcomes


def copy_uri(lake: Lake, stream: Stream, file: PendingFile) -> str:
    """A new address for a copy: never one that a catalog of the past or another feeder knows."""
    day = partition_path(file.partition_date)
    folder = f"{lake.settings.data_path}copies/{stream.source}/{stream.name}/{day}"
    if not folder.startswith("s3://"):
        make_folder(Path(folder), "LAKE_DATA_PATH")
    return f"{folder}/{uuid4().hex}.parquet"


def cast(expression: str, source: DuckDBPyType, target: DuckDBPyType, depth: int = 0) -> str:
    """SQL that casts, giving null for what cannot be cast.

    Nested values and text meet as JSON. Bytes and text meet as UTF-8: DuckDB's own cast writes
    every byte beyond ASCII as an escape, and its cast back agrees.
    """
    if str(source) == str(target):
        return expression
    if source.id == target.id == "struct" and not is_only_text(source):
        return _cast_struct(expression, source, target, depth)
    if source.id == target.id == "list":
        item = cast(f"x{depth}", children(source)[0][1], children(target)[0][1], depth + 1)
        return f"list_transform({expression}, lambda x{depth}: {item})"
    if source.id == target.id == "map":
        parts = zip(("key", "value"), children(source), children(target), strict=True)
        entry = ", ".join(
            f"{part} := {cast(f'x{depth}.{part}', kind, wanted, depth + 1)}"
            for part, (_, kind), (_, wanted) in parts
        )
        entries = (
            f"list_transform(map_entries({expression}), lambda x{depth}: struct_pack({entry}))"
        )
        return f"map_from_entries({entries})"
    if source.id == "variant" and str(target) == "VARCHAR":
        return f"CASE WHEN {expression} IS NOT NULL THEN ({expression})::JSON::VARCHAR END"
    if source.id in NESTED and str(target) == "VARCHAR":
        text = duckdb.sqltype(landing_type(source, bytes_are_text=True))
        inner = expression if text == target else cast(expression, source, text, depth)
        return f"to_json({inner})::VARCHAR"
    if str(source) == "VARCHAR" and target.id in NESTED:
        return f"TRY_CAST(TRY_CAST({expression} AS JSON) AS {target})"
    if source.id == "blob" and str(target) == "VARCHAR":
        return f"TRY(decode({expression}))"
    if str(source) == "VARCHAR" and target.id == "blob":
        return f"encode({expression})"
    return f"TRY_CAST({expression} AS {target})"


def _cast_struct(expression: str, source: DuckDBPyType, target: DuckDBPyType, depth: int) -> str:
    there = {folded(free_name(name, nested=True)): (name, kind) for name, kind in children(source)}
    fields = []
    for name, kind in children(target):
        found = there.get(folded(free_name(name, nested=True)))
        value = (
            cast(f"struct_extract({expression}, {literal(found[0])})", found[1], kind, depth)
            if found
            else f"NULL::{kind}"
        )
        fields.append(f"{identifier(name)} := {value}")
    return f"CASE WHEN {expression} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"


def lost_values(
    lake: Lake, files: Sequence[PendingFile], casts: Mapping[Column, DuckDBPyType]
) -> dict[Column, int]:
    """How many values of each column would not survive its cast."""
    # What becomes JSON text, because no type fits, cannot be cast back.
    checked = [column for column in casts if not holds(column.arriving, is_only_text)]
    if not checked:
        return {}
    there, back = [], []
    for number, column in enumerate(checked):
        source, target = column.arriving, casts[column]
        name = identifier(column.source)
        there += [f"{name} AS v{number}", f"{cast(name, source, target)} AS c{number}"]
        back.append(
            f"count(*) FILTER ({cast(f'c{number}', target, source)} IS DISTINCT FROM v{number})"
        )
    (counts,) = lake.rows(
        f"""
        SELECT {", ".join(back)} FROM (
            SELECT {", ".join(there)}
            FROM read_parquet(?::JSON::VARCHAR[], hive_partitioning = false)
        )
        """,
        [json_array(lake.settings.uri(file.key) for file in files)],
    )
    return {column: count for column, count in zip(checked, counts, strict=True) if count}


def _loss(column: Column, kind: DuckDBPyType, count: int) -> str:
    said = (
        f"column {column.source} is {kind}, arriving as {column.arriving}, "
        f"and {count} values would change"
    )
    has_bytes = holds(column.arriving, lambda inner: inner.id == "blob")
    return f"{said}: bytes that are not UTF-8 text" if has_bytes else said


def _copy(
    lake: Lake,
    stream: Stream,
    footer: Footer,
    targets: Mapping[Column, DuckDBPyType],
    casts: Mapping[Column, DuckDBPyType],
    reason: str,
) -> Outcome:
    file, target = footer.file, copy_uri(lake, stream, footer.file)
    selected = [
        cast(identifier(column.source), column.arriving, casts.get(column, column.arriving))
        + f" AS {identifier(column.name)}"
        for column in targets
    ]

    def write(some: Sequence[PendingFile]) -> list[PendingFile]:
        source = literal(lake.settings.uri(some[0].key))
        lake.con.execute(
            f"COPY (SELECT {', '.join(selected)} FROM read_parquet({source}, "
            f"hive_partitioning = false)) TO {literal(target)} (FORMAT parquet)"
        )
        return [file]

    _, bad = isolate(lake, [file], write)
    if bad:
        return bad[0]
    changes = [
        f"{column.source} {column.arriving} as "
        + (f"{column.name} {kind}" if column.name != column.source else str(kind))
        for column, kind in casts.items()
    ]
    said = ", ".join([reason, *changes] if reason else changes)
    note = f"landed as a copy: {said}" if said else None
    return Outcome(file, "copied", footer.row_count, note, data_file=target)
