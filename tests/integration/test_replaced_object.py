"""Invariant 8: an object that was replaced in place is noticed, and never read twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_lake.catalog import META, STAGING, Lake
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
        assert feed.events(lake) == {key: ["registered"] + [event] * version}
    assert (
        feed.errors(lake)[key]
        == f"object was replaced in place after its version {first[0]} was registered"
    )
    assert files_in_table(feed, lake) == 1


def test_an_object_replaced_while_it_waits_lands_once(feed: Feed, lake: Lake) -> None:
    key = feed.put(rows=3)
    feed.list_files(lake)
    feed.put(rows=5)
    assert feed.run(lake).total.registered == 1
    assert feed.run(lake).total.registered == 0
    assert feed.events(lake) == {key: ["ignored", "registered"]}
    assert "replaced before it was registered" in feed.errors(lake)[key]
    assert feed.landed(lake) == feed.rows_of([key])
    assert files_in_table(feed, lake) == 1


def test_the_very_same_object_written_again_is_the_same_object(feed: Feed, lake: Lake) -> None:
    data = feed.client.get_object(Bucket=feed.settings.bucket, Key=feed.put())["Body"].read()
    feed.run(lake)
    feed.put_bytes("part_0.parquet", data)
    again = feed.run(lake)
    assert (again.listing.listed, again.listing.discovered, again.listing.quarantined) == (1, 0, 0)


def test_an_object_that_goes_back_to_its_registered_version_is_known(
    feed: Feed, lake: Lake
) -> None:
    key = feed.put()
    data = feed.client.get_object(Bucket=feed.settings.bucket, Key=key)["Body"].read()
    feed.run(lake)
    feed.put(rows=1)
    feed.run(lake)
    feed.put_bytes("part_0.parquet", data)
    assert feed.run(lake).listing.discovered == 0
    assert feed.events(lake) == {key: ["registered", "quarantined"]}
    assert lake.value(f"SELECT count(*) FROM {STAGING}.{feed.stream.landing_table}") == 3


def test_a_bad_object_replaced_by_a_good_one_lands(feed: Feed, lake: Lake) -> None:
    feed.put_bytes("part_0.parquet", b"not Parquet at all")
    feed.run_afresh()
    key = feed.put(rows=2)
    assert feed.run_afresh().total.registered == 1
    assert feed.events(lake) == {key: ["quarantined", "registered"]}
    assert feed.landed(lake) == feed.rows_of([key])


def test_an_empty_file_replaced_by_a_full_one_lands(feed: Feed, lake: Lake) -> None:
    feed.put(rows=0)
    feed.run_afresh()
    key = feed.put(rows=2)
    assert feed.run_afresh().total.registered == 1
    assert feed.events(lake) == {key: ["empty", "registered"]}
