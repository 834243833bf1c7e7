"""An object that the store would not give is tried again by itself, after growing pauses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, Lake
from tests.catalogs import on_sqlite
from tests.feeds import Feed

pytestmark = on_sqlite


def wait(lake: Lake, pause: timedelta) -> None:
    """Let time pass for the ledger."""
    lake.con.execute(
        f"UPDATE {META}.file_events SET recorded_at = recorded_at - to_seconds(?)",
        [pause.total_seconds()],
    )


def refuse(feed: Feed, key: str) -> None:
    """A pass in which the object is listed and, when it is read, is not there."""
    data = feed.client.get_object(Bucket=feed.settings.bucket, Key=key)["Body"].read()
    with open_lake(feed.settings) as fresh:
        assert feed.list_files(fresh).discovered == 1
        feed.client.delete_object(Bucket=feed.settings.bucket, Key=key)
        (batch,) = plan_batches(fresh, feed.stream)
        assert register_batch(fresh, feed.stream, batch, "run").quarantined == 1
    feed.client.put_object(Bucket=feed.settings.bucket, Key=key, Body=data)


@pytest.fixture
def refused(feed: Feed, lake: Lake) -> str:
    """An object that could not be read, once, beside one that has landed."""
    feed.put("part_0.parquet")
    feed.run(lake)
    key = feed.put("part_1.parquet")
    refuse(feed, key)
    return key


def test_a_passing_404_lands_without_anybody(feed: Feed, lake: Lake, refused: str) -> None:
    assert "404" in feed.errors(lake)[refused]
    assert feed.run_afresh().listing.discovered == 0
    wait(lake, timedelta(minutes=6))
    assert feed.run_afresh().total == Registration(1, 0, 0, 3)
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.events(lake)[refused] == ["registered"]


def test_the_pauses_grow_up_to_a_day(feed: Feed, lake: Lake, refused: str) -> None:
    for minutes in (5, 20, 80, 320, 1280, 1440, 1440):
        wait(lake, timedelta(minutes=minutes - 1))
        assert feed.list_files(lake).discovered == 0
        wait(lake, timedelta(minutes=1))
        refuse(feed, refused)
    assert feed.events(lake)[refused] == ["quarantined"]


def test_what_is_broken_is_not_tried_again(feed: Feed, lake: Lake) -> None:
    key = feed.put_bytes("part_0.parquet", b"x" * 99)
    feed.run(lake)
    wait(lake, timedelta(days=30))
    assert feed.run_afresh().listing.discovered == 0
    assert feed.events(lake)[key] == ["quarantined"]


def test_an_object_that_stays_away_is_not_tried(feed: Feed, lake: Lake, refused: str) -> None:
    feed.client.delete_object(Bucket=feed.settings.bucket, Key=refused)
    wait(lake, timedelta(days=30))
    assert feed.run_afresh().listing.discovered == 0
