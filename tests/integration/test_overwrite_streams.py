"""`destination_sync_mode: overwrite`: readers see exactly one whole generation, always."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from lotus_lake.errors import PermanentError, SchemaMismatchError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cleanup import Retirement, retire_files
from lotus_lake.feeder.register import Registration
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, STAGING, Lake
from lotus_lake.ledger.events import landed_snapshot
from lotus_lake.observe.status import read_status
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.rewind import Point, plan_rewind, rewind
from tests import children
from tests.catalogs import on_sqlite
from tests.feeds import Feed, parquet, some_rows
from tests.refreshing import Refreshes, refreshes


@pytest.fixture
def stream(feed: Feed) -> Refreshes:
    """A stream whose generation 1, of two files, has landed."""
    made = refreshes(feed)
    made.write(1, "gen1_0.parquet", "gen1_1.parquet")
    with open_lake(feed.settings) as lake:
        assert made.feed.run(lake).total == Registration(row_count=4, copied=2)
    return made


def test_a_generation_takes_the_place_of_the_one_before_in_one_commit(
    stream: Refreshes, lake: Lake
) -> None:
    feed, old = stream.feed, sorted(stream.feed.sent)
    stream.write(2, "gen2_0.parquet")
    assert feed.run(lake).batches == ()  # the old files are still there: the sync goes on
    assert feed.landed(lake) == stream.expected(1)
    stream.write(2, "gen2_1.parquet", "gen2_2.parquet")
    stream.delete(*old)
    before = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    assert feed.run(lake).total == Registration(row_count=6, copied=3)
    assert feed.landed(lake) == stream.expected(2)
    snapshots = lake.rows(
        f"SELECT list_sort(map_keys(changes)) FROM {LAKE}.snapshots() WHERE snapshot_id > ? "
        "AND len(map_extract(changes, 'tables_deleted_from')) > 0",
        [before],
    )
    assert len(snapshots) == 1
    assert "tables_inserted_into" in snapshots[0][0]
    assert {key: feed.events(lake)[key] for key in old} == {key: ["replaced"] for key in old}


def test_time_travel_shows_one_whole_generation_at_every_snapshot(
    stream: Refreshes, lake: Lake
) -> None:
    feed = stream.feed
    for generation in (2, 3):
        old = sorted(feed.objects())
        stream.write(generation, f"gen{generation}_0.parquet", f"gen{generation}_1.parquet")
        stream.delete(*old)
        feed.run(lake)
    seen = []
    for (snapshot,) in lake.rows(f"SELECT snapshot_id FROM {LAKE}.snapshots() ORDER BY 1"):
        table = f"{STAGING}.{feed.stream.landing_table} AT (VERSION => {snapshot})"
        try:
            rows = lake.rows(f"SELECT _airbyte_raw_id FROM {table}")
        except duckdb.CatalogException:  # the table was not there yet
            continue
        # The row of NULLs that every landing table begins with, and loses again.
        seen.append(Counter(row for (row,) in rows if row is not None))
    allowed = [Counter(), *(stream.expected(generation) for generation in (1, 2, 3))]
    assert [rows for rows in seen if rows not in allowed] == []
    assert seen[-1] == stream.expected(3)


@on_sqlite
def test_nothing_depends_on_the_objects_once_they_have_landed(
    stream: Refreshes, lake: Lake
) -> None:
    stream.delete(*stream.feed.objects())
    assert stream.feed.run(lake).batches == ()
    with open_lake(stream.feed.settings) as fresh:
        assert stream.feed.landed(fresh) == stream.expected(1)
        found = reconcile(fresh, stream.feed.stream, stream.feed.client, "run", repair=True)
        assert "no object is left" in found.problems[0]
        assert stream.feed.landed(fresh) == stream.expected(1)


@on_sqlite
def test_a_generation_that_goes_on_growing_is_completed(stream: Refreshes, lake: Lake) -> None:
    stream.write(1, "gen1_2.parquet")
    assert stream.feed.run(lake).total == Registration(row_count=2, copied=1)
    assert stream.feed.landed(lake) == stream.expected(1)


@on_sqlite
def test_a_failed_sync_is_skipped_over(stream: Refreshes, lake: Lake) -> None:
    """Its files lie beside the old ones until a later sync succeeds."""
    feed, old = stream.feed, sorted(stream.feed.sent)
    failed = stream.write(2, "gen2_0.parquet")
    feed.run(lake)
    stream.write(3, "gen3_0.parquet")
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(1)
    stream.delete(*old, *failed)
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(3)


@on_sqlite
def test_a_straggler_of_an_older_generation_does_not_land(stream: Refreshes, lake: Lake) -> None:
    feed, old = stream.feed, sorted(stream.feed.sent)
    stream.write(2, "gen2_0.parquet")
    stream.delete(*old)
    feed.run(lake)
    (straggler,) = stream.write(1, "gen1_9.parquet")
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(2)
    assert feed.events(lake)[straggler] == ["ignored"]


@on_sqlite
def test_a_bad_file_keeps_the_generation_before(stream: Refreshes, lake: Lake) -> None:
    feed, old = stream.feed, sorted(stream.feed.sent)
    stream.write(2, "gen2_0.parquet")
    bad = feed.put_bytes("gen2_1.parquet", parquet(some_rows(50))[:-20])
    stream.delete(*old)
    with pytest.raises(SchemaMismatchError, match=r"generation None is not whole: .*gen2_1"):
        feed.run(lake)
    assert feed.landed(lake) == stream.expected(1)
    assert feed.events(lake)[bad] == ["quarantined"]
    assert feed.run(lake).batches == ()
    stream.write(2, "gen2_1.parquet")
    assert feed.run_afresh().total == Registration(row_count=4, copied=2)
    assert feed.landed(lake) == stream.expected(2)


@on_sqlite
def test_a_generation_settles_first(feed: Feed, lake: Lake) -> None:
    made = refreshes(feed, settle_seconds=3600)
    made.write(1, "gen1_0.parquet")
    assert made.feed.run(lake).batches == ()
    now = datetime.now(UTC)
    strategy = strategy_of(made.feed.stream)
    waiting = strategy.waiting(lake, now)
    assert "settles until" in str(waiting.reason)
    assert waiting.wake_at is not None
    assert now + timedelta(minutes=58) < waiting.wake_at < now + timedelta(minutes=61)
    assert strategy.waiting(lake, waiting.wake_at).work is not None


@on_sqlite
def test_the_same_keys_may_come_again(stream: Refreshes, lake: Lake) -> None:
    stream.write(2, "gen1_0.parquet", "gen1_1.parquet")
    assert stream.feed.run_afresh().total == Registration(row_count=4, copied=2)
    assert stream.feed.landed(lake) == stream.expected(2)


@on_sqlite
def test_nothing_is_retired(stream: Refreshes, lake: Lake) -> None:
    assert retire_files(lake, stream.feed.stream, [], "run") == Retirement()


@on_sqlite
def test_half_of_a_generation_is_never_fed_again(stream: Refreshes, lake: Lake) -> None:
    feed = stream.feed
    one, other = sorted(feed.sent)
    stream.delete(one)
    plan = plan_rewind(lake, feed.stream, Point(key=other), [])
    before = feed.guard(lake)
    with pytest.raises(PermanentError, match="objects of this generation are gone"):
        rewind(lake, feed.stream, plan, "by hand", feed.client)
    assert feed.guard(lake) == before
    assert feed.landed(lake) == stream.expected(1)


@on_sqlite
def test_a_generation_is_fed_again_as_a_whole(stream: Refreshes, lake: Lake) -> None:
    feed = stream.feed
    one = feed.key("gen1_1.parquet")
    plan = plan_rewind(lake, feed.stream, Point(key=one), [])
    assert plan.files == 2
    assert rewind(lake, feed.stream, plan, "by hand", feed.client) == 2
    assert feed.run(lake).total == Registration(row_count=4, copied=2)
    assert feed.landed(lake) == stream.expected(1)


def test_two_feeders_of_a_generation_land_it_once(stream: Refreshes, lake: Lake) -> None:
    feed, old = stream.feed, sorted(stream.feed.sent)
    stream.write(2, "gen2_0.parquet", "gen2_1.parquet")
    stream.delete(*old)
    feed.list_files(lake)
    assert len(plan_batches(lake, feed.stream)) == 1
    barrier = children.context.Barrier(2)
    racers = [
        children.start(
            children.feed,
            feed.settings,
            feed.stream,
            run,
            children.MeetBefore(barrier, "SELECT parquet_file_metadata"),
        )
        for run in ("one", "two")
    ]
    assert children.finish(*racers) == [0, 0]
    assert feed.landed(lake) == stream.expected(2)


@on_sqlite
@pytest.mark.parametrize("statement", ["COPY", "DELETE FROM", "CALL ducklake_add", "COMMIT"])
def test_a_feeder_killed_while_it_swaps_leaves_one_generation(
    stream: Refreshes, lake: Lake, statement: str
) -> None:
    feed, old = stream.feed, sorted(stream.feed.sent)
    stream.write(2, "gen2_0.parquet", "gen2_1.parquet")
    stream.delete(*old)
    feed.list_files(lake)
    hook = children.KillBefore(1, start=statement)
    code = children.run(children.feed, feed.settings, feed.stream, "killed", hook)
    assert code == children.KILLED
    assert feed.landed(lake) == stream.expected(1)
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(2)


LATER = datetime(2026, 6, 1, tzinfo=UTC)


@on_sqlite
def test_generations_that_start_again_are_asked_about_and_land(
    stream: Refreshes, lake: Lake
) -> None:
    """A connection that was made anew counts from 1 again, and leaves the files of the old one."""
    feed, first = stream.feed, sorted(stream.feed.sent)
    stream.write(57, "gen57_0.parquet")
    stream.delete(*first)
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(57)
    stream.rows.clear()
    stream.write(1, "anew_0.parquet", "anew_1.parquet", at=LATER)
    for _ in range(2):
        with pytest.raises(SchemaMismatchError, match=r"was recreated(.|\n)*delete .*gen57_0"):
            feed.run(lake)
    assert {events[-1] for key, events in feed.events(lake).items() if "anew" in key} == {
        "discovered"
    }
    stream.delete(feed.key("gen57_0.parquet"))
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(1)


@on_sqlite
def test_parts_without_a_generation_are_one_table(feed: Feed, lake: Lake) -> None:
    """Older destinations write no generation, and delete the objects before they write."""
    feed = refreshes(feed).feed
    one = feed.put("part_0.parquet")
    feed.run(lake)
    other = feed.put("part_1.parquet")
    feed.run(lake)
    assert feed.landed(lake) == feed.rows_of([one, other])
    feed.client.delete_object(Bucket=feed.settings.bucket, Key=one)
    feed.client.delete_object(Bucket=feed.settings.bucket, Key=other)
    new = feed.put("part_2.parquet")
    feed.run(lake)
    assert feed.landed(lake) == feed.rows_of([new])


@on_sqlite
def test_a_generation_without_rows_empties_the_table(stream: Refreshes, lake: Lake) -> None:
    feed, old = stream.feed, sorted(stream.feed.sent)
    stream.write(1, "gen1_9.parquet", rows=0)
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(1)
    stream.delete(*old, feed.key("gen1_9.parquet"))
    stream.write(2, "gen2_0.parquet", rows=0)
    feed.run(lake)
    assert feed.landed(lake) == Counter()


@on_sqlite
def test_a_table_without_objects_stays_until_somebody_empties_it(
    stream: Refreshes, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    feed = stream.feed
    stream.delete(*feed.objects())
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(1)
    assert "no object is left" in caplog.text
    said = reconcile(lake, feed.stream, feed.client, "look")
    assert (said.missing, said.repaired) == (2, 0)
    [status] = read_status(lake, [feed.stream], {})
    assert status.missing == 2

    before = landed_snapshot(lake, feed.stream)
    assert reconcile(lake, feed.stream, feed.client, "repair", empty=True).repaired == 2
    assert feed.landed(lake) == Counter()
    assert landed_snapshot(lake, feed.stream) > before
    [status] = read_status(lake, [feed.stream], {})
    assert status.missing == 0
    assert reconcile(lake, feed.stream, feed.client, "again", empty=True).missing == 0

    stream.write(2, "gen2_0.parquet")
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(2)


@on_sqlite
def test_a_table_without_objects_is_no_fault_once_another_generation_has_landed(
    stream: Refreshes, lake: Lake
) -> None:
    feed = stream.feed
    keys = sorted(feed.sent)
    objects = [feed.client.get_object(Bucket=feed.settings.bucket, Key=key) for key in keys]
    bodies = [found["Body"].read() for found in objects]
    stream.delete(*keys)
    feed.run(lake)
    # What was deleted by mistake comes back as it was.
    for key, body in zip(keys, bodies, strict=True):
        feed.client.put_object(Bucket=feed.settings.bucket, Key=key, Body=body)
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(1)
    stream.delete(*keys)
    feed.run(lake)
    stream.write(2, "gen2_0.parquet")
    feed.run(lake)
    assert feed.landed(lake) == stream.expected(2)
    [status] = read_status(lake, [feed.stream], {})
    assert (status.missing, status.copied) == (0, 1)
