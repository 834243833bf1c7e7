"""Streams whose keys have another layout than Hive's: they land, retire and reconcile alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import list_objects
from lotus_lake.feeder.cleanup import Retirement, retire_files
from lotus_lake.feeder.list import listing_start
from lotus_lake.feeder.readiness import look_for_work
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.observe.balance import read_balance
from lotus_lake.observe.plan import plan_run
from lotus_lake.repair.quarantine import retry
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.removal import delete_objects
from lotus_lake.repair.rewind import Point, plan_rewind, rewind
from lotus_lake.upkeep.expiry import upkeep
from tests.catalogs import on_sqlite
from tests.consuming import age, consume, expire_and_clean
from tests.feeds import DAY, SHAPE, Feed, some_rows

NAMES = {"namespace": "Web Shop", "stream_name": "Order-Lines"}
# Each with the key of a file of a day, in words of strftime; all but the last name the day.
LAYOUTS = {
    "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_": (
        "Web_Shop/Order-Lines/%Y_%m_%d_%s000_{}.parquet"
    ),
    "${STREAM_NAME}_${YEAR}${MONTH}${DAY}_": "Order-Lines_%Y%m%d_{}.parquet",
    "${YEAR}/${MONTH}/${DAY}/${NAMESPACE}/${STREAM_NAME}/": (
        "%Y/%m/%d/Web_Shop/Order-Lines/{}.parquet"
    ),
    "${STREAM_NAME}/{timestamp}_{part_number}{format_extension}": "Order-Lines/%s000_{}.parquet",
    "exports/lines/dt=${YEAR}-${MONTH}-${DAY}/": "exports/lines/dt=%Y-%m-%d/{}.parquet",
}
TEXT_IDS = [{**row, "id": str(row["id"])} for row in some_rows(3)]
UNDATED = "${STREAM_NAME}/${UUID}_"


def uuid_key(number: int) -> str:
    return f"Order-Lines/0b83b2f5-93a8-4b5e-a9f4-{number:012}_0.parquet"


def put_day(feed: Feed, text: str, day: date, number: int = 0) -> str:
    at = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    return feed.put_key(at.strftime(LAYOUTS[text]).format(number))


@pytest.fixture(params=LAYOUTS)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def laid_out(make_feed: Callable[..., Feed], text: str) -> Feed:
    """A stream with a layout, whose names in Airbyte are not ours, that keeps four days."""
    return make_feed(words=NAMES, path_format=text, retention_days=4, lookback_days=6)


def test_files_land_late_ones_too_and_a_whole_day_retires(
    laid_out: Feed, lake: Lake, text: str
) -> None:
    feed = laid_out
    keys = {back: put_day(feed, text, DAY - timedelta(days=back)) for back in (0, 3, 5)}
    assert look_for_work(lake, feed.stream, feed.client, []).work is not None
    assert feed.run(lake).total.registered == 3
    assert feed.guard(lake).cursor.day == DAY
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    late = put_day(feed, text, DAY - timedelta(days=5), 10)
    assert feed.run(lake).total.registered == 1
    assert look_for_work(lake, feed.stream, feed.client, []).work is None
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run") == Retirement(days=1, files=2)
    assert feed.landed(lake) == feed.rows_of({keys[0], keys[3]})
    age(lake, timedelta(days=4))
    expire_and_clean(lake)
    left = {item.key for item in list_objects(feed.client, feed.settings.bucket, "")}
    assert left == set(feed.sent) - {keys[5], late}


@on_sqlite
def test_a_file_older_than_the_window_waits_for_reconcile(
    laid_out: Feed, lake: Lake, text: str
) -> None:
    feed = laid_out
    put_day(feed, text, DAY)
    feed.run(lake)
    assert str(listing_start(lake, feed.stream)) < put_day(feed, text, DAY - timedelta(days=6), 1)
    put_day(feed, text, DAY - timedelta(days=7), 2)
    assert feed.run(lake).total.registered == 1
    found = reconcile(lake, feed.stream, feed.client, "run")
    assert (found.late, found.missing, found.registered) == (1, 0, 1)
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert reconcile(lake, feed.stream, feed.client, "run").registered == 0


@on_sqlite
def test_going_back_to_a_file_feeds_that_and_later_ones_again(
    laid_out: Feed, lake: Lake, text: str
) -> None:
    feed = laid_out
    keys = [put_day(feed, text, DAY - timedelta(days=back)) for back in (3, 2, 1)]
    feed.run(lake)
    consume(feed, lake, "int_orders")
    plan = plan_rewind(lake, feed.stream, Point(key=keys[1]), ["int_orders"])
    assert (plan.files, plan.cursor.path) == (2, keys[0])
    assert rewind(lake, feed.stream, plan, "run", feed.client) == 2
    assert feed.run(lake).total.registered == 2
    assert feed.landed(lake) == feed.rows_of(feed.sent)


# No day in the key


@pytest.fixture
def undated(make_feed: Callable[..., Feed]) -> Feed:
    return make_feed(words=NAMES, path_format=UNDATED, retention_days=4)


def written(feed: Feed, lake: Lake, key: str, days_ago: int) -> None:
    """Have the ledger say that an object was written on an earlier day, as it would then."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    lake.con.execute(
        f"UPDATE {META}.file_events SET last_modified = ?, partition_date = ? WHERE key = ?",
        [at, at.date(), key],
    )


