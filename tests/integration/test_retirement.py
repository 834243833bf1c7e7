"""Invariant 7: only what is old and consumed is retired, and only DuckLake deletes objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pytest

from lotus_lake.errors import UpkeepRefusedError
from lotus_lake.feeder.cleanup import Retirement, retire_files
from lotus_lake.feeder.cursor import read_state
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.ledger.events import landed_snapshot
from lotus_lake.ledger.watermarks import has_unprocessed, watermarks
from lotus_lake.upkeep.expiry import Upkeep, delete, expire, upkeep
from tests import children
from tests.catalogs import on_sqlite
from tests.consuming import age, consume, expire_and_clean
from tests.feeds import DAY, SHAPE, Feed, some_rows
from tests.proxy import Operation, run_proxy
from tests.servers import S3Server

MODELS = ["int_orders", "int_lines"]


def put_days(feed: Feed, days: Iterable[int]) -> dict[int, list[str]]:
    """Two files for each day, counted back from the newest."""
    return {
        back: [
            feed.put(name, day=DAY - timedelta(days=back)) for name in ("a.parquet", "b.parquet")
        ]
        for back in days
    }


def retired(feed: Feed, lake: Lake) -> set[str]:
    return {key for key, events in feed.events(lake).items() if "retired" in events}


@pytest.fixture
def old_feed(make_feed: Callable[..., Feed], lake: Lake) -> Feed:
    """A stream that keeps four days and has files of the days 0, 4, 5 and 9 before its cursor."""
    feed = make_feed(retention_days=4)
    put_days(feed, [0, 4, 5, 9])
    feed.run(lake)
    return feed


def test_only_days_that_are_old_and_consumed_by_all_are_retired(old_feed: Feed, lake: Lake) -> None:
    feed = old_feed
    old = {key for key in feed.sent if "day=05" in key or "day=01" in key}
    assert len(old) == 4
    assert retire_files(lake, feed.stream, [], "run") == Retirement(
        kept_days=2, reason="no processed model reads this stream"
    )
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement(
        kept_days=2, reason="int_orders has not consumed them"
    )
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement(
        kept_days=2, reason="int_lines has not consumed them"
    )
    assert retired(feed, lake) == set()
    consume(feed, lake, "int_lines")
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement(days=2, files=4)
    assert retired(feed, lake) == old
    assert feed.landed(lake) == feed.rows_of(set(feed.sent) - old)
    assert feed.objects() == set(feed.sent)
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement()


def test_a_retired_object_is_deleted_through_ducklake_and_no_other(
    old_feed: Feed, lake: Lake
) -> None:
    feed = old_feed
    waiting = feed.put("late.parquet", day=DAY - timedelta(days=9))
    consume(feed, lake, *MODELS)
    retire_files(lake, feed.stream, MODELS, "run")
    lake.con.execute(f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)")
    assert feed.objects() == set(feed.sent)  # snapshots that show the files are still there
    gone = retired(feed, lake)
    assert feed.run(lake).total.registered == 1  # the late one, not those still listed
    expire_and_clean(lake)
    assert feed.objects() == set(feed.sent) - gone
    assert feed.landed(lake) == feed.rows_of(feed.objects())
    assert waiting in feed.objects()
    comes_back = feed.put("a.parquet", rows=7, day=DAY - timedelta(days=9))
    assert feed.list_files(lake).quarantined == 1
    assert feed.events(lake)[comes_back] == ["retired", "quarantined"]
    assert "was retired" in feed.errors(lake)[comes_back]


@on_sqlite
def test_a_late_file_keeps_its_day_until_it_is_consumed(old_feed: Feed, lake: Lake) -> None:
    feed = old_feed
    consume(feed, lake, *MODELS)
    late = feed.put("late.parquet", day=DAY - timedelta(days=9))
    feed.run(lake)
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement(
        days=1, files=2, kept_days=1, reason="int_orders has not consumed them"
    )
    later = feed.put("late.parquet", day=DAY - timedelta(days=5))  # of the day just retired
    feed.run(lake)
    assert feed.landed(lake)[feed.sent[late][0]] == feed.landed(lake)[feed.sent[later][0]] == 1
    assert retire_files(lake, feed.stream, MODELS, "run").files == 0
    consume(feed, lake, *MODELS)
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement(days=2, files=4)


@on_sqlite
def test_a_file_that_lands_while_its_day_is_chosen_is_not_retired(
    old_feed: Feed, lake: Lake
) -> None:
    feed = old_feed
    consume(feed, lake, *MODELS)
    late: list[str] = []

    def land_one_more(statement: str) -> None:
        if "ducklake_inlined_data_tables" in statement and not late:
            late.append(feed.put("late.parquet", day=DAY - timedelta(days=9)))
            with open_lake(feed.settings) as other:
                feed.run(other)

    watched = children.Watched(lake.con, land_one_more)
    retire_files(dataclasses.replace(lake, con=watched), feed.stream, MODELS, "run")  # type: ignore[arg-type]
    assert feed.events(lake)[late[0]] == ["registered"]
    assert feed.landed(lake)[feed.sent[late[0]][0]] == 1
    assert {key for key in retired(feed, lake) if "day=01" in key} == set()


# Upkeep


ALMOST = timedelta(days=2, minutes=-1)
LONG = timedelta(days=2)


def test_upkeep_deletes_retired_files_after_two_times_two_days(old_feed: Feed, lake: Lake) -> None:
    feed = old_feed
    consume(feed, lake, *MODELS)
    retire_files(lake, feed.stream, MODELS, "run")
    gone = retired(feed, lake)
    age(lake, ALMOST)
    assert upkeep(lake) == Upkeep(0, (), ())
    age(lake, LONG)
    assert upkeep(lake).snapshots_expired > 5
    assert feed.objects() == set(feed.sent)
    age(lake, ALMOST)
    assert upkeep(lake).files_deleted == ()
    age(lake, LONG)
    planned = upkeep(lake, dry_run=True)
    assert raw(lake, planned.files_deleted) == {lake.settings.uri(key) for key in gone}
    assert feed.objects() == set(feed.sent)
    assert upkeep(lake).files_deleted == planned.files_deleted
    assert feed.objects() == set(feed.sent) - gone
    assert feed.landed(lake) == feed.rows_of(feed.objects())


# Who has consumed what


@on_sqlite
def test_what_landed_is_unprocessed_until_every_model_has_read_it(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet")
    feed.list_files(lake)
    assert not has_unprocessed(lake, feed.stream, MODELS)
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement()
    feed.run(lake)
    assert watermarks(lake, MODELS) == {"int_orders": -1, "int_lines": -1}
    assert has_unprocessed(lake, feed.stream, MODELS)
    assert not has_unprocessed(lake, feed.stream, [])
    consume(feed, lake, "int_orders")
    assert read_state(lake, feed.stream, "run", MODELS).unprocessed
    consume(feed, lake, "int_lines")
    state = read_state(lake, feed.stream, "run", MODELS)
    assert not state.unprocessed
    assert state.snapshot_id == landed_snapshot(lake, feed.stream) > 0


def raw(lake: Lake, addresses: Iterable[str]) -> set[str]:
    """The raw objects among some files: the rest are the lake's own."""
    return {address for address in addresses if address.startswith(lake.settings.raw_uri)}


