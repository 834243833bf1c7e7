"""A lake through the days: feeder, models and, in one of two branches, upkeep.

The models are this repository's own, rendered without dbt (a process of dbt takes longer than all
that happens in an hour); feeder and upkeep are the library's.
"""

from __future__ import annotations

import re
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.list import list_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.database import refresh_statistics
from lotus_lake.lake.session import LAKE, METADATA, Lake
from lotus_lake.upkeep.compaction import compact
from lotus_lake.upkeep.expiry import untouchable_since, upkeep
from lotus_lake.upkeep.orphans import schedule_orphans
from lotus_lake.upkeep.sizes import read_sizes, record_sizes
from tests.consuming import age
from tests.pipeline.driver import feed_stream
from tests.property import processed
from tests.simulation.shop import STREAMS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KEYS = {"orders": "order_id", "order_refunds": "refund_id"}
_MODELS = processed.PROJECT / "models"
_FCT = re.sub(
    r"\{\{ ref\('(\w+)'\) \}\}",
    rf"{LAKE}.main.\1",
    (_MODELS / "enriched" / "sales" / "fct_sales.sql").read_text(encoding="utf-8"),
)
# What a dashboard asks, and what a model of a later layer reads.
QUERIES = {
    "fct_sales": "SELECT date_trunc('month', order_date), financial_status, count(*), "
    f"sum(total_sales) FROM {LAKE}.main.fct_sales GROUP BY ALL",
    "int_orders": "SELECT date_trunc('month', order_date), financial_status, count(*), "
    f"sum(gross_sales) FROM {LAKE}.main.int_shopify__orders GROUP BY ALL",
}
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Day:
    """What was measured at the end of a day.

    Attributes:
        day: Counted from 1.
        query_ms: Milliseconds of CPU of each query, the median of several.
        poll_ms: The same of a poll that finds nothing.
        poll_requests: Requests to the object store of that poll.
        files: Live data files and delete files of each table that is read.
        snapshots: Snapshots in the catalog.
        disk_bytes: Everything under `LAKE_DATA_PATH`.
        raw_objects: Objects under the raw prefix.
        catalog_bytes: The catalog.
        inlined_rows: Rows in the catalog, of all tables.
        upkeep_seconds: How long upkeep took.
    """

    day: int
    query_ms: dict[str, float]
    poll_ms: float
    poll_requests: int
    files: dict[str, int]
    snapshots: int
    disk_bytes: int
    raw_objects: int
    catalog_bytes: int
    inlined_rows: int
    upkeep_seconds: float


@dataclass
class Branch:
    """One lake. Use as a context manager.

    Attributes:
        settings: Where it is.
        client: The bucket.
        has_upkeep: Whether upkeep runs every day.
        days: What was measured.
    """

    settings: Settings
    client: S3Client
    has_upkeep: bool
    days: list[Day] = field(default_factory=list)

    def __enter__(self) -> Branch:
        self._stack = ExitStack()
        self.lake = self._stack.enter_context(open_lake(self.settings))
        self.streams = [find_stream(self.settings.streams_dir, "shopify", n) for n in STREAMS]
        self.requests = 0
        self.client.meta.events.register("before-send.s3", self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sync(self, files: dict[str, bytes]) -> None:
        """An hour: files arrive, are fed, and the models are brought up to date."""
        for key, body in files.items():
            self.client.put_object(
                Bucket=self.settings.bucket, Key=self.settings.raw_prefix + key, Body=body
            )
        for stream in self.streams:
            if not any(key.startswith(f"shopify/{stream.name}/") for key in files):
                continue
            feed_stream(self.lake, stream, self.client)
            path = _MODELS / "processed" / "shopify" / f"int_{stream.id}.sql"
            processed.process(
                self.lake, stream, path.read_text(encoding="utf-8"), _KEYS[stream.name]
            )
        self.lake.commit("build fct_sales", self._build)

    def end_day(self) -> None:
        """A day passes: upkeep, and a look at everything."""
        age(self.lake, timedelta(days=1))
        started = time.perf_counter()
        if self.has_upkeep:
            upkeep(self.lake)
            compact(self.lake)
            schedule_orphans(self.lake, untouchable_since(self.lake))
            refresh_statistics(self.lake)
            record_sizes(self.lake, read_sizes(self.lake).tables)
        seconds = time.perf_counter() - started
        self.days.append(self._measure(seconds))

    def rows(self) -> list[tuple[int, int, int]]:
        """Order, gross sales and returns of every row of `fct_sales`."""
        return self.lake.rows(
            "SELECT order_id, gross_sales::BIGINT, returns::BIGINT "
            f"FROM {LAKE}.main.fct_sales ORDER BY ALL"
        )

    def registered(self) -> list[str]:
        """Addresses of the live files of the landing tables."""
        return [
            path
            for (path,) in self.lake.rows(
                f"SELECT files.path FROM {METADATA}.ducklake_data_file AS files "
                f"JOIN {METADATA}.ducklake_table AS tables USING (table_id) "
                "WHERE files.end_snapshot IS NULL AND tables.table_name LIKE 'stg_%'"
            )
        ]

    def _build(self) -> None:
        """What dbt does for a model that is a table."""
        exists = "fct_sales" in self.lake.tables("main")
        table = f"{LAKE}.main.fct_sales"
        self.lake.con.execute(f"CREATE TABLE {table}__dbt_tmp AS {_FCT}")
        if exists:
            self.lake.con.execute(f"DROP TABLE {table}")
        self.lake.con.execute(f"ALTER TABLE {table}__dbt_tmp RENAME TO fct_sales")

    def _measure(self, upkeep_seconds: float) -> Day:
        sizes = read_sizes(self.lake)
        read = {
            table.table: table.files + table.delete_files
            for table in sizes.tables
            if table.table.startswith(("main.", "meta.file_events"))
        }
        with open_lake(self.settings) as reader:  # with empty caches, as a new process has
            query_ms = {
                name: _cpu_ms(lambda query=query: reader.rows(query))  # type: ignore[misc]
                for name, query in QUERIES.items()
            }
            before = self.requests
            poll(reader, self.client)
            requests = self.requests - before
            poll_ms = _cpu_ms(lambda: poll(reader, self.client))
        return Day(
            day=len(self.days) + 1,
            query_ms=query_ms,
            poll_ms=poll_ms,
            poll_requests=requests,
            files=read,
            snapshots=sizes.snapshots,
            disk_bytes=_bytes_below(Path(self.settings.data_path)),
            raw_objects=len(self._objects()),
            catalog_bytes=sizes.catalog_bytes,
            inlined_rows=sum(table.catalog_rows for table in sizes.tables),
            upkeep_seconds=round(upkeep_seconds, 2),
        )

    def _objects(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.settings.bucket, Prefix=self.settings.raw_prefix
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def _count(self, **_: object) -> None:
        self.requests += 1


def poll(lake: Lake, client: S3Client) -> None:
    """A run that finds nothing, of one stream."""
    stream = find_stream(lake.settings.streams_dir, "shopify", STREAMS[0])
    assert list_files(lake, stream, client, "poll").discovered == 0
    assert plan_batches(lake, stream) == []
    assert not read_state(lake, stream, "poll", [f"int_{stream.id}"]).unprocessed


def _cpu_ms(run: object) -> float:
    """CPU is what a busy machine does not change: of all threads, the median of several runs."""
    assert callable(run)
    run()
    found = []
    for _ in range(_REPEATS):
        started = time.process_time()
        run()
        found.append((time.process_time() - started) * 1000)
    return round(statistics.median(found), 1)


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
