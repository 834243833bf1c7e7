"""Invariants 2 and 7: what a window does not show is found by comparing everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lotus_lake.errors import StorageUnavailableError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.list import CHUNK_OBJECTS
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.data_files import forget
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.repair.reconcile import Reconciliation, reconcile
from tests import children
from tests.catalogs import on_sqlite
from tests.consuming import consume, expire_and_clean
from tests.feeds import DAY, Feed, parquet, some_rows

NOTHING = Reconciliation(
    listed=0,
    discovered=0,
    late=0,
    quarantined=0,
    requeued=0,
    missing=0,
    is_empty=False,
    repaired=0,
    unknown_data_files=0,
    registered=0,
    rows=0,
)


def run(feed: Feed, *, repair: bool = False) -> Reconciliation:
    """Reconcile in a DuckDB of its own, that has no file in its cache."""
    with open_lake(feed.settings) as lake:
        return reconcile(lake, feed.stream, feed.client, "reconcile", repair=repair)


def expect(**changes: Any) -> Reconciliation:
    return dataclasses.replace(NOTHING, **changes)


def delete(feed: Feed, *keys: str) -> None:
    """Somebody deletes objects behind the lake's back."""
    for key in keys:
        feed.client.delete_object(Bucket=feed.settings.bucket, Key=key)


def landed(feed: Feed) -> Any:
    with open_lake(feed.settings) as lake:
        return feed.landed(lake)


