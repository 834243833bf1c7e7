"""Invariant 8: an object that was replaced in place is noticed, and never read twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import Listing
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, Lake
from tests.catalogs import on_sqlite
from tests.feeds import Feed

pytestmark = on_sqlite


def files_in_table(feed: Feed, lake: Lake) -> int:
    """How many data files the landing table has, as DuckLake counts them."""
    (row,) = lake.rows(
        "SELECT count(*) FROM ducklake_list_files('lakehouse', ?, schema => 'staging')",
        [feed.stream.landing_table],
    )
    return int(row[0])


@pytest.mark.parametrize(("policy", "event"), [("error", "quarantined"), ("ignore", "ignored")])
def test_a_replaced_object_is_noticed_each_time_and_never_registered_again(
    make_feed: Callable[..., Feed], lake: Lake, policy: str, event: str
) -> None:
    feed = make_feed(on_overwrite=policy)
    key = feed.put(rows=3)
    feed.run(lake)
    (first,) = lake.rows(f"SELECT etag FROM {META}.feeder_files")
    for version in (1, 2, 3):
        feed.put(rows=4)
        listing = feed.list_files(lake)
        assert (listing.quarantined + listing.ignored, listing.backlog) == (1, 0)
        # Of the versions that were quarantined only the one that is there is left to decide about.
        before = "replaced" if event == "quarantined" else event
        assert feed.events(lake) == {key: ["replaced", *[before] * (version - 1), event]}
    said = f"object was replaced in place after its version {first[0]} had landed"
    assert feed.errors(lake)[key].startswith(said)
    assert files_in_table(feed, lake) == 0  # nobody can read the old bytes


def test_an_object_replaced_while_it_waits_lands_once(feed: Feed, lake: Lake) -> None:
    key = feed.put(rows=3)
    feed.list_files(lake)
    feed.put(rows=5)
    assert feed.run(lake).total.registered == 1
    assert feed.run(lake).total.registered == 0
    assert feed.events(lake) == {key: ["replaced", "registered"]}
    assert "replaced before it could land" in feed.errors(lake)[key]
    assert feed.landed(lake) == feed.rows_of([key])
    assert files_in_table(feed, lake) == 1


def test_a_version_that_is_known_stays_known_and_one_that_came_back_lands(
    feed: Feed, lake: Lake
) -> None:
    key = feed.put()
    feed.run(lake)
    data = feed.client.get_object(Bucket=feed.settings.bucket, Key=key)["Body"].read()
    feed.put_bytes("part_0.parquet", data)
    assert feed.list_files(lake) == Listing(1, 0, 0, 0, 0)
    feed.put(rows=1)
    assert feed.list_files(lake) == Listing(1, 0, 1, 0, 0)
    feed.put_bytes("part_0.parquet", data)
    assert feed.run_afresh().total.registered == 1
    assert feed.events(lake) == {key: ["registered", "replaced"]}


def test_what_never_landed_may_be_replaced_by_what_does(feed: Feed, lake: Lake) -> None:
    feed.put_bytes("bad.parquet", b"not Parquet at all")
    feed.put("empty.parquet", rows=0)
    feed.run_afresh()
    keys = [feed.put("bad.parquet"), feed.put("empty.parquet")]
    assert feed.run_afresh().total.registered == 2
    assert feed.events(lake) == {
        keys[0]: ["replaced", "registered"],
        keys[1]: ["empty", "registered"],
    }
    assert feed.landed(lake) == feed.rows_of(keys)


def test_an_object_that_changes_between_listing_and_registration_lands_as_what_it_is(
    feed: Feed, lake: Lake
) -> None:
    key = feed.put(rows=3)
    feed.list_files(lake)
    feed.put(rows=50)
    (batch,) = plan_batches(lake, feed.stream)
    assert register_batch(lake, feed.stream, batch, "run") == Registration()
    assert feed.events(lake) == {key: ["replaced"]}
    assert feed.run_afresh().total == Registration(1, 0, 0, 50)
    assert feed.events(lake) == {key: ["replaced", "registered"]}
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
