"""Land a file that cannot be registered as it is: a copy with casts, if they change no value.

The copy is the lake's own and lies below `LAKE_DATA_PATH`; the object stays where it is until its
day is retired. A cast is considered harmless when casting back gives the same value for every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from duckdb.sqltypes import DuckDBPyType

from lotus_lake.bucket.keys import partition_path
from lotus_lake.config.streams import Stream
from lotus_lake.failures import make_folder
from lotus_lake.feeder.footers import Footer
from lotus_lake.feeder.isolation import isolate
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.sql import identifier, literal

_NESTED = ("struct", "list", "map")


def copy_files(
    lake: Lake,
    stream: Stream,
    footers: Sequence[Footer],
    arriving: Mapping[str, DuckDBPyType],
    table: Mapping[str, DuckDBPyType],
    misfits: Sequence[str],
    reason: str = "",
) -> list[Outcome]:
    """Copy files of one shape, each on its own; those that would lose a value are quarantined.

    Args:
        lake: Open lake.
        stream: The stream.
        footers: The files.
        arriving: Their columns.
        table: Columns of the landing table; what it has not is left out.
        misfits: Columns to cast to the table's type.
        reason: Why they are copied, besides these.

    Raises:
        StorageUnavailableError: The object store failed.
    """
    known = {name.lower(): (name, kind) for name, kind in table.items()}
    casts = {name: known[name.lower()][1] for name in arriving if name in set(misfits)}
    wanted = {name: kind for name, kind in arriving.items() if name.lower() in known}
    outcomes: list[Outcome] = []
    for footer in footers:
        file = footer.file
        lost, bad = isolate(
            lake, [file], lambda some: [_lost_values(lake, some[0], arriving, casts)]
        )
        if bad:
            outcomes += bad
        elif lost[0]:
            note = "; ".join(
                f"column {name} is {casts[name]}, arriving as {arriving[name]}, "
                f"and {count} values would change"
                for name, count in lost[0].items()
            )
            outcomes.append(Outcome(file, "quarantined", note=note))
        else:
            outcomes.append(_copy(lake, stream, footer, wanted, casts, reason))
    return outcomes


def copy_uri(lake: Lake, stream: Stream, file: PendingFile) -> str:
    """A new address for a copy: never one that a catalog of the past or another feeder knows."""
    day = partition_path(file.partition_date)
    folder = f"{lake.settings.data_path}copies/{stream.source}/{stream.name}/{day}"
    if not folder.startswith("s3://"):
        make_folder(Path(folder), "LAKE_DATA_PATH")
    return f"{folder}/{uuid4().hex}.parquet"


def cast(expression: str, source: DuckDBPyType, target: DuckDBPyType) -> str:
    """SQL that casts, giving null for what cannot be cast; nested values and text meet as JSON."""
    if source.id in _NESTED and str(target) == "VARCHAR":
        return f"to_json({expression})::VARCHAR"
    if str(source) == "VARCHAR" and target.id in _NESTED:
        return f"TRY_CAST(TRY_CAST({expression} AS JSON) AS {target})"
    return f"TRY_CAST({expression} AS {target})"


def _lost_values(
    lake: Lake,
    file: PendingFile,
    arriving: Mapping[str, DuckDBPyType],
    casts: Mapping[str, DuckDBPyType],
) -> dict[str, int]:
    """How many values of each column would not survive its cast."""
    if not casts:
        return {}
    checks = []
    for name, target in casts.items():
        column, source = identifier(name), arriving[name]
        back = cast(cast(column, source, target), target, source)
        checks.append(f"count(*) FILTER ({back} IS DISTINCT FROM {column})")
    (counts,) = lake.rows(
        f"SELECT {', '.join(checks)} FROM read_parquet(?, hive_partitioning = false)",
        [lake.settings.uri(file.key)],
    )
    return {name: count for name, count in zip(casts, counts, strict=True) if count}


def _copy(
    lake: Lake,
    stream: Stream,
    footer: Footer,
    columns: Mapping[str, DuckDBPyType],
    casts: Mapping[str, DuckDBPyType],
    reason: str,
) -> Outcome:
    file, target = footer.file, copy_uri(lake, stream, footer.file)
    selected = [
        f"{cast(identifier(name), kind, casts[name])} AS {identifier(name)}"
        if name in casts
        else identifier(name)
        for name, kind in columns.items()
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
    changes = [f"{name} {columns[name]} as {kind}" for name, kind in casts.items()]
    said = ", ".join([reason, *changes] if reason else changes)
    note = f"landed as a copy: {said}" if said else None
    return Outcome(file, "copied", footer.row_count, note, data_file=target)
