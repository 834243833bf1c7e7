"""Invariant 2: a file that appears behind the cursor is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from lotus_lake.lake.session import META, Lake
from tests.catalogs import on_sqlite
from tests.feeds import DAY, Feed

pytestmark = on_sqlite


def assert_everything_landed(feed: Feed, lake: Lake) -> None:
    assert feed.objects() == set(feed.sent)
    assert feed.landed(lake) == feed.rows_of(feed.sent)


def test_order_within_a_day_does_not_matter(feed: Feed, lake: Lake) -> None:
    rounds = [
        ["part_10.parquet", "part_0.parquet", "f47ac10b-58cc-4372-a567-0e02b2c3d479.parquet"],
        ["part_9.parquet", "part_0.parquet-1", "2026_03_10_1773100800000_1.parquet"],
        ["0e02b2c3-58cc-4372-a567-f47ac10bd479.parquet", "2026_03_10_1773100800000_0.parquet"],
    ]
    for names in rounds:
        for name in names:
            feed.put(name)
        assert feed.run(lake).total.registered == len(names)
    assert_everything_landed(feed, lake)


def test_a_late_file_of_an_old_day_is_found(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(lookback_days=3)
    newest = feed.put()
    feed.run(lake)
    for days in (1, 2, 3):
        feed.put(f"late_{days}.parquet", day=DAY - timedelta(days=days))
    assert feed.run(lake).total.registered == 3
    assert_everything_landed(feed, lake)
    assert feed.guard(lake).cursor.path == newest


def test_the_cursor_never_goes_back(feed: Feed, lake: Lake) -> None:
    seen: list[str | None] = []
    for day in (0, 1, -1, 1):
        feed.put(f"part_{len(seen)}.parquet", day=DAY + timedelta(days=day))
        feed.run(lake)
        seen.append(feed.guard(lake).cursor.path)
    first, second = seen[:2]
    third = feed.key("part_3.parquet", DAY + timedelta(days=1))
    assert seen == [first, second, second, third]
    (row,) = lake.rows(f"SELECT source, stream, cursor_path, backlog FROM {META}.feeder_cursors")
    assert row == ("shop", "orders", third, 0)


def test_a_file_that_appears_while_others_are_registered_is_found_next(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed()
    feed.put("part_5.parquet")
    feed.list_files(lake)
    feed.put("part_4.parquet")
    feed.run(lake)
    assert_everything_landed(feed, lake)


def test_a_file_older_than_the_lookback_waits_for_a_full_listing(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(lookback_days=3)
    feed.put()
    feed.run(lake)
    old = feed.put("old.parquet", day=DAY - timedelta(days=4))
    assert feed.run(lake).listing.listed == 1
    wide = make_feed(lookback_days=4)
    assert wide.run(lake).total.registered == 1
    assert feed.events(lake)[old] == ["registered"]


def test_the_whole_prefix_is_listed_until_something_was_registered(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(lookback_days=1)
    feed.put(rows=0)
    assert feed.run(lake).total.empty == 1
    feed.put("old.parquet", day=DAY - timedelta(days=900))
    assert feed.run(lake).total.registered == 1
