"""Disk and memory run out: nothing is half done, no file is blamed, and the next run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from lotus_lake.config.settings import Settings
from lotus_lake.errors import ResourcesExhaustedError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.repair.quarantine import retry
from tests.catalogs import on_sqlite
from tests.feeds import Feed
from tests.refusing import everything_lands, put_misfit, refused, unchanged
from tests.small_disk import SmallDisk

pytestmark = on_sqlite

# The disk


def test_a_full_disk_of_the_catalog_is_told_from_a_broken_catalog(
    environment: dict[str, str], make_feed: Callable[..., Feed], disk: SmallDisk
) -> None:
    path = disk.folder / "catalog.sqlite"
    settings = Settings.from_env(environment | {"LAKE_CATALOG": f"sqlite:{path}"})
    feed = dataclasses.replace(make_feed(), settings=settings)
    feed.put("part_0.parquet")
    words = ("the disk is full", str(disk.folder), "LAKE_DATA_PATH and the catalog")
    with disk.full(), refused(ResourcesExhaustedError, *words), open_lake(settings):
        pass
    feed.run_afresh()
    feed.put("part_1.parquet")
    with open_lake(settings) as lake:
        feed.list_files(lake)
        (batch,) = plan_batches(lake, feed.stream)
    with unchanged(feed):
        for read_only in (False, True):
            with (
                disk.full(),
                refused(ResourcesExhaustedError, *words),
                open_lake(settings, read_only=read_only),
            ):
                pass
        for use in (
            lambda lake: feed.list_files(lake),
            lambda lake: register_batch(lake, feed.stream, batch, "run"),
        ):
            with (
                contextlib.ExitStack() as filled,
                refused(ResourcesExhaustedError, *words),
                open_lake(settings) as lake,
            ):
                filled.enter_context(disk.full())
                use(lake)
    everything_lands(feed)


def test_a_full_disk_of_the_data_path_quarantines_no_copy(
    environment: dict[str, str], make_feed: Callable[..., Feed], disk: SmallDisk
) -> None:
    data_path = f"{disk.folder}/data"
    settings = Settings.from_env(environment | {"LAKE_DATA_PATH": data_path})
    feed = dataclasses.replace(make_feed(), settings=settings)
    feed.put("part_0.parquet")
    feed.run_afresh()
    put_misfit(feed)
    with open_lake(settings) as lake:
        feed.list_files(lake)
    with (
        unchanged(feed),
        disk.full(),
        refused(ResourcesExhaustedError, "the disk is full", data_path, "LAKE_DATA_PATH"),
    ):
        feed.run_afresh()
    everything_lands(feed)


def test_a_full_disk_of_temporary_files_is_named(
    environment: dict[str, str], disk: SmallDisk
) -> None:
    settings = Settings.from_env(
        environment | {"LAKE_TEMP_DIR": f"{disk.folder}/tmp", "LAKE_MEMORY_LIMIT": "60MB"}
    )
    with (
        refused(ResourcesExhaustedError, "temporary files is full", "LAKE_TEMP_DIR"),
        open_lake(settings) as lake,
    ):
        lake.rows(
            "SELECT repeat(md5(i::VARCHAR), 20) AS text FROM range(1000000) AS numbers(i) "
            "ORDER BY text LIMIT 1 OFFSET 900000"
        )


# The memory


def large_file() -> bytes:
    """A file whose only row group takes 40 MB to decode, of no width that compresses."""
    count = 20_000
    rows = pa.table(
        {
            "_airbyte_raw_id": [str(number) for number in range(count)],
            "id": list(range(count)),
            "status": [os.urandom(1000).hex() for _ in range(count)],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd", row_group_size=count)
    return buffer.getvalue()


def test_a_memory_limit_that_is_too_low_for_anything_quarantines_nothing(half_fed: Feed) -> None:
    tight = dataclasses.replace(half_fed.settings, memory_limit="1MB")
    with (
        unchanged(half_fed),
        refused(ResourcesExhaustedError, "out of memory", "LAKE_MEMORY_LIMIT"),
        open_lake(tight) as lake,
    ):
        half_fed.run(lake)
    everything_lands(half_fed)


def test_a_file_that_needs_more_memory_than_there_is_waits_for_more(half_fed: Feed) -> None:
    key = half_fed.put_bytes("part_2.parquet", large_file())
    half_fed.sent[key] = [str(number) for number in range(20_000)]
    with open_lake(dataclasses.replace(half_fed.settings, memory_limit="24MB")) as lake:
        assert half_fed.run(lake).total.registered == 1
        assert "more memory than LAKE_MEMORY_LIMIT=24MB" in half_fed.errors(lake)[key]
    with open_lake(half_fed.settings) as lake:
        assert retry(lake, half_fed.stream, [key], "retry") == 1
    everything_lands(half_fed)