def test_without_a_day_in_the_key_the_day_is_that_of_the_object(undated: Feed, lake: Lake) -> None:
    feed, today = undated, datetime.now(UTC).date()
    old, kept = feed.put_key(uuid_key(5)), feed.put_key(uuid_key(3))
    feed.run(lake)
    assert feed.guard(lake).cursor.day in (today, datetime.now(UTC).date())
    assert listing_start(lake, feed.stream) is None
    # Sorts before all that have landed, and is found.
    early = feed.put_key(uuid_key(1))
    assert feed.run(lake).total.registered == 1
    assert feed.column(lake, "year IS NULL AND month IS NULL AND day IS NULL") == [True] * 9
    written(feed, lake, old, days_ago=5)
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run") == Retirement(days=1, files=1)
    assert feed.landed(lake) == feed.rows_of({kept, early})
    age(lake, timedelta(days=4))
    expire_and_clean(lake)
    assert feed.objects() == {kept, early}


@on_sqlite
def test_rows_without_a_day_are_counted_and_never_taken_for_the_row_of_nulls(
    undated: Feed, lake: Lake
) -> None:
    feed = undated
    feed.put_key(uuid_key(1))
    feed.run(lake)
    found = read_balance(lake, feed.stream, {}, read=True)
    assert (found.ledger_rows, found.table_rows, found.differences) == (3, 3, ())
    # With a data file of the table's own, the row of NULLs is looked for.
    lake.con.execute(f"INSERT INTO {LAKE}.staging.{feed.stream.landing_table} (id) VALUES (NULL)")
    feed.run(lake)
    assert feed.rows_of(feed.sent) - feed.landed(lake) == Counter()


# Odd names


@on_sqlite
@pytest.mark.parametrize("name", ["a b", "100%20", "1+1", "März", "it's", "a#b", "{x}", "日本"])
def test_a_key_with_an_odd_name_lands_retires_and_goes(
    make_feed: Callable[..., Feed], lake: Lake, name: str
) -> None:
    feed, old = make_feed(retention_days=4), DAY - timedelta(days=9)
    newest = feed.put()
    feed.put(f"{name}.parquet", day=old)
    feed.put(f"{name}2.parquet", day=old, shape={**SHAPE, "id": pa.string()}, rows=TEXT_IDS)
    done = feed.run(lake).total
    assert (done.registered, done.copied) == (2, 1)
    assert reconcile(lake, feed.stream, feed.client, "run").registered == 0
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run").files == 2
    for _ in range(2):
        age(lake, timedelta(days=4))
        upkeep(lake)
    assert feed.objects() == {newest}
    assert feed.landed(lake) == feed.rows_of([newest])


