"""A small stream for the tests: its config, its Parquet files, and one pass of its feeder."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from lotus_lake.bucket.keys import layout_of, partition_path
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, StreamFile
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import Listing, list_files
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, STAGING, Lake
from lotus_lake.ledger.guard import Guard, read_guard

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SOURCE = "shop"
DAY = date(2026, 3, 10)
FIELDS: dict[str, Any] = {
    "id": {"type": "integer"},
    "status": {"type": "string"},
    "amount": {"type": "number"},
    "address": {"type": "object", "properties": {"city": {"type": "string"}}},
    "lines": {
        "type": "array",
        "items": {"type": "object", "properties": {"sku": {"type": "string"}}},
    },
}
Shape = Mapping[str, pa.DataType]
SHAPE: Shape = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": pa.timestamp("ms", tz="UTC"),
    "id": pa.int64(),
    "status": pa.string(),
    "amount": pa.float64(),
    "address": pa.struct({"city": pa.string()}),
    "lines": pa.list_(pa.struct({"sku": pa.string()})),
}


def write_stream(
    streams_dir: Path,
    name: str,
    fields: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    words: Mapping[str, Any] | None = None,
) -> Stream:
    """Write a stream JSON and load it; the words are fields of it besides."""
    path = streams_dir / SOURCE / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "stream": name,
        "primary_key": [["id"]],
        "fields": fields or FIELDS,
        "feeder": options or {},
        **(words or {}),
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return StreamFile(path).load()


def some_rows(count: int) -> list[dict[str, Any]]:
    """Rows that nothing else in the world equals: each has an id of its own."""
    return [
        {
            "_airbyte_raw_id": str(uuid4()),
            "_airbyte_extracted_at": datetime(2026, 3, 10, 12, 0, tzinfo=UTC),
            "id": number,
            "status": "paid",
            "amount": 9.5,
            "address": {"city": "Łódź"},
            "lines": [{"sku": "A-1"}, {"sku": "B-2"}],
        }
        for number in range(count)
    ]


def parquet(rows: Sequence[Mapping[str, Any]], shape: Shape = SHAPE) -> bytes:
    """A Parquet file; what a row has beyond the shape is left out."""
    buffer = io.BytesIO()
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(list(shape.items())))
    pq.write_table(table, buffer)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass of the feeder did."""

    listing: Listing
    batches: tuple[Registration, ...]

    @property
    def total(self) -> Registration:
        """All batches together."""
        return sum(self.batches, Registration())


@dataclass(frozen=True, slots=True)
class Feed:
    """A stream with its bucket; remembers the row ids of each file it has put there."""

    settings: Settings
    stream: Stream
    client: S3Client
    sent: dict[str, list[str]] = field(default_factory=dict)

    def key(self, name: str, day: date = DAY) -> str:
        """Key of a file of a day."""
        return f"{layout_of(self.settings, self.stream).prefix}{partition_path(day)}/{name}"

    def put(
        self,
        name: str = "part_0.parquet",
        rows: int | Sequence[Mapping[str, Any]] = 3,
        *,
        day: date = DAY,
        shape: Shape = SHAPE,
    ) -> str:
        """Put a file of a day, or replace it; returns its key."""
        some = some_rows(rows) if isinstance(rows, int) else rows
        key = self.put_bytes(name, parquet(some, shape), day=day)
        self.sent[key] = [row["_airbyte_raw_id"] for row in some]
        return key

    def put_key(self, key: str, rows: int = 3) -> str:
        """Put a file under any key below the raw prefix; returns the key with that prefix."""
        some, key = some_rows(rows), f"{self.settings.raw_prefix}{key}"
        self.client.put_object(Bucket=self.settings.bucket, Key=key, Body=parquet(some))
        self.sent[key] = [row["_airbyte_raw_id"] for row in some]
        return key

    def put_bytes(self, name: str, data: bytes, *, day: date = DAY) -> str:
        """Put any bytes as a file of a day; returns its key."""
        key = self.key(name, day)
        self.client.put_object(Bucket=self.settings.bucket, Key=key, Body=data)
        return key

    def put_again(self, name: str, *, day: date = DAY) -> None:
        """Write an object anew with the very same bytes."""
        found = self.client.get_object(Bucket=self.settings.bucket, Key=self.key(name, day))
        self.put_bytes(name, found["Body"].read(), day=day)

    def objects(self) -> set[str]:
        """Keys in the bucket under the stream's prefix."""
        prefix = layout_of(self.settings, self.stream).prefix
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.settings.bucket, Prefix=prefix
        )
        return {item["Key"] for page in pages for item in page.get("Contents", ())}

    def list_files(self, lake: Lake, run_id: str = "run") -> Listing:
        """Task `list`."""
        return list_files(lake, self.stream, self.client, run_id)

    def run(self, lake: Lake, run_id: str = "run") -> Pass:
        """Tasks `list`, `batch` and `register`."""
        listing = self.list_files(lake, run_id)
        batches = plan_batches(lake, self.stream)
        return Pass(
            listing, tuple(register_batch(lake, self.stream, batch, run_id) for batch in batches)
        )

    def run_afresh(self, run_id: str = "run") -> Pass:
        """The same in a DuckDB of its own, as each task does: footers of others are not cached."""
        with open_lake(self.settings) as lake:
            return self.run(lake, run_id)

    def landed(self, lake: Lake) -> Counter[str]:
        """Row ids in the landing table, each with its number of rows."""
        query = f"SELECT _airbyte_raw_id FROM {STAGING}.{self.stream.landing_table}"
        return Counter(row_id for (row_id,) in lake.rows(query))

    def rows_of(self, keys: Iterable[str]) -> Counter[str]:
        """What `landed` has to be when exactly these files have landed."""
        return Counter(row_id for key in keys for row_id in self.sent[key])

    def column(self, lake: Lake, expression: str) -> list[Any]:
        """Values of an expression over the landing table, by `id`."""
        query = f"SELECT {expression} FROM {STAGING}.{self.stream.landing_table} ORDER BY id"
        return [value for (value,) in lake.rows(query)]

    def events(self, lake: Lake) -> dict[str, list[str]]:
        """Latest event of every version of each key, oldest version first."""
        found: dict[str, list[str]] = {}
        for key, event in lake.rows(
            f"SELECT key, event FROM {META}.feeder_files WHERE source = ? AND stream = ? "
            "ORDER BY key, discovered_at, version",
            [self.stream.source, self.stream.name],
        ):
            found.setdefault(key, []).append(event)
        return found

    def errors(self, lake: Lake) -> dict[str, str]:
        """What the ledger says about each key that it remarks on."""
        rows = lake.rows(
            f"SELECT key, coalesce(error, remark) AS said FROM {META}.feeder_files "
            "WHERE source = ? AND stream = ? AND said IS NOT NULL ORDER BY version",
            [self.stream.source, self.stream.name],
        )
        return dict(rows)

    def guard(self, lake: Lake) -> Guard:
        """The stream's guard row."""
        return read_guard(lake, self.stream)