def age_until_deleted(lake: Lake) -> None:
    """Let the snapshots that show retired files expire, and the files wait their time."""
    age(lake, 2 * LONG)
    upkeep(lake)
    age(lake, 2 * LONG)


@pytest.mark.parametrize("waits_already", [False, True])
def test_an_object_that_was_written_anew_is_not_deleted_for_the_one_that_was_retired(
    old_feed: Feed, lake: Lake, waits_already: bool
) -> None:
    """DuckLake deletes by address, and Airbyte numbers parts from 0 again."""
    feed = old_feed
    consume(feed, lake, *MODELS)
    retire_files(lake, feed.stream, MODELS, "run")
    if waits_already:
        age_until_deleted(lake)
    anew = feed.put("a.parquet", rows=7, day=DAY - timedelta(days=9))
    feed.list_files(lake)
    gone = retired(feed, lake) - {anew}
    protected = (lake.settings.uri(anew),)
    if not waits_already:
        age(lake, 2 * LONG)
        assert upkeep(lake).files_protected == protected  # as soon as it is on the list
        age(lake, 2 * LONG)
    planned = upkeep(lake, dry_run=True)
    assert planned.files_protected == (protected if waits_already else ())
    assert raw(lake, planned.files_deleted) == {lake.settings.uri(key) for key in gone}
    assert upkeep(lake) == planned
    assert feed.objects() == set(feed.sent) - gone
    assert upkeep(lake).files_protected == ()


@on_sqlite
def test_the_objects_of_a_landing_table_that_was_dropped_are_not_deleted(
    old_feed: Feed, lake: Lake
) -> None:
    feed = old_feed
    lake.con.execute(f"DROP TABLE {LAKE}.staging.{feed.stream.landing_table}")
    age_until_deleted(lake)
    assert raw(lake, upkeep(lake).files_deleted) == set()
    assert feed.objects() == set(feed.sent)


