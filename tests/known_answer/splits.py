"""TPC-H's tables as Airbyte would send them: many syncs, old versions, repeats, broken files.

Every row of every table goes into Parquet files, some more than once. What becomes of a row is
decided by a hash of its key, its fate, so that the files hold the same rows each time:

* Its true version is sent by one of the syncs.
* Every fourth row has an old version, with other values in every column but the key. It is sent by
  an earlier sync, or by the same one: then both have the same `_airbyte_extracted_at`, and only
  `updated_at` tells which is newer.
* Every eighth version is sent again, with another `_airbyte_raw_id`: by the same sync, or, if it
  is the true one, by that or any later sync.

Two files of the orders must not matter: one has no rows; the other one has a wrong, newer version
of each of them, but its end is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import duckdb

from lotus_lake.bucket.keys import partition_path
from lotus_lake.sql import identifier, literal
from tests.known_answer.tpch import ORDERS, SOURCE, TABLES, Table, Truth, columns

# The first two share a day, and so a folder.
SYNCS = tuple(
    datetime(2026, 3, day, hour, tzinfo=UTC)
    for day, hour in ((1, 6), (1, 18), (3, 6), (4, 6), (8, 6), (12, 6))
)
# Raw files of the first days are retired while others of these days are still to arrive.
FEEDER = {"batch_files": 8, "retention_days": 5}

_FIELDS = {
    "BIGINT": {"type": "integer"},
    "INTEGER": {"type": "integer"},
    "DECIMAL": {"type": "number"},
    "VARCHAR": {"type": "string"},
    "DATE": {"type": "string", "format": "date"},
}
_SENT_AS = {"INTEGER": "BIGINT", "DECIMAL": "DOUBLE"}
_OTHER_VALUE = {"VARCHAR": "'~' || {}", "DATE": "{} + 7"}


@dataclass(frozen=True, slots=True)
class SplitFile:
    """A file that is to arrive.

    Attributes:
        table: Name of its table.
        day: The day of its sync.
        name: Its name in the folder of that day.
        path: Where it lies until then.
        row_count: Rows that it brings to the lake.
        event: What the ledger has to say of it in the end.
    """

    table: str
    day: date
    name: str
    path: Path
    row_count: int
    event: str = "registered"

    @property
    def key(self) -> str:
        """Its key below the raw prefix."""
        return f"{SOURCE}/{self.table}/{partition_path(self.day)}/{self.name}"


def write_streams(truth: Truth, streams_dir: Path) -> None:
    """Write the stream JSON of every table."""
    folder = streams_dir / SOURCE
    folder.mkdir(parents=True)
    with truth.connect() as con:
        for table in TABLES:
            fields = {name: _FIELDS[kind] for name, kind in columns(con, table.name).items()}
            document = {
                "stream": table.name,
                "primary_key": [[name] for name in table.key],
                "cursor_field": ["updated_at"],
                "fields": {**fields, "updated_at": {"type": "string", "format": "date-time"}},
                "feeder": FEEDER,
            }
            (folder / f"{table.name}.json").write_text(json.dumps(document))


def split(truth: Truth, folder: Path) -> list[SplitFile]:
    """Write the files, which are returned in order of table, sync and part."""
    files: list[SplitFile] = []
    with truth.connect() as con:
        for table in TABLES:
            con.execute(
                f"COPY ({_sent(con, table)}) TO {literal(str(folder / table.name))} "
                "(FORMAT parquet, PARTITION_BY (sync, part))"
            )
            files += _parts(con, table, folder / table.name)
        return [*files, _empty_file(con, folder), _cut_file(con, folder)]


def shuffled_waves(files: Sequence[SplitFile], count: int, seed: int) -> list[list[SplitFile]]:
    """The files in a random order, cut into waves of arrival."""
    shuffled = Random(seed).sample(files, len(files))
    return [shuffled[number::count] for number in range(count)]


def late_files(wave: Sequence[SplitFile], earlier: Sequence[SplitFile]) -> list[SplitFile]:
    """Files of a wave that are of an older day than one of their stream that was there before."""
    newest: dict[str, date] = {}
    for file in earlier:
        newest[file.table] = max(file.day, newest.get(file.table, file.day))
    return [file for file in wave if file.day < newest.get(file.table, file.day)]


def _sent(con: duckdb.DuckDBPyConnection, table: Table) -> str:
    """Query of all versions, as often as they are sent, each with its `sync` and `part`."""
    key = ", ".join(identifier(name) for name in table.key)
    count = len(SYNCS)
    return f"""
        WITH fated AS (
            SELECT *, (hash({key}) >> 1)::BIGINT AS fate, fate % {count} AS true_sync
            FROM {identifier(table.name)}
        ),
        versions AS (
            SELECT *, true_sync AS sync, false AS is_old FROM fated
            UNION ALL
            SELECT *, (fate >> 16) % (true_sync + 1), true FROM fated WHERE (fate >> 8) % 4 = 0
        ),
        sendings AS (
            SELECT *, false AS is_repeat FROM versions
            UNION ALL
            SELECT
                * REPLACE (if(is_old, sync, sync + (fate >> 32) % ({count} - sync)) AS sync), true
            FROM versions WHERE hash(fate, is_old) % 8 = 0
        ),
        timed AS (
            SELECT *, hash(fate, is_old, is_repeat) AS lot, lot % {table.parts} AS part,
                {_times(SYNCS)} AS times, to_milliseconds((fate >> 24) % 60000) AS moment
            FROM sendings
        )
        SELECT {_airbyte_columns(con, table)}, sync, part FROM timed"""


def _airbyte_columns(con: duckdb.DuckDBPyConnection, table: Table) -> str:
    """A file's columns in Airbyte's order: its own ones, then the shorter names first."""
    own = {
        "_airbyte_raw_id": "md5(concat_ws('-', lot, sync))::UUID::VARCHAR",
        "_airbyte_extracted_at": "times[sync + 1] + moment",
        "_airbyte_meta": "{'sync_id': sync::BIGINT, "
        "'changes': []::STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[]}",
        "_airbyte_generation_id": "0::BIGINT",
    }
    fields = {
        name: _sent_value(name, kind, changes=name not in table.key)
        for name, kind in columns(con, table.name).items()
    } | {"updated_at": "times[true_sync + 1] - INTERVAL 1 HOUR - to_days(is_old::INTEGER)"}
    ordered = own | {name: fields[name] for name in sorted(fields, key=lambda n: (len(n), n))}
    return ", ".join(f"{value} AS {identifier(name)}" for name, value in ordered.items())


def _sent_value(name: str, kind: str, *, changes: bool) -> str:
    value = identifier(name)
    if changes:
        value = f"if(is_old, {_OTHER_VALUE.get(kind, '{} + 1').format(value)}, {value})"
    return f"({value})::{_SENT_AS.get(kind, kind)}"


def _times(syncs: Sequence[datetime]) -> str:
    return f"[{', '.join(f'timestamptz {literal(sync.isoformat())}' for sync in syncs)}]"


def _parts(con: duckdb.DuckDBPyConnection, table: Table, folder: Path) -> Iterator[SplitFile]:
    """The files of a table; part numbers go on within a day, as Airbyte's do."""
    numbers: dict[date, int] = {}
    for number, sync in enumerate(SYNCS):
        for path in sorted(folder.glob(f"sync={number}/part=*/*.parquet")):
            part = numbers[sync.date()] = numbers.get(sync.date(), -1) + 1
            row = con.execute(
                "SELECT num_rows FROM parquet_file_metadata(?)", [str(path)]
            ).fetchone()
            assert row
            yield SplitFile(table.name, sync.date(), f"part_{part}.parquet", path, row[0])


