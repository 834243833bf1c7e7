"""Lakes, streams and files for the benchmarks."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.store import BUCKET, Store
from lotus_lake.bucket.keys import partition_path
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.lake.connection import open_lake
from lotus_lake.sql import literal
from tests.servers import PostgresServer, run_postgres

SOURCE, STREAM = "shop", "orders"
PREFIX = f"raw/{SOURCE}/{STREAM}/"
LAST_DAY = date(2026, 3, 10)
EXTRACTED_AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
SQLITE, POSTGRES = "SQLite", "Postgres"
FIELDS: dict[str, Any] = {
    "id": {"type": "integer"},
    "customer_id": {"type": "integer"},
    "status": {"type": "string"},
    "amount": {"type": "number"},
    "note": {"type": "string"},
    "updated_at": {"type": "string", "format": "date-time"},
}

_numbers = itertools.count()


def write_stream(folder: Path, **options: Any) -> Path:
    """Write the config of the stream that most benchmarks feed; returns the folder of streams."""
    file = folder / "streams" / SOURCE / f"{STREAM}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "stream": STREAM,
        "primary_key": [["id"]],
        "cursor_field": ["updated_at"],
        "fields": FIELDS,
        "feeder": options,
    }
    file.write_text(json.dumps(document))
    return folder / "streams"


def environment(
    folder: Path, store: Store, streams: Path, postgres: PostgresServer | None = None
) -> dict[str, str]:
    """Variables of a lake of its own, on a SQLite catalog or in a database of a server."""
    number = next(_numbers)
    catalog = (
        f"postgres:{postgres.create_database(f'lake_{number}')}"
        if postgres
        else f"sqlite:{folder / f'lake_{number}.sqlite'}"
    )
    return {
        "LAKE_PROJECT_DIR": str(folder),
        "LAKE_CATALOG": catalog,
        "LAKE_DATA_PATH": str(folder / f"data_{number}"),
        "LAKE_RAW_URI": f"s3://{BUCKET}/raw",
        "LAKE_STREAMS_DIR": str(streams),
        "LAKE_TEMP_DIR": str(folder / "tmp"),
        **store.environment(),
    }


@contextlib.contextmanager
def catalogs() -> Iterator[dict[str, PostgresServer | None]]:
    """Both kinds of catalog, with the server that the second one needs."""
    with run_postgres() as server:
        yield {SQLITE: None, POSTGRES: server}


def stream() -> Stream:
    """The stream, as the environment of this process has it."""
    return find_stream(Settings.from_env().streams_dir, SOURCE, STREAM)


def prepare() -> None:
    """What `lotus-lake init` does: ledger, guard, landing table, and indexes in Postgres."""
    from lotus_lake.lake.database import create_indexes
    from lotus_lake.repair import initialise

    with open_lake(Settings.from_env()) as lake:
        initialise.prepare(lake, stream())
        create_indexes(lake)


def write_file(file: Path, rows: int = 200, first_id: int = 0) -> Path:
    """Write one of Airbyte's files: rows of the stream with ids from `first_id` on."""
    with duckdb.connect() as con:
        con.execute(f"COPY ({rows_query(first_id, rows)}) TO {literal(str(file))}")
    return file


def rows_query(
    first_id: int, rows: int, every: int = 1, extracted_at: datetime = EXTRACTED_AT
) -> str:
    """Query of rows as Airbyte sends them, in its order of columns."""
    stamp = literal(extracted_at.isoformat())
    return f"""
        SELECT uuid()::VARCHAR AS _airbyte_raw_id, TIMESTAMPTZ {stamp} AS _airbyte_extracted_at,
            {{'sync_id': 1::BIGINT,
              'changes': []::STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[]}}
              AS _airbyte_meta,
            0::BIGINT AS _airbyte_generation_id,
            {first_id} + number * {every} AS id, (hash(number) % 100000)::BIGINT AS customer_id,
            ['paid', 'pending', 'refunded'][(hash(number, 1) % 3)::BIGINT + 1] AS status,
            (hash(number, 2) % 100000)::DOUBLE / 100 AS amount,
            md5(number::VARCHAR)[:8] AS note,
            TIMESTAMPTZ {stamp} - INTERVAL 1 HOUR AS updated_at
        FROM range({rows}) AS numbers(number)"""


def keys_of_days(count: int, per_day: int, last_day: date = LAST_DAY) -> list[str]:
    """Keys of files, `per_day` a day, the newest on the last day."""
    keys = []
    for number in range(count):
        day = last_day - timedelta(days=number // per_day)
        keys.append(f"{PREFIX}{partition_path(day)}/part_{number % per_day}.parquet")
    return keys


def objects_of_days(count: int, per_day: int, file: str) -> dict[str, str]:
    """The same as objects that all have the bytes of one file."""
    return dict.fromkeys(keys_of_days(count, per_day), file)