@on_sqlite
def test_objects_that_were_never_registered_go_with_their_day(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed, day = make_feed(retention_days=4), DAY - timedelta(days=9)
    text_ids = {**SHAPE, "id": pa.string()}
    rows = [{**row, "id": str(row["id"])} for row in some_rows(2)]
    copied = feed.put("copied.parquet", rows, day=day, shape=text_ids)
    empty = feed.put("empty.parquet", rows=0, day=day)
    bad = feed.put_bytes("bad.parquet", b"x" * 99, day=day)
    feed.put()
    feed.run(lake)
    consume(feed, lake, *MODELS)
    assert retire_files(lake, feed.stream, MODELS, "run") == Retirement(days=1, files=2)
    assert retired(feed, lake) == {copied, empty}
    copies = Path(lake.settings.data_path, "copies")
    assert len(list(copies.rglob("*.parquet"))) == 1
    age_until_deleted(lake)
    upkeep(lake)
    assert feed.objects() == {feed.key("part_0.parquet"), bad}
    assert list(copies.rglob("*.parquet")) == []


@on_sqlite
def test_a_stopped_consumer_stops_retirement_and_is_named(
    old_feed: Feed, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    retire_files(lake, old_feed.stream, MODELS, "run")
    assert (
        "2 days are old enough to retire, but kept: int_orders has not consumed them" in caplog.text
    )


@on_sqlite
@pytest.mark.parametrize("statement", ["BEGIN", "DELETE FROM", "UPDATE", "COMMIT", "SELECT path"])
def test_a_retirement_that_is_killed_can_be_run_again(
    old_feed: Feed, lake: Lake, statement: str
) -> None:
    feed = old_feed
    consume(feed, lake, *MODELS)
    hook = children.KillBefore(1, start=statement)
    code = children.run(children.retire, feed.settings, feed.stream, MODELS, hook)
    assert code == children.KILLED
    retire_files(lake, feed.stream, MODELS, "run")
    gone = retired(feed, lake)
    assert len(gone) == 4
    assert feed.landed(lake) == feed.rows_of(set(feed.sent) - gone)
    age_until_deleted(lake)
    upkeep(lake)
    assert feed.objects() == set(feed.sent) - gone


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_that_differs_from_the_stores_expires_and_deletes_nothing(
    old_feed: Feed, lake: Lake, s3: S3Server, days: int
) -> None:
    consume(old_feed, lake, *MODELS)
    retire_files(lake, old_feed.stream, MODELS, "run")
    age(lake, LONG + timedelta(days=9))
    assert s3.access.endpoint_url
    with run_proxy(s3.access.endpoint_url) as proxy:
        proxy.seconds_ahead = timedelta(days=days).total_seconds()
        access = dataclasses.replace(lake.settings.s3, endpoint_url=proxy.url)
        skewed = dataclasses.replace(lake, settings=dataclasses.replace(lake.settings, s3=access))
        snapshots = lake.value("SELECT count(*) FROM lakehouse.snapshots()")
        for work in (expire, delete):
            with pytest.raises(UpkeepRefusedError, match="the age of files cannot be judged"):
                work(skewed)
    assert lake.value("SELECT count(*) FROM lakehouse.snapshots()") == snapshots
    assert old_feed.objects() == set(old_feed.sent)


@on_sqlite
def test_an_object_that_is_written_just_before_the_delete_stays(
    old_feed: Feed, lake: Lake, s3: S3Server
) -> None:
    """Where the store deletes on a condition; else a moment remains."""
    feed = old_feed
    consume(feed, lake, *MODELS)
    retire_files(lake, feed.stream, MODELS, "run")
    age(lake, timedelta(days=3))
    expire(lake)
    age(lake, timedelta(days=3))
    written = feed.key("a.parquet", DAY - timedelta(days=9))
    assert s3.access.endpoint_url
    with run_proxy(s3.access.endpoint_url) as proxy:

        def write(operation: Operation, path: str) -> None:
            path = unquote(path)
            if operation is Operation.DELETE and path.endswith(written):
                feed.put("a.parquet", 9, day=DAY - timedelta(days=9))

        def etag_of(path: str) -> str:
            bucket, _, key = unquote(path).lstrip("/").partition("/")
            return str(feed.client.head_object(Bucket=bucket, Key=key)["ETag"])

        proxy.plan, proxy.etag_of = write, etag_of  # type: ignore[assignment]
        access = dataclasses.replace(lake.settings.s3, endpoint_url=proxy.url)
        with open_lake(dataclasses.replace(lake.settings, s3=access)) as other:
            deleted, protected = delete(other)
    assert len([uri for uri in deleted if "/raw/" in uri]) == 3
    assert protected == (lake.settings.uri(written),)
    assert written in feed.objects()
