"""Going back looks, processes and feeds again, and doubles nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from lotus_lake.errors import PermanentError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.register import Registration
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import FileEvent
from lotus_lake.ledger.watermarks import has_unprocessed, watermarks
from lotus_lake.repair.rewind import Point, RewindPlan, plan_rewind, rewind
from tests.catalogs import on_sqlite
from tests.consuming import consume
from tests.feeds import DAY, SHAPE, Feed, some_rows

MODEL = "int_orders"
NAMES = ("part_9.parquet", "part_10.parquet")


@pytest.fixture
def fed(make_feed: Callable[..., Feed], lake: Lake) -> Feed:
    """A stream with three days of two files each, landed day by day, and consumed."""
    feed = make_feed()
    for back in (2, 1, 0):
        for name in NAMES:
            feed.put(name, day=DAY - timedelta(days=back))
        feed.run(lake)
    consume(feed, lake, MODEL)
    return feed


def plan(feed: Feed, lake: Lake, point: Point) -> RewindPlan:
    return plan_rewind(lake, feed.stream, point, [MODEL])


def assert_chosen(feed: Feed, found: RewindPlan, keys: Collection[str]) -> None:
    objects = [feed.client.head_object(Bucket=feed.settings.bucket, Key=key) for key in keys]
    size_bytes = sum(found["ContentLength"] for found in objects)
    assert (found.files, found.size_bytes) == (len(keys), size_bytes)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is read in several parts."""
    monkeypatch.setattr("lotus_lake.repair.rewind._EVENTS_A_PART", 4)


def test_a_plan_says_what_would_happen_and_changes_nothing(fed: Feed, lake: Lake) -> None:
    before = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    everything = plan(fed, lake, Point())
    assert_chosen(fed, everything, set(fed.sent))
    assert (everything.rows, everything.cursor.path, everything.models) == (18, None, (MODEL,))
    day = plan(fed, lake, Point(day=DAY))
    assert_chosen(fed, day, {fed.key(name) for name in NAMES})
    assert (day.rows, day.cursor.path) == (6, fed.key(NAMES[1], DAY - timedelta(days=1)))
    file = plan(fed, lake, Point(key=fed.key("part_10.parquet")))
    assert_chosen(fed, file, {fed.key("part_10.parquet")})  # it follows part_9
    assert file.cursor.path == fed.key("part_9.parquet")
    landed = plan(fed, lake, Point(snapshot_id=day.snapshot_id))
    assert_chosen(fed, landed, {fed.key(name) for name in NAMES})
    assert lake.value(f"SELECT id FROM {LAKE}.current_snapshot()") == before


@on_sqlite
def test_a_point_that_is_not_there_is_told(feed: Feed, fed: Feed, lake: Lake) -> None:
    with pytest.raises(PermanentError, match=r"part_8\.parquet has not landed in shop__orders"):
        plan(fed, lake, Point(key=fed.key("part_8.parquet")))
    assert plan(fed, lake, Point(day=DAY + timedelta(days=1))).files == 0


def test_going_back_moves_cursor_and_watermark_and_doubles_nothing(fed: Feed, lake: Lake) -> None:
    found = plan(fed, lake, Point(day=DAY - timedelta(days=1)))
    assert rewind(lake, fed.stream, found, "by hand") == 0
    guard = fed.guard(lake)
    assert guard.cursor.path == fed.key(NAMES[1], DAY - timedelta(days=2))
    assert guard.cursor.day == DAY - timedelta(days=2)
    assert watermarks(lake, [MODEL])[MODEL] == found.snapshot_id
    assert has_unprocessed(lake, fed.stream, [MODEL])
    assert fed.run(lake).total == Registration()
    assert fed.landed(lake) == fed.rows_of(fed.sent)


def test_feeding_again_gives_what_loading_from_zero_gives(fed: Feed, lake: Lake) -> None:
    found = plan(fed, lake, Point())
    assert rewind(lake, fed.stream, found, "by hand", fed.client) == 6
    assert fed.run_afresh().total == Registration(6, 0, 0, 18)
    with open_lake(fed.settings) as fresh:
        assert fed.landed(fresh) == fed.rows_of(fed.sent)
    assert fed.guard(lake).cursor.path == fed.key("part_10.parquet")
    assert has_unprocessed(lake, fed.stream, [MODEL])


@on_sqlite
def test_what_a_rebuild_noted_as_retired_is_gone_for_good(fed: Feed, lake: Lake) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    noted = FileEvent(f"{fed.key(NAMES[0])}.lost", "etag", 1, at, None, "retired")
    commit(lake, fed.stream, "rebuild", "test", lambda _: Change([noted]))
    found = plan(fed, lake, Point())
    assert (found.files, found.retired) == (6, 1)


@on_sqlite
def test_many_files_are_queued_again_in_several_commits(
    fed: Feed, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_lake.repair.rewind._EVENTS_A_PART", 100)
    monkeypatch.setattr("lotus_lake.repair.requeue._FILES_A_COMMIT", 4)
    found = plan(fed, lake, Point())
    before = lake.current_snapshot()
    assert rewind(lake, fed.stream, found, "by hand", fed.client) == 6
    assert lake.current_snapshot() == before + 3  # 4 and 2 files, then the cursor and the watermark
    assert fed.run_afresh().total == Registration(6, 0, 0, 18)
    with open_lake(fed.settings) as fresh:
        assert fed.landed(fresh) == fed.rows_of(fed.sent)


@on_sqlite
def test_feeding_again_brings_the_columns_that_freeze_had_left_out(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_schema_change="freeze")
    rows = [{**row, "coupon": "SUMMER"} for row in some_rows(2)]
    feed.put(rows=rows, shape={**SHAPE, "coupon": pa.string()})
    feed.run(lake)
    feed = make_feed(on_schema_change="evolve")
    rewind(lake, feed.stream, plan(feed, lake, Point()), "by hand", feed.client)
    feed.run_afresh()
    with open_lake(feed.settings) as fresh:
        assert feed.column(fresh, "coupon") == ["SUMMER", "SUMMER"]


@on_sqlite
def test_a_file_whose_object_is_gone_is_not_fed_again(fed: Feed, lake: Lake) -> None:
    fed.client.delete_object(Bucket=fed.settings.bucket, Key=fed.key("part_9.parquet"))
    found = plan(fed, lake, Point(day=DAY))
    assert rewind(lake, fed.stream, found, "by hand", fed.client) == 1


@on_sqlite
def test_retired_files_are_counted_and_stay_retired(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(retention_days=2)
    old, newest = feed.put(day=DAY - timedelta(days=5)), feed.put()
    feed.run(lake)
    consume(feed, lake, MODEL)
    retire_files(lake, feed.stream, [MODEL], "run")
    found = plan(feed, lake, Point())
    assert_chosen(feed, found, {newest})
    assert found.retired == 1
    rewind(lake, feed.stream, found, "by hand", feed.client)
    assert feed.run_afresh().total.registered == 1
    assert feed.events(lake)[old] == ["retired"]
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([newest])


@on_sqlite
def test_what_has_to_be_processed_again_is_not_retired(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(retention_days=2)
    feed.put(day=DAY - timedelta(days=5))
    feed.put()
    feed.run(lake)
    consume(feed, lake, MODEL)
    rewind(lake, feed.stream, plan(feed, lake, Point()), "by hand")
    assert retire_files(lake, feed.stream, [MODEL], "run").files == 0
    feed.put("part_1.parquet")
    feed.run(lake)
    kept = retire_files(lake, feed.stream, [MODEL], "run")
    assert (kept.files, kept.reason) == (0, f"{MODEL} has not consumed them")
