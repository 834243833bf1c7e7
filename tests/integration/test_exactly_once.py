"""Invariant 1: every file is registered once, whatever repeats, overlaps, races or dies."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from lotus_lake.feeder.batch import Batch, plan_batches
from lotus_lake.feeder.register import Registration, land_files, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger import registrations
from lotus_lake.ledger.registrations import count_unknown
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import Feed

KILLED = children.KILLED


def assert_landed_once(feed: Feed, lake: Lake) -> None:
    """Listing, ledger and table tell the same story, row for row."""
    listed = feed.objects()
    assert listed == set(feed.sent)
    assert feed.events(lake) == {key: ["registered"] for key in listed}
    assert feed.landed(lake) == feed.rows_of(listed)
    (registrations,) = lake.rows(
        f"SELECT count(*) FROM {META}.file_events WHERE event = 'registered' AND stream = ?",
        [feed.stream.name],
    )
    assert registrations == (len(listed),)


def fill(feed: Feed, count: int) -> None:
    for number in range(count):
        feed.put(f"part_{number}.parquet", rows=number + 1)


def test_registering_twice_changes_nothing(feed: Feed, lake: Lake) -> None:
    fill(feed, 4)
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)
    first = register_batch(lake, feed.stream, batch, "one")
    before = feed.guard(lake)
    assert first == Registration(registered=4, row_count=10)
    assert register_batch(lake, feed.stream, batch, "two") == Registration()
    assert feed.run(lake).total == Registration()
    assert feed.guard(lake) == before
    assert_landed_once(feed, lake)


@on_sqlite
def test_overlapping_batches_land_once(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed()
    fill(feed, 6)
    feed.list_files(lake)
    parts = [Batch(1, 3, 1, 4, 4, 0), Batch(2, 3, 3, 6, 4, 0), Batch(3, 3, 1, 6, 6, 0)]
    counts = [register_batch(lake, feed.stream, part, "run").registered for part in parts]
    assert counts == [4, 2, 0]
    assert_landed_once(feed, lake)


@on_postgres
def test_of_two_feeders_with_open_transactions_one_wins(feed: Feed, lake: Lake) -> None:
    fill(feed, 4)
    feed.list_files(lake)
    barrier = children.context.Barrier(2)
    racers = [
        children.start(
            children.feed, feed.settings, feed.stream, run, children.MeetBefore(barrier, "COMMIT")
        )
        for run in ("one", "two")
    ]
    assert children.finish(*racers) == [0, 0]
    assert_landed_once(feed, lake)
    winners = lake.rows(
        f"SELECT DISTINCT dag_run_id FROM {META}.file_events WHERE event = 'registered'"
    )
    assert len(winners) == 1


def test_two_feeders_that_read_the_same_footers_land_each_file_once(feed: Feed, lake: Lake) -> None:
    fill(feed, 6)
    feed.list_files(lake)
    barrier = children.context.Barrier(2)
    racers = [
        children.start(
            children.feed,
            feed.settings,
            feed.stream,
            run,
            children.MeetBefore(barrier, "DESCRIBE SELECT"),
        )
        for run in ("one", "two")
    ]
    assert children.finish(*racers) == [0, 0]
    assert_landed_once(feed, lake)


def test_feeders_that_start_together_on_nothing_land_each_file_once(feed: Feed) -> None:
    fill(feed, 6)
    racers = [
        children.start(children.feed, feed.settings, feed.stream, f"run-{number}")
        for number in range(3)
    ]
    assert children.finish(*racers) == [0, 0, 0]
    with open_lake(feed.settings) as lake:
        assert_landed_once(feed, lake)


def test_a_file_that_lands_while_all_is_compared_is_not_taken_for_unknown(
    feed: Feed, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.put("part_0.parquet")
    feed.run(lake)
    of_snapshot = registrations._as_of

    def another_lands_first(*arguments: Any) -> Any:
        feed.put("part_1.parquet")
        assert feed.run_afresh().total.registered == 1
        return of_snapshot(*arguments)

    monkeypatch.setattr(registrations, "_as_of", another_lands_first)
    assert count_unknown(lake, feed.stream) == 0
    assert_landed_once(feed, lake)


def statements_of_a_commit(feed: Feed) -> list[str]:
    """What a pass that lands files runs from the BEGIN of their commit on, to its very end."""
    fill(feed, 3)
    seen: list[str] = []
    with open_lake(feed.settings) as lake:
        feed.list_files(lake)
        watched = dataclasses.replace(lake, con=children.Watched(lake.con, seen.append))  # type: ignore[arg-type]
        for batch in plan_batches(lake, feed.stream):
            land_files(watched, feed.stream, batch, "run")
    return seen[next(n for n, text in enumerate(seen) if text.startswith("BEGIN")) :]


def test_a_feeder_killed_at_any_statement_of_a_commit_loses_and_doubles_nothing(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed, statements = make_feed(), statements_of_a_commit(make_feed("twin"))
    commit, end = statements.index("COMMIT") + 1, len(statements)
    assert (statements.count("COMMIT"), end > commit > 5) == (1, True)
    # What comes before the COMMIT is the same on Postgres, and has committed nothing.
    before = range(1 if feed.settings.catalog.kind == "sqlite" else commit, commit + 1)
    fill(feed, 3)
    feed.list_files(lake)
    seen = []
    for number in (*before, end, end + 1):
        hook = children.KillBefore(number, start="BEGIN")
        code = children.run(children.feed, feed.settings, feed.stream, "killed", hook)
        events = {latest for (latest,) in feed.events(lake).values()}
        seen.append((code, sum(feed.landed(lake).values()), events))
    # Nothing lands before the COMMIT, everything does with it; then there is nothing to kill.
    assert seen == [
        *([(KILLED, 0, {"discovered"})] * len(before)),
        (KILLED, 6, {"registered"}),
        (0, 6, {"registered"}),
    ]
    assert_landed_once(feed, lake)


@on_sqlite
def test_a_feeder_killed_at_random_moments_loses_and_doubles_nothing(
    make_feed: Callable[..., Feed],
) -> None:
    feed, chance = make_feed(batch_files=2, max_batches=50), random.Random(7)
    fill(feed, 20)
    hooks = [
        children.KillBefore(chance.randint(1, 12)),
        children.KillWithin(1, chance.uniform(0, 0.02)),
        children.KillBefore(chance.randint(12, 80)),
        children.KillWithin(2, chance.uniform(0, 0.02)),
        children.KillBefore(chance.randint(12, 80)),
    ]
    for number, hook in enumerate(hooks):
        run = f"run-{number}"
        assert children.run(children.feed, feed.settings, feed.stream, run, hook) == KILLED
    assert children.run(children.feed, feed.settings, feed.stream, "last") == 0
    with open_lake(feed.settings) as lake:
        assert_landed_once(feed, lake)
