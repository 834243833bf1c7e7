"""Invariant 8, `on_overwrite: reload`: the new version takes the place of the old one, once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest

from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.repair import quarantine
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.consuming import consume, expire_and_clean
from tests.feeds import DAY, SHAPE, Feed, parquet, some_rows


@pytest.fixture
def reloading(make_feed: Callable[..., Feed]) -> Feed:
    """A stream that reloads what was replaced."""
    return make_feed(on_overwrite="reload")


def test_a_reloaded_object_has_its_new_rows_only(reloading: Feed, lake: Lake) -> None:
    feed = reloading
    key, other = feed.put(rows=3), feed.put("part_1.parquet", rows=2)
    feed.run(lake)
    for count in (5, 2):
        feed.put(rows=count)
        assert feed.run_afresh().total == Registration(1, 0, 0, count)
        with open_lake(feed.settings) as fresh:
            assert feed.landed(fresh) == feed.rows_of([key, other])
    assert feed.events(lake) == {key: ["replaced", "replaced", "registered"], other: ["registered"]}


@on_sqlite
def test_an_object_that_was_put_back_is_reloaded_too(reloading: Feed, lake: Lake) -> None:
    feed, rows = reloading, some_rows(3)
    key = feed.put(rows=rows)
    feed.run(lake)
    feed.put(rows=5)
    feed.run_afresh()
    feed.put(rows=rows)
    assert feed.run_afresh().total.registered == 1
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])


@on_sqlite
def test_a_new_version_that_is_damaged_takes_the_unreadable_old_one_out(
    reloading: Feed, lake: Lake
) -> None:
    feed = reloading
    key, other = feed.put(rows=3), feed.put("part_1.parquet", rows=2)
    feed.run(lake)
    feed.put_bytes("part_0.parquet", b"x" * 99)
    feed.run_afresh()
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([other])
    assert feed.events(lake)[key] == ["replaced", "quarantined"]


@on_sqlite
def test_retrying_a_quarantined_version_reloads_this_one_object(feed: Feed, lake: Lake) -> None:
    key = feed.put(rows=3)
    feed.run(lake)
    feed.put(rows=4)
    assert feed.list_files(lake).quarantined == 1
    assert quarantine.retry(lake, feed.stream, [key], "by hand") == 1
    assert feed.run_afresh().total == Registration(1, 0, 0, 4)
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
    assert feed.events(lake)[key] == ["replaced", "registered"]


STATEMENTS = (
    "SELECT data_file_id",
    "BEGIN",
    "DELETE FROM __ducklake",
    "CALL ducklake_add",
    "COMMIT",
)


@on_sqlite
def test_a_feeder_killed_while_it_reloads_loses_and_doubles_nothing(
    reloading: Feed, lake: Lake
) -> None:
    feed = reloading
    keys = [feed.put(f"part_{number}.parquet", rows=3) for number in range(2)]
    feed.run(lake)
    for number, statement in enumerate(STATEMENTS, start=1):
        for name in ("part_0.parquet", "part_1.parquet"):
            feed.put(name, rows=number)
        hook = children.KillBefore(1, start=statement)
        code = children.run(children.feed, feed.settings, feed.stream, "killed", hook)
        assert code == children.KILLED, statement
        feed.run_afresh()
        with open_lake(feed.settings) as fresh:
            assert feed.landed(fresh) == feed.rows_of(keys), statement


@on_postgres
def test_a_feeder_that_is_behind_does_not_undo_a_reload(reloading: Feed, lake: Lake) -> None:
    """It has read the queue before the other one committed, and forgets only what is older."""
    feed = reloading
    key = feed.put(rows=3)
    feed.run(lake)
    feed.put(rows=5)
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)
    done: list[Registration] = []

    def overtake(statement: str) -> None:
        if statement.startswith("SELECT data_file_id") and not done:
            done.append(Registration())
            with open_lake(feed.settings) as other:
                done.append(register_batch(other, feed.stream, batch, "fast"))

    slow = Lake(children.Watched(lake.con, overtake), lake.settings)  # type: ignore[arg-type]
    assert register_batch(slow, feed.stream, batch, "slow") == Registration()
    assert done[1] == Registration(1, 0, 0, 5)
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])


@on_sqlite
def test_a_file_that_somebody_registered_by_hand_lands_once(feed: Feed, lake: Lake) -> None:
    feed.list_files(lake)
    key = feed.put(rows=3)
    lake.con.execute(
        f"CALL ducklake_add_data_files('{LAKE}', ?, ?, schema => 'staging', allow_missing => true)",
        [feed.stream.landing_table, lake.settings.uri(key)],
    )
    assert feed.run(lake).total.registered == 1
    assert feed.landed(lake) == feed.rows_of([key])


@on_sqlite
def test_a_copy_is_replaced_like_any_other_file(reloading: Feed, lake: Lake) -> None:
    feed = reloading
    text_ids = {**SHAPE, "id": pa.string()}
    key = feed.put(rows=[{**row, "id": str(row["id"])} for row in some_rows(3)], shape=text_ids)
    assert feed.run(lake).total.copied == 1
    feed.put(rows=2)
    feed.run_afresh()
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
    assert feed.events(lake)[key] == ["replaced", "registered"]


@on_sqlite
def test_a_late_version_of_a_retired_file_is_loaded_and_not_deleted_with_it(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_overwrite="reload", retention_days=2)
    old = DAY - timedelta(days=5)
    key, newest = feed.put(day=old), feed.put("part_9.parquet")
    feed.run(lake)
    consume(feed, lake, "int_orders")
    assert retire_files(lake, feed.stream, ["int_orders"], "run").files == 1
    feed.put(rows=7, day=old)
    assert feed.run_afresh().total.registered == 1
    expire_and_clean(lake)
    assert feed.objects() == {key, newest}
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key, newest])


def test_the_bytes_of_both_versions_differ() -> None:
    """The tests above would show nothing if they did not."""
    assert parquet(some_rows(3)) != parquet(some_rows(3))


@on_sqlite
def test_a_copy_stays_when_what_replaced_its_object_is_damaged(reloading: Feed, lake: Lake) -> None:
    feed = reloading
    text_ids = {**SHAPE, "id": pa.string()}
    key = feed.put(rows=[{**row, "id": str(row["id"])} for row in some_rows(3)], shape=text_ids)
    feed.run(lake)
    feed.put_bytes("part_0.parquet", b"x" * 99)
    feed.run_afresh()
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
    assert feed.events(lake)[key] == ["copied", "quarantined"]
    feed.put(rows=2)
    feed.run_afresh()
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
