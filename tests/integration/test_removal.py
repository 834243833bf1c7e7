"""A stream that is removed leaves nothing behind that harms, and can come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import STAGING, Lake
from lotus_lake.repair.removal import delete_objects, drop_tables, lake_parts
from tests.catalogs import on_postgres
from tests.children import Watched
from tests.consuming import consume, expire_and_clean
from tests.feeds import DAY, Feed

MODEL = "int_shop__orders"


@pytest.fixture
def fed(make_feed: Callable[..., Feed], lake: Lake) -> Feed:
    """A stream with four files, of which one is broken, and another stream beside it."""
    feed, other = make_feed(), make_feed("lines")
    other.put()
    other.run(lake)
    for back in (400, 1, 0):
        feed.put(f"part_{back}.parquet", day=DAY - timedelta(days=back))
    feed.put_bytes("broken.parquet", b"nothing")
    feed.run(lake)
    consume(feed, lake, MODEL)
    return feed


def test_no_object_of_a_removed_stream_is_deleted_and_all_land_again(fed: Feed, lake: Lake) -> None:
    objects, landed = fed.objects(), fed.landed(lake)
    assert len(objects) == 4
    found = lake_parts(lake, fed.stream, [MODEL], fed.client)
    assert (found.files, found.objects) == (4, 4)
    assert ("staging", fed.stream.landing_table) in found.tables
    assert ("meta", f"watermark_{MODEL}") in found.tables

    drop_tables(lake, fed.stream, found, "removal")
    assert lake.tables("staging") == {"stg_shop__lines"}
    assert lake_parts(lake, fed.stream, [MODEL]).tables == ()
    expire_and_clean(lake)
    assert fed.objects() == objects
    assert lake.value(f"SELECT count(*) FROM {STAGING}.stg_shop__lines") == 3
    assert all(events[-1] == "replaced" for events in fed.events(lake).values())
    assert "the stream was removed" in fed.errors(lake)[fed.key("part_0.parquet")]
    # Again, as after an interruption: nothing is left to do.
    drop_tables(lake, fed.stream, lake_parts(lake, fed.stream, [MODEL]), "removal")

    # The old file is outside of any window of the cursor that was.
    done = fed.run_afresh()
    assert (done.total.registered, done.total.quarantined) == (3, 1)
    with open_lake(fed.settings) as again:
        assert fed.landed(again) == landed


def test_objects_are_deleted_only_if_asked_and_only_of_the_stream(fed: Feed, lake: Lake) -> None:
    other = fed.client.list_objects_v2(Bucket=fed.settings.bucket, Prefix="raw/shop/lines/")
    drop_tables(lake, fed.stream, lake_parts(lake, fed.stream, [MODEL]), "removal")
    assert delete_objects(lake, fed.stream, fed.client) == 4
    assert fed.objects() == set()
    left = fed.client.list_objects_v2(Bucket=fed.settings.bucket, Prefix="raw/")
    assert [item["Key"] for item in left["Contents"]] == [i["Key"] for i in other["Contents"]]
    # A file that comes later is a new one.
    fed.put("part_new.parquet")
    assert fed.run_afresh().total.registered == 1


def test_a_stream_that_was_never_fed_is_removed(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed("never")
    parts = lake_parts(lake, feed.stream, ["int_shop__never"], feed.client)
    assert (parts.tables, parts.files, parts.objects) == ((), 0, 0)
    drop_tables(lake, feed.stream, parts, "removal")


@dataclass
class LandBetween:
    """Let a file land once registrations have been forgotten, before the tables are dropped."""

    feed: Feed
    has_forgotten: bool = False
    has_landed: bool = False

    def __call__(self, statement: str) -> None:
        self.has_forgotten |= statement.startswith("DELETE") and "data_file" in statement
        if self.has_forgotten and not self.has_landed and statement.startswith("BEGIN"):
            self.has_landed = True
            self.feed.put("late.parquet")
            assert self.feed.run_afresh().total.registered == 1


@on_postgres
def test_a_file_that_lands_meanwhile_is_not_deleted_either(fed: Feed, lake: Lake) -> None:
    hook = LandBetween(fed)
    watched = Lake(Watched(lake.con, hook), lake.settings)  # type: ignore[arg-type]
    drop_tables(watched, fed.stream, lake_parts(lake, fed.stream, [MODEL]), "removal")
    assert hook.has_landed
    expire_and_clean(lake)
    assert len(fed.objects()) == 5
    assert all(events[-1] == "replaced" for events in fed.events(lake).values())
