"""Read every value of files before they land, and compare them with the bounds in the footers.

A file with an intact footer and a damaged body would register, and break every query that reads it.
A file whose values exceed the bounds in its footer would register, and hide rows from filters:
DuckLake copies these bounds and prunes files by them. Some writers compare text with a sign, cut
bounds within a character, or leave bounds of another file in place.

That costs one read of the bytes; on local disks, 0.14 s for 230 MB.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.feeder.footers import FOOTER_THREADS, Footer
from lotus_lake.feeder.isolation import isolate
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.sql import identifier, json_array, literal

# Files below this average size are read with as many threads as footers: they need no memory.
_SMALL_FILE_BYTES = 4_000_000
# Types of which a footer has bounds in the order of DuckDB.
_BOUNDED = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*|BOOLEAN|VARCHAR|DATE|TIME.*|UUID"
)
_FLOATS = ("FLOAT", "DOUBLE")
_FILE = "_lake_file"


def validate(
    lake: Lake, footers: Sequence[Footer], columns: Mapping[str, DuckDBPyType]
) -> tuple[list[Footer], dict[Footer, str], list[Outcome]]:
    """Decode every value of files of one shape.

    Args:
        lake: Open lake.
        footers: The files.
        columns: Their columns.

    Returns:
        Files that are fine; files whose footer misleads readers, each with the reason; and
        outcomes of files that cannot be read.

    Raises:
        StorageUnavailableError: The object store failed.
    """
    by_file = {footer.file: footer for footer in footers}
    small = sum(file.size_bytes for file in by_file) < len(by_file) * _SMALL_FILE_BYTES
    bounded = [name for name, kind in columns.items() if _BOUNDED.fullmatch(str(kind))]
    pairs = list(columns.items())
    starts = range(0, max(len(pairs), 1), _COLUMNS_AT_ONCE)
    parts = [dict(pairs[start : start + _COLUMNS_AT_ONCE]) for start in starts]
    misleading: dict[Footer, str] = {}

    def read(files: Sequence[PendingFile]) -> list[Footer]:
        wanted = {lake.settings.uri(file.key): by_file[file] for file in files}
        values: Values = {}
        for some in parts:
            values |= _read_values(lake, wanted, some, [name for name in bounded if name in some])
        claims = _read_claims(lake, list(wanted))
        for uri, name in _exceeded(lake, columns, values, claims):
            misleading[wanted[uri]] = f"the bounds of column {name} in its footer are wrong"
        return [by_file[file] for file in files]

    with lake.threads(max(FOOTER_THREADS if small else 1, lake.settings.threads)):
        found, bad = isolate(lake, list(by_file), read)
    return [footer for footer in found if footer not in misleading], misleading, bad


# Columns that are read at once: DuckDB keeps a place for the bounds of each in every thread, which
# for 2,000 columns and 32 threads is more than 2 GiB.
_COLUMNS_AT_ONCE = 250

Values = dict[tuple[str, str], tuple[str | None, str | None]]
Claims = dict[tuple[str, str], tuple[list[str], list[str]]]


def _read_values(
    lake: Lake,
    wanted: Mapping[str, Footer],
    columns: Mapping[str, DuckDBPyType],
    bounded: Sequence[str],
) -> Values:
    """Least and greatest value, as text, of each column of each file."""
    bounds = [
        f"{function}({_comparable(name, columns[name])})::VARCHAR"
        for name in bounded
        for function in ("min", "max")
    ]
    nested = [identifier(name) for name in columns if name not in bounded]
    # hash() makes DuckDB decode what has no order; a struct of all of them is hashed once.
    decoded = f"count(*) FILTER (hash([{', '.join(f'hash({n})' for n in nested)}]) = 0)"
    rows: list[Any] = lake.rows(
        f"""
        SELECT {_FILE}, count(*), {decoded if nested else "0"} {"".join(f", {b}" for b in bounds)}
        FROM read_parquet(
            ?::JSON::VARCHAR[], hive_partitioning = false, filename = {literal(_FILE)}
        ) GROUP BY {_FILE}
        """,
        [json_array(wanted)],
    )
    counts = {row[0]: row[1] for row in rows}
    for uri, footer in wanted.items():
        if counts.get(uri, 0) != footer.row_count:
            raise duckdb.InvalidInputException(
                f"{counts.get(uri, 0)} rows were read, the footer says {footer.row_count}"
            )
    return {
        (row[0], name): (row[3 + 2 * number], row[4 + 2 * number])
        for row in rows
        for number, name in enumerate(bounded)
    }


def _comparable(name: str, kind: DuckDBPyType) -> str:
    """A column without NaN, which is in no bounds."""
    column = identifier(name)
    return f"CASE WHEN NOT isnan({column}) THEN {column} END" if str(kind) in _FLOATS else column


def _read_claims(lake: Lake, uris: Sequence[str]) -> Claims:
    """The bounds in the footers, as text, of each row group; an INT96 time has none to rely on."""
    return {
        (uri, name): (lows, highs)
        for uri, name, lows, highs in lake.rows(
            """
            SELECT file_name, path_in_schema,
                   list(CASE WHEN type = 'INT96' THEN 'unknown'
                             ELSE coalesce(stats_min_value, stats_min) END),
                   list(CASE WHEN type = 'INT96' THEN 'unknown'
                             ELSE coalesce(stats_max_value, stats_max) END)
            FROM parquet_metadata(?::JSON::VARCHAR[])
            GROUP BY file_name, path_in_schema
            """,
            [json_array(uris)],
        )
    }


def _exceeded(
    lake: Lake, columns: Mapping[str, DuckDBPyType], values: Values, claims: Claims
) -> list[tuple[str, str]]:
    """Files and columns with a value outside of what the footer claims."""
    by_type: dict[str, list[list[object]]] = defaultdict(list)
    for (uri, name), (least, greatest) in values.items():
        if least is not None and (uri, name) in claims:
            by_type[str(columns[name])].append([uri, name, least, greatest, *claims[uri, name]])
    found: list[tuple[str, str]] = []
    for kind, rows in by_type.items():
        found += lake.rows(
            f"""
            SELECT uri, name FROM (
                SELECT unnest(?::JSON::VARCHAR[]) AS uri, unnest(?::JSON::VARCHAR[]) AS name,
                       unnest(?::JSON::VARCHAR[])::{kind} AS least,
                       unnest(?::JSON::VARCHAR[])::{kind} AS greatest,
                       unnest(?::JSON::VARCHAR[][]) AS lows, unnest(?::JSON::VARCHAR[][]) AS highs
            )
            WHERE len(list_filter(lows, x -> x IS NOT NULL AND TRY_CAST(x AS {kind}) IS NULL)) > 0
            OR len(list_filter(highs, x -> x IS NOT NULL AND TRY_CAST(x AS {kind}) IS NULL)) > 0
            OR list_min(list_transform(lows, x -> TRY_CAST(x AS {kind}))) > least
            OR list_max(list_transform(highs, x -> TRY_CAST(x AS {kind}))) < greatest
            """,
            [json_array(part) for part in zip(*rows, strict=True)],
        )
    return found