def _empty_file(con: duckdb.DuckDBPyConnection, folder: Path) -> SplitFile:
    path = folder / "empty.parquet"
    _write_newer_orders(con, path, "false")
    return SplitFile(ORDERS.name, SYNCS[2].date(), "part_70.parquet", path, 0, "empty")


def _cut_file(con: duckdb.DuckDBPyConnection, folder: Path) -> SplitFile:
    path = folder / "cut.parquet"
    _write_newer_orders(con, path, "true")
    path.write_bytes(path.read_bytes()[:-100])
    return SplitFile(ORDERS.name, SYNCS[-1].date(), "part_80.parquet", path, 0, "quarantined")


def _write_newer_orders(con: duckdb.DuckDBPyConnection, path: Path, condition: str) -> None:
    """Write wrong orders that are newer than every sync."""
    con.execute(
        f"COPY (SELECT {_airbyte_columns(con, ORDERS)} FROM (SELECT *, o_orderkey AS lot, "
        f"{_times([SYNCS[-1] + timedelta(days=1)])} AS times, INTERVAL 0 SECONDS AS moment, "
        f"true AS is_old, 0 AS sync, 0 AS true_sync FROM orders WHERE {condition})) "
        f"TO {literal(str(path))} (FORMAT parquet)"
    )
