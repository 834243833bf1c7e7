"""Invariant 3: a look costs `1 + ceil(keys in the window / 1000)` requests at most."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import list_objects
from lotus_lake.feeder.list import listing_start
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.commit import Change, record
from lotus_lake.ledger.events import unknown_objects
from lotus_lake.ledger.guard import Cursor
from lotus_lake.ledger.schema import create_ledger
from tests.catalogs import on_sqlite
from tests.feeds import DAY, Feed
from tests.requests import counted
from tests.servers import S3Server

pytestmark = on_sqlite


def look(feed: Feed, lake: Lake) -> int:
    """One look for new files, as a sensor takes it; returns how many objects it saw."""
    prefix = layout_of(feed.settings, feed.stream).prefix
    objects = list(
        list_objects(feed.client, feed.settings.bucket, prefix, listing_start(lake, feed.stream))
    )
    unknown_objects(lake, feed.stream, objects)
    return len(objects)


def fill(s3: S3Server, feed: Feed, day: date, count: int) -> None:
    """Put files of a day."""
    keys = (feed.key(f"part_{number}.parquet", day) for number in range(count))
    s3.put_many(feed.settings.bucket, keys, b"x")


def stand_at(feed: Feed, lake: Lake, day: date) -> None:
    """Let the stream's cursor stand at a day."""
    create_ledger(lake, feed.stream)
    lake.commit(
        "move the cursor",
        lambda: record(
            lake,
            feed.stream,
            feed.guard(lake),
            Change(cursor=Cursor(feed.key("part_0.parquet", day), day)),
            "test",
        ),
    )


@pytest.mark.parametrize("history", [0, 1500])
def test_a_look_costs_the_same_however_long_the_history(
    make_feed: Callable[..., Feed], lake: Lake, s3: S3Server, history: int
) -> None:
    windows = (0, 1, 1000, 1001)
    feeds = [make_feed(f"stream_{in_window}", lookback_days=30) for in_window in windows]
    for in_window, feed in zip(windows, feeds, strict=True):
        fill(s3, feed, DAY - timedelta(days=31), history)
        fill(s3, feed, DAY, in_window)
        stand_at(feed, lake, DAY)
    requests = {}
    for in_window, feed in zip(windows, feeds, strict=True):
        with counted(feed.client) as sent:
            assert look(feed, lake) == in_window
        requests[in_window] = sent
    assert requests == {
        0: ["ListObjectsV2"],
        1: ["ListObjectsV2"],
        1000: ["ListObjectsV2"],
        1001: ["ListObjectsV2", "ListObjectsV2"],
    }


def test_a_pass_that_finds_nothing_new_makes_one_request_and_no_commit(
    feed: Feed, lake: Lake
) -> None:
    for number in range(3):
        feed.put(f"part_{number}.parquet")
    feed.run(lake)
    snapshots = lake.value("SELECT count(*) FROM lakehouse.snapshots()")
    with counted(feed.client) as sent:
        assert feed.run(lake).listing.listed == 3
    assert sent == ["ListObjectsV2"]
    assert lake.value("SELECT count(*) FROM lakehouse.snapshots()") == snapshots


def test_a_stream_that_was_never_fed_is_looked_at_as_a_whole(feed: Feed, lake: Lake) -> None:
    assert listing_start(lake, feed.stream) is None
