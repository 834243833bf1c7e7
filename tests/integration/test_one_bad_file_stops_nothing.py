"""Invariant 5: a bad file is isolated, kept in the ledger with its error, and the others land."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from lotus_lake.errors import StorageUnavailableError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, Lake
from lotus_lake.landing.tables import table_types
from tests.catalogs import on_sqlite
from tests.feeds import SHAPE, Feed, parquet, some_rows

pytestmark = on_sqlite

GOOD = parquet(some_rows(50))


def corrupt_footer(data: bytes) -> bytes:
    """The magic bytes are there, the footer's length is not what it says."""
    return data[:-8] + b"\xff\xff\xff\x7f" + data[-4:]


BAD = {
    "zero_bytes.parquet": (b"", "object has no bytes"),
    "a_few_bytes.parquet": (b"PAR1", "too small to be a Parquet file"),
    "half.parquet": (GOOD[: len(GOOD) // 2], "No magic bytes found"),
    "a_byte_short.parquet": (GOOD[:-1], "No magic bytes found"),
    "csv.parquet": (b"id,status\n1,paid\n" * 20, "No magic bytes found"),
    "corrupt_footer.parquet": (corrupt_footer(GOOD), "Footer length error"),
    "Connection-Timeout-SSL.parquet": (b"x" * 99, "No magic bytes found"),
    "a&b.parquet": (GOOD, "not safe to register: '&'"),
    "glob*.parquet": (GOOD, "not safe to register: '*'"),
    "glob[1].parquet": (GOOD, "not safe to register: '[' ']'"),
    "part_5.xml": (GOOD, "names no format that can be read"),
    "hour=5/part_5.parquet": (GOOD, "is not of the path format"),
}


def test_one_bad_file_stops_nothing(feed: Feed, lake: Lake) -> None:
    bad = {feed.put_bytes(name, data): error for name, (data, error) in BAD.items()}
    for name in ("0.parquet", "b.parquet", "m.parquet", "z.parquet"):
        feed.put(name)
    total = feed.run(lake).total
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert {key for key, events in feed.events(lake).items() if events == ["quarantined"]} == set(
        bad
    )
    errors = feed.errors(lake)
    assert {key: error in errors[key] for key, error in bad.items()} == dict.fromkeys(bad, True)
    state = read_state(lake, feed.stream, "run", [])
    assert (state.registered, state.quarantined, state.backlog_files) == (4, len(BAD), 0)
    # Six of them already show in the listing.
    assert total == Registration(4, 0, len(BAD) - 6, 12)


def test_many_bad_files_are_told_one_by_one(feed: Feed, lake: Lake) -> None:
    good = [feed.put(f"part_{number}.parquet") for number in range(0, 9, 2)]
    bad = [feed.put_bytes(f"part_{number}.parquet", b"x" * 99) for number in range(1, 9, 2)]
    assert feed.run(lake).total == Registration(5, 0, 4, 15)
    assert feed.landed(lake) == feed.rows_of(good)
    errors = feed.errors(lake)
    assert sorted(errors) == sorted(bad)
    assert all(key in errors[key] for key in bad)


def test_a_file_of_the_wrong_type_is_quarantined_where_nothing_is_rescued(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_type_change="quarantine")
    feed.put()
    rows = [{**row, "id": f"no. {row['id']}"} for row in some_rows(2)]
    bad = feed.put_bytes("part_1.parquet", parquet(rows, {**SHAPE, "id": pa.string()}))
    assert feed.run(lake).total == Registration(1, 0, 1, 3)
    assert feed.errors(lake)[bad] == (
        "column id is BIGINT, arriving as VARCHAR, and 2 values would change; "
        "on_type_change rescue would keep them"
    )


def damaged(data: bytes, codec: str) -> bytes:
    """The footer is fine; what it points at is not."""
    body = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return data[: body // 2] + bytes(255 - byte for byte in data[body // 2 : body]) + data[body:]


@pytest.mark.parametrize("codec", ["none", "zstd", "snappy", "gzip"])
def test_a_damaged_body_is_found_before_anybody_reads_it(
    feed: Feed, lake: Lake, codec: str
) -> None:
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(some_rows(500), schema=pa.schema(list(SHAPE.items())))
    pq.write_table(table, buffer, compression=codec, use_dictionary=False)
    bad = feed.put_bytes("part_1.parquet", damaged(buffer.getvalue(), codec))
    good = [feed.put(f"part_{number}.parquet") for number in (0, 2, 3)]
    assert feed.run(lake).total == Registration(3, 0, 1, 9)
    assert feed.events(lake)[bad] == ["quarantined"]
    assert feed.errors(lake)[bad]
    assert feed.landed(lake) == feed.rows_of(good)
    assert feed.column(lake, "status") == ["paid"] * 9


def test_a_footer_that_promises_other_rows_than_there_are_is_a_bad_file(
    feed: Feed, lake: Lake
) -> None:
    """Two row groups, of which the footer of the file says that they hold more."""
    rows = some_rows(3)
    data = parquet(rows)
    count = b"\x16\x06"  # thrift: zigzag i64 3, at the number of rows of the file
    footer = data.index(b"schema")
    place = data.index(count, footer)
    bad = feed.put_bytes("part_0.parquet", data[:place] + b"\x16\x08" + data[place + 2 :])
    good = feed.put("part_1.parquet")
    feed.run(lake)
    assert feed.events(lake) == {bad: ["quarantined"], good: ["registered"]}
    assert feed.landed(lake) == feed.rows_of([good])


def test_validation_of_footers_only_registers_what_has_one(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(validation="footer")
    key = feed.put_bytes("part_1.parquet", damaged(GOOD, "none"))
    feed.run(lake)
    assert feed.events(lake) == {key: ["registered"]}


def test_a_file_without_rows_is_known_as_empty(feed: Feed, lake: Lake) -> None:
    empty, full = feed.put("part_0.parquet", rows=0), feed.put("part_1.parquet")
    assert feed.run(lake).total == Registration(1, 1, 0, 3)
    assert feed.events(lake) == {empty: ["empty"], full: ["registered"]}
    assert feed.run(lake).listing.discovered == 0


def test_an_object_that_vanished_before_it_was_read_is_quarantined(feed: Feed, lake: Lake) -> None:
    gone, there = feed.put("part_404.parquet"), feed.put("part_1.parquet")
    feed.list_files(lake)
    feed.client.delete_object(Bucket=feed.settings.bucket, Key=gone)
    (batch,) = plan_batches(lake, feed.stream)
    assert register_batch(lake, feed.stream, batch, "run") == Registration(1, 0, 1, 3)
    assert feed.landed(lake) == feed.rows_of([there])
    assert "404" in feed.errors(lake)[gone]


# A store that fails says nothing about the files


def test_a_store_that_fails_quarantines_nothing(feed: Feed, lake: Lake) -> None:
    keys = [feed.put("part_404.parquet"), feed.put("2026_03_10_1772404000000_0.parquet")]
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)
    access = feed.settings.s3
    refused = dataclasses.replace(access, secret_access_key=SecretStr("not-the-secret"))
    nowhere = dataclasses.replace(access, endpoint_url="http://127.0.0.1:9")
    for broken, text in ((refused, "403"), (nowhere, "Could not connect")):
        with (
            open_lake(dataclasses.replace(feed.settings, s3=broken)) as cut_off,
            pytest.raises(StorageUnavailableError, match=text) as caught,
        ):
            register_batch(cut_off, feed.stream, batch, "run")
        assert "s3:GetObject" in str(caught.value.hint)
        assert "not-the-secret" not in str(caught.value)
        assert feed.events(lake) == {key: ["discovered"] for key in keys}
    assert register_batch(lake, feed.stream, batch, "run") == Registration(2, 0, 0, 6)


def test_a_listing_that_fails_is_no_empty_listing(feed: Feed, lake: Lake) -> None:
    feed.put()
    feed.run(lake)
    missing = dataclasses.replace(lake.settings, raw_uri="s3://no-such-bucket/raw")
    with pytest.raises(StorageUnavailableError, match="s3://no-such-bucket/raw/shop/orders/"):
        feed.list_files(dataclasses.replace(lake, settings=missing))


def test_what_is_quarantined_is_kept_and_not_looked_at_again(feed: Feed, lake: Lake) -> None:
    feed.put_bytes("part_0.parquet", b"x" * 99)
    feed.run(lake, "a-run")
    again = feed.run(lake, "another-run")
    assert again.batches == ()
    assert (again.listing.listed, again.listing.quarantined) == (1, 0)
    (row,) = lake.rows(
        "SELECT source, stream, event, row_count, dag_run_id, etag IS NOT NULL, size_bytes "
        f"FROM {META}.feeder_files"
    )
    assert row == ("shop", "orders", "quarantined", None, "a-run", True, 99)


def test_a_refused_file_leaves_no_column_behind(feed: Feed, lake: Lake) -> None:
    rows = [{**row, "extra": "x"} for row in some_rows(500)]
    feed.put_bytes("part_0.parquet", damaged(parquet(rows, {**SHAPE, "extra": pa.string()}), ""))
    feed.put("part_1.parquet")
    assert feed.run(lake).total == Registration(1, 0, 1, 3)
    assert "extra" not in table_types(lake, feed.stream)
