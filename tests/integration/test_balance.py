"""Rows of the files = rows landed + rows known not to land; what is not so is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest

from lotus_lake.config.streams import StreamFile
from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.observe.balance import (
    StreamBalance,
    SyncBalance,
    read_balance,
    read_unbalanced,
)
from lotus_lake.project.manifest import built_models
from lotus_lake.repair.reconcile import reconcile
from tests.catalogs import on_sqlite
from tests.consuming import consume, write_manifest
from tests.feeds import DAY, SHAPE, Feed, some_rows

MODEL = "int_shop__orders"
SYNCED = {**SHAPE, "_airbyte_meta": pa.struct({"sync_id": pa.int64()})}


def balance(feed: Feed, lake: Lake, *, read: bool = False) -> StreamBalance:
    return read_balance(lake, feed.stream, built_models(feed.settings.project_dir), read=read)


@pytest.fixture
def fed(feed: Feed, lake: Lake) -> Feed:
    """Two landed files, an empty one, a bad one, and one that waits."""
    feed.put("part_0.parquet", 3)
    feed.put("part_1.parquet", 4, day=DAY + timedelta(days=1))
    feed.put("empty.parquet", 0)
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.run(lake)
    feed.put("part_2.parquet", 5)
    feed.list_files(lake)
    return feed


@pytest.mark.parametrize("read", [False, True])
def test_every_file_is_somewhere_and_every_row_is_in_the_table(
    fed: Feed, lake: Lake, read: bool
) -> None:
    found = balance(fed, lake, read=read)
    assert {event.event: event.files for event in found.events} == {
        "registered": 2, "empty": 1, "quarantined": 1, "discovered": 1,
    }  # fmt: skip
    assert (found.files, found.ledger_rows, found.table_rows) == (5, 7, 7)
    assert found.problems == ()


@on_sqlite
def test_rows_that_somebody_deleted_are_named_by_their_file(fed: Feed, lake: Lake) -> None:
    lake.con.execute(f"DELETE FROM {STAGING}.{fed.stream.landing_table} WHERE id = 3")
    found = balance(fed, lake)
    (difference,) = found.differences
    assert difference.key == fed.key("part_1.parquet", DAY + timedelta(days=1))
    assert (difference.ledger_rows, difference.table_rows) == (4, 3)
    assert "1 file with other rows in the lake than in the ledger" in found.problems


@on_sqlite
def test_a_file_that_the_table_has_lost_and_one_that_nobody_knows(fed: Feed, lake: Lake) -> None:
    lake.con.execute(f"DELETE FROM {META}.file_events WHERE key = ?", [fed.key("part_0.parquet")])
    found = balance(fed, lake)
    assert found.unknown_files == 1
    assert "1 registration unknown to the ledger" in found.problems


@on_sqlite
def test_an_object_that_is_gone_is_out_of_balance_until_its_rows_are_taken_out(
    fed: Feed, lake: Lake
) -> None:
    key = fed.key("part_0.parquet")
    fed.client.delete_object(Bucket=fed.settings.bucket, Key=key)
    reconcile(lake, fed.stream, fed.client, "reconcile")
    assert [file.key for file in balance(fed, lake).differences] == [key]
    reconcile(lake, fed.stream, fed.client, "reconcile", repair=True)
    assert balance(fed, lake).problems == ()


def test_streams_out_of_balance_are_found_among_all_without_a_query_for_each(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    streams = []
    for name in ("orders", "lines", "customers", "refunds", "products"):
        feed = make_feed(name)
        streams.append(feed.stream)
        if name != "products":
            feed.put("part_0.parquet", 3)
            feed.put("part_1.parquet", 4)
            feed.put("empty.parquet", 0)
            feed.put_bytes("broken.parquet", b"x" * 99)
            feed.run(lake)
        if name == "customers":
            gone, replaced = feed, make_feed("customers")
    assert read_unbalanced(lake, streams) == {}
    lake.con.execute(f"DELETE FROM {STAGING}.stg_shop__orders WHERE id = 3")
    lake.con.execute(
        f"DELETE FROM {META}.file_events WHERE stream = 'lines' AND key LIKE '%/part_0.parquet'"
    )
    # The ledger knows of these: they are missing, or have another content that has not landed.
    gone.client.delete_object(Bucket=gone.settings.bucket, Key=gone.key("part_0.parquet"))
    reconcile(lake, gone.stream, gone.client, "reconcile")
    replaced.put("part_1.parquet", 5)
    assert replaced.list_files(lake).quarantined == 1
    assert read_unbalanced(lake, streams) == {
        "shop/lines": "1 registration unknown to the ledger",
        "shop/orders": "1 file with other rows in the lake than in the ledger",
    }


@on_sqlite
def test_syncs_are_counted_in_the_files(feed: Feed, lake: Lake) -> None:
    for part, (sync_id, count) in enumerate(((7, 3), (7, 2), (9, 4))):
        rows = [{**row, "_airbyte_meta": {"sync_id": sync_id}} for row in some_rows(count)]
        feed.put(f"part_{part}.parquet", rows, shape=SYNCED)
    feed.put("old.parquet", 1)
    feed.run(lake)
    assert balance(feed, lake).syncs == ()
    found = balance(feed, lake, read=True)
    assert found.syncs == (SyncBalance(9, 1, 4), SyncBalance(7, 2, 5), SyncBalance(None, 1, 1))


@on_sqlite
def test_processed_keys_are_those_that_have_landed(feed: Feed, lake: Lake) -> None:
    write_manifest(feed.settings, (MODEL, feed.stream.id), unique_key="order_id")
    feed.put("part_0.parquet", 3)
    feed.put("again.parquet", 3)  # other versions of the same records
    feed.run(lake)
    table = f"{LAKE}.main.{MODEL}"
    lake.con.execute(
        f"CREATE TABLE {table} AS SELECT DISTINCT id AS order_id "
        f"FROM {STAGING}.{feed.stream.landing_table}"
    )
    consume(feed, lake, MODEL)
    (model,) = balance(feed, lake, read=True).models
    assert (model.rows, model.keys, model.landed_keys, model.problem) == (3, 3, 3, None)

    feed.put("later.parquet", 5)  # not read by the model yet, and so no loss
    feed.run(lake)
    assert balance(feed, lake, read=True).problems == ()

    lake.con.execute(f"INSERT INTO {table} VALUES (2)")
    assert balance(feed, lake, read=True).problems == (f"{MODEL} has 4 rows and 3 keys",)
    lake.con.execute(f"DELETE FROM {table} WHERE order_id = 2")
    assert balance(feed, lake, read=True).problems == (f"{MODEL} has 2 keys; 3 have landed",)
    lake.con.execute(
        f"CREATE TABLE {META}.kept_out_{MODEL} AS "
        "SELECT unnest([2, NULL]) AS order_id, unnest(['deleted', 'no key']) AS _lake_reason"
    )
    (model,) = balance(feed, lake, read=True).models
    assert (model.kept_out, model.problem) == ({"deleted": 1, "no key": 1}, None)


@on_sqlite
def test_a_stream_that_was_never_fed_balances(feed: Feed, lake: Lake) -> None:
    assert balance(feed, lake) == StreamBalance("shop/orders")
    assert StreamFile(feed.settings.streams_dir / "shop" / "orders.json").load() == feed.stream