@on_sqlite
def test_a_folder_that_is_named_as_a_field_does_not_take_its_place(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(path_format="${STREAM_NAME}/city=x/status=${YEAR}-${MONTH}-${DAY}/")
    feed.put_key("orders/city=x/status=2026-03-10/0.parquet")
    assert feed.run(lake).total.copied == 1
    assert feed.column(lake, "(status, address.city)") == [("paid", "Łódź")] * 3


# Others in the bucket


@on_sqlite
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("${STREAM_NAME}_${YEAR}_${MONTH}_${DAY}_", "{}_2026_03_10_0.parquet"),
        ("${STREAM_NAME}_{part_number}{format_extension}", "{}_7.parquet"),
        ("${STREAM_NAME}/${EPOCH}_", "{}/1773133200000_0.parquet"),
        ("${YEAR}/${MONTH}/${DAY}/${STREAM_NAME}", "2026/03/10/{}0.parquet"),
    ],
)
def test_streams_of_one_folder_leave_each_other_their_files(
    make_feed: Callable[..., Feed], lake: Lake, text: str, key: str
) -> None:
    names = ("orders", "orders_archive", "orders_2026")
    if text.endswith("${STREAM_NAME}"):
        text, key = f"{text}_{{part_number}}{{format_extension}}", key.replace("{}0", "{}_0")
    feeds = [make_feed(name, path_format=text) for name in names]
    for feed, name in zip(feeds, names, strict=True):
        feed.put_key(key.format(name))
    strangers = [feeds[0].put_key(name) for name in ("reports/1.csv", "orders-old_2026.parquet")]
    for feed in feeds:
        assert plan_run(lake, feed.stream, feed.client).refused == ()
        assert feed.run(lake).total.registered == 1
        assert look_for_work(lake, feed.stream, feed.client, []).work is None
        found = reconcile(lake, feed.stream, feed.client, "run")
        assert (found.registered, found.missing, found.quarantined) == (0, 0, 0)
        own = set(feed.sent) - set(strangers)
        assert set(feed.events(lake)) == own
        assert feed.landed(lake) == feed.rows_of(own)
    assert delete_objects(lake, feeds[0].stream, feeds[0].client) == 1
    left = {item.key for item in list_objects(feeds[0].client, feeds[0].settings.bucket, "")}
    assert left == {*strangers, *feeds[1].sent, *feeds[2].sent}


@on_sqlite
def test_a_key_in_the_streams_own_folder_that_is_of_no_format_is_told(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(path_format="${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_")
    odd = feed.put_key("shop/orders/year=2026/month=03/day=10/0.parquet")
    [refused] = plan_run(lake, feed.stream, feed.client).refused
    assert refused.key == odd
    assert "not of the path format shop/orders/${YEAR}_${MONTH}_${DAY}_" in refused.error
    assert feed.run(lake).listing.quarantined == 1
    fixed = make_feed()
    assert retry(lake, fixed.stream, [], "run") == 1
    assert fixed.run(lake).total.registered == 1
    assert fixed.guard(lake).cursor.day == DAY


@on_sqlite
def test_another_path_format_takes_nothing_for_missing(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    before = make_feed()
    before.put()
    before.run(lake)
    after = make_feed(path_format="${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_")
    new = after.put_key("orders/2026_03_11_0.parquet")
    found = reconcile(lake, after.stream, after.client, "run", repair=True)
    assert (found.missing, found.registered) == (0, 1)
    assert set(after.landed(lake)) == set(before.rows_of(before.sent) + after.rows_of([new]))


@on_sqlite
def test_the_path_format_of_all_streams_is_a_setting(feed: Feed, lake: Lake) -> None:
    settings = replace(feed.settings, path_format="${STREAM_NAME}/${UUID}/")
    assert layout_of(settings, feed.stream).prefix == "raw/orders/"
