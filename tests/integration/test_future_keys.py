"""A key that names a day of the future lands, and moves neither cursor nor retention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from lotus_lake.feeder.cleanup import Retirement, retire_files
from lotus_lake.feeder.list import listing_start
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.commit import Change, record
from lotus_lake.ledger.guard import Cursor
from lotus_lake.ledger.schema import create_ledger
from tests.catalogs import on_sqlite
from tests.consuming import consume
from tests.feeds import DAY, Feed

pytestmark = on_sqlite

FUTURE = date(2099, 1, 1)


def test_a_file_of_the_future_lands_and_does_not_move_the_cursor(feed: Feed, lake: Lake) -> None:
    feed.put("odd.parquet", day=FUTURE)
    assert feed.run(lake).total.registered == 1
    assert feed.guard(lake).cursor == Cursor()
    newest = feed.put()
    feed.put("odd.parquet", day=FUTURE + timedelta(days=1))
    assert feed.run(lake).total.registered == 2
    assert feed.guard(lake).cursor == Cursor(newest, DAY)
    late = feed.put("late.parquet", day=DAY - timedelta(days=feed.stream.feeder.lookback_days))
    assert feed.run(lake).total.registered == 1
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert late in feed.events(lake)


def test_a_file_of_the_future_retires_nothing(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(retention_days=4)
    for back in (0, 3):
        feed.put(day=DAY - timedelta(days=back))
    feed.put("odd.parquet", day=FUTURE)
    feed.run(lake)
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run") == Retirement()
    assert feed.landed(lake) == feed.rows_of(feed.sent)


def test_a_cursor_that_is_in_the_future_already_comes_back(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(retention_days=4)
    create_ledger(lake, feed.stream)
    ahead = Cursor(feed.key("odd.parquet", FUTURE), FUTURE)
    lake.commit(
        "as an earlier release did",
        lambda: record(lake, feed.stream, feed.guard(lake), Change(cursor=ahead), "run"),
    )
    assert "year=2099" not in str(listing_start(lake, feed.stream))
    today = datetime.now(UTC).date()
    newest = feed.put(day=today)
    feed.put(day=today - timedelta(days=3))
    assert feed.run(lake).total.registered == 2
    assert feed.guard(lake).cursor == Cursor(newest, today)
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run") == Retirement()