def test_what_is_older_than_the_window_lands_and_is_reported(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(lookback_days=3)
    newest = feed.put()
    feed.run(lake)
    late = [
        feed.put("f47ac10b-58cc-4372-a567-0e02b2c3d479.parquet", day=DAY - timedelta(days=40)),
        feed.put("part_10.parquet", day=DAY - timedelta(days=4)),
        feed.put("part_9.parquet-1", day=DAY - timedelta(days=4)),
    ]
    in_time = feed.put("part_1.parquet", day=DAY - timedelta(days=3))
    assert run(feed) == expect(listed=5, discovered=4, late=3, registered=4, rows=12)
    assert landed(feed) == feed.rows_of([newest, *late, in_time])
    assert run(feed) == expect(listed=5)


def test_an_object_that_was_deleted_is_reported_and_taken_out_on_request(
    feed: Feed, lake: Lake
) -> None:
    keys = [feed.put(f"part_{number}.parquet") for number in range(3)]
    feed.run(lake)
    delete(feed, keys[1])
    found = run(feed)
    assert found == expect(listed=2, missing=1)
    assert "--repair" in found.problems[0]
    assert feed.events(lake)[keys[1]] == ["missing"]
    with pytest.raises(StorageUnavailableError, match=r"404(.|\n)*--repair"):
        landed(feed)
    assert run(feed, repair=True) == expect(listed=2, missing=1, repaired=1)
    assert landed(feed) == feed.rows_of([keys[0], keys[2]])
    assert run(feed) == expect(listed=2)
    assert run(feed).problems == []


@on_sqlite
def test_an_object_that_came_back_lands_once_again(feed: Feed, lake: Lake) -> None:
    for repair in (False, True):
        key = feed.put(f"part_{int(repair)}.parquet")
        feed.run(lake)
        data = feed.client.get_object(Bucket=feed.settings.bucket, Key=key)["Body"].read()
        delete(feed, key)
        run(feed, repair=repair)
        feed.put_bytes(f"part_{int(repair)}.parquet", data)
        assert feed.run_afresh().total.registered == 1
        assert feed.events(lake)[key] == ["registered"]
    assert landed(feed) == feed.rows_of(feed.sent)


@on_sqlite
def test_another_object_under_a_deleted_key_is_a_new_file(feed: Feed, lake: Lake) -> None:
    """Airbyte numbers the parts of a day from 0 again once they are gone."""
    key = feed.put(rows=3)
    feed.run(lake)
    delete(feed, key)
    run(feed)
    feed.put(rows=4)
    assert feed.run_afresh().total.registered == 1
    assert landed(feed) == feed.rows_of([key])


@on_sqlite
def test_a_landing_table_that_lost_its_files_gets_them_back(feed: Feed, lake: Lake) -> None:
    keys = [feed.put(f"part_{number}.parquet") for number in range(4)]
    feed.run(lake)
    head = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    lost = [(lake.settings.uri(key), head + 1) for key in keys[:3]]
    assert forget(lake, feed.stream.landing_table, lost) == 3
    assert landed(feed) == feed.rows_of(keys[3:])
    assert run(feed) == expect(listed=4, requeued=3, registered=3, rows=9)
    assert landed(feed) == feed.rows_of(keys)


@on_sqlite
def test_a_landing_table_that_was_dropped_is_fed_again(feed: Feed, lake: Lake) -> None:
    keys = [feed.put(f"part_{number}.parquet") for number in range(2)]
    feed.run(lake)
    lake.con.execute(f"DROP TABLE {LAKE}.staging.{feed.stream.landing_table}")
    assert run(feed) == expect(listed=2, requeued=2, registered=2, rows=6)
    assert landed(feed) == feed.rows_of(keys)


@on_sqlite
def test_a_registration_by_hand_of_another_object_is_reported(feed: Feed, lake: Lake) -> None:
    feed.list_files(lake)
    feed.client.put_object(
        Bucket=feed.settings.bucket, Key="elsewhere/a.parquet", Body=parquet(some_rows(2))
    )
    lake.con.execute(
        f"CALL ducklake_add_data_files('{LAKE}', ?, ?, schema => 'staging', allow_missing => true)",
        [feed.stream.landing_table, lake.settings.uri("elsewhere/a.parquet")],
    )
    found = run(feed)
    assert found.unknown_data_files == 1
    assert "by hand" in found.problems[0]


@on_sqlite
def test_a_listing_that_fails_makes_nothing_missing(feed: Feed, lake: Lake) -> None:
    key = feed.put()
    feed.run(lake)
    nowhere = dataclasses.replace(lake.settings, raw_uri="s3://no-such-bucket/raw")
    with pytest.raises(StorageUnavailableError):
        reconcile(dataclasses.replace(lake, settings=nowhere), feed.stream, feed.client, "run")
    assert feed.events(lake) == {key: ["registered"]}


@on_sqlite
def test_retired_files_are_no_gap(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(retention_days=2)
    old, newest = feed.put(day=DAY - timedelta(days=5)), feed.put()
    feed.run(lake)
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run").files == 1
    assert run(feed) == expect(listed=2)
    expire_and_clean(lake)
    assert feed.objects() == {newest}
    assert run(feed) == expect(listed=1)
    assert feed.events(lake) == {old: ["retired"], newest: ["registered"]}


@on_sqlite
def test_gaps_are_found_in_every_chunk_of_a_listing(
    feed: Feed, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHUNK_OBJECTS > 1000
    keys = sorted(feed.put(f"part_{number}.parquet", rows=1) for number in range(7))
    feed.run(lake)
    monkeypatch.setattr("lotus_lake.feeder.list.CHUNK_OBJECTS", 2)
    gone = [keys[0], keys[3], keys[4], keys[6]]
    delete(feed, *gone)
    assert run(feed).missing == 4
    assert [key for key, events in feed.events(lake).items() if events == ["missing"]] == gone


@on_sqlite
@pytest.mark.parametrize(
    "statement", ["BEGIN", "SELECT data_file_id", "DELETE FROM __duck", "COMMIT"]
)
def test_a_reconcile_that_is_killed_can_be_run_again(
    feed: Feed, lake: Lake, statement: str
) -> None:
    keys = [feed.put(f"part_{number}.parquet") for number in range(3)]
    feed.run(lake)
    delete(feed, keys[0])
    hook = children.KillBefore(1, start=statement)
    code = children.run(children.reconcile, feed.settings, feed.stream, hook)
    assert code == children.KILLED
    assert run(feed, repair=True).problems == []
    assert landed(feed) == feed.rows_of(keys[1:])
    assert feed.events(lake)[keys[0]] == ["missing"]
