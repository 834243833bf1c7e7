"""The report of sizes and growth, and the statistics of the catalog."""

from __future__ import annotations

from datetime import timedelta

from lotus_lake.lake.database import refresh_statistics
from lotus_lake.lake.session import META, METADATA, STAGING, Lake
from lotus_lake.upkeep.sizes import TableSize, read_sizes, record_sizes
from tests.feeds import Feed
from tests.integration.test_compaction import INSERTS, ROWS, live_files, make_table


def size_of(lake: Lake, table: str) -> TableSize:
    [found] = [size for size in read_sizes(lake).tables if size.table == table]
    return found


def record_earlier(lake: Lake, by: timedelta) -> None:
    """A report of some time ago."""
    record_sizes(lake, read_sizes(lake).tables)
    lake.con.execute(
        f"UPDATE {META}.table_sizes SET recorded_at = recorded_at - "
        f"INTERVAL {int(by.total_seconds())} SECOND"
    )


def test_sizes_are_what_a_reader_counts(feed: Feed, lake: Lake) -> None:
    feed.put()
    feed.run(lake)
    table = make_table(lake)
    lake.con.execute(f"DELETE FROM {table} WHERE id % 2 = 0")
    lake.con.execute(f"DELETE FROM {table} WHERE id = 1")  # kept in the catalog
    lake.con.execute(f"INSERT INTO {table} VALUES (-1, -1, 'in the catalog')")
    found = size_of(lake, "main.events")
    assert found.rows == lake.value(f"SELECT count(*) FROM {table}") == ROWS * INSERTS // 2
    assert (found.files, found.delete_files) == (INSERTS, INSERTS)
    assert found.deleted_rows == ROWS * INSERTS // 2 + 1
    assert found.catalog_rows == 1
    landing = size_of(lake, f"staging.{feed.stream.landing_table}")
    assert landing.rows == lake.value(f"SELECT count(*) FROM {STAGING}.{feed.stream.landing_table}")
    assert landing.files == len(live_files(lake, feed.stream.landing_table))
    size = read_sizes(lake)
    assert size.snapshots == lake.value(f"SELECT count(*) FROM {METADATA}.ducklake_snapshot")
    assert size.catalog_bytes > 10_000
    assert size.totals()["tables"] == len(size.tables)


def test_growth_is_told_against_the_day_before_however_often_it_is_reported(lake: Lake) -> None:
    table = make_table(lake)
    assert size_of(lake, "main.events").new_rows is None
    record_earlier(lake, timedelta(days=3))
    lake.con.execute(f"INSERT INTO {table} SELECT range, 0, 'new' FROM range(100)")
    record_earlier(lake, timedelta(days=1))  # the first report is four days old now
    lake.con.execute(f"INSERT INTO {table} SELECT range, 0, 'newer' FROM range(50)")
    for _ in range(2):
        found = size_of(lake, "main.events")
        assert found.new_rows == 50
        assert found.new_bytes is not None
        assert found.new_bytes > 0
        record_sizes(lake, read_sizes(lake).tables)


def test_the_catalogs_database_looks_at_its_tables(lake: Lake) -> None:
    make_table(lake)
    refresh_statistics(lake)
    if lake.settings.catalog.kind == "postgres":
        [(rows,)] = lake.metadata_rows(
            "SELECT reltuples::bigint FROM pg_class WHERE relname = 'ducklake_data_file'"
        )
        assert rows == INSERTS
    assert lake.value("SELECT count(*) FROM lakehouse.main.events") == ROWS * INSERTS
