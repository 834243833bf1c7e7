"""Processes that promote and roll back are killed at every step, also while others work."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.model_events import PROMOTED
from lotus_lake.repair.branches import create_branch, drop_branch
from tests import children
from tests.children import KILLED, Hook, KillBefore, KillWithin, Watched, let_pass
from tests.feeds import Feed
from tests.promoting import FCT, INT, NAME, build, build_on, do_promote, roll_back, table

FED = "fed"
Tables = tuple[list[tuple[object, ...]], ...]


def promote(settings: Settings, hook: Hook = let_pass) -> None:
    """Child: promote the tables of the branch."""
    with open_lake(settings) as opened:
        do_promote(Lake(Watched(opened.con, hook), settings), behind=True)  # type: ignore[arg-type]


def back(settings: Settings, hook: Hook = let_pass) -> None:
    """Child: take the last promotion back."""
    with open_lake(settings) as opened:
        roll_back(Lake(Watched(opened.con, hook), settings), FCT, INT)  # type: ignore[arg-type]


def grow(settings: Settings, hook: Hook = let_pass) -> None:
    """Child: builds of the processed model, one after the other."""
    with open_lake(settings) as opened:
        lake = Lake(Watched(opened.con, hook), settings)  # type: ignore[arg-type]
        for _ in range(4):
            build_on(lake)


def hooks() -> Iterator[Hook]:
    """Deaths at steps that are far apart, and around the commit, where it matters."""
    for number in (2, 15, 30, 45, 55, 65, 75, 85):
        yield KillBefore(number)
    for seconds in (0.0, 0.003, 0.01, 0.03, 0.1):
        yield KillWithin(1, seconds)


def tables(settings: Settings) -> Tables:
    with open_lake(settings) as lake:
        return table(lake, INT), table(lake, FCT)


@pytest.mark.timeout(600)
def test_readers_see_all_tables_or_none_and_a_kill_loses_nothing(feed: Feed) -> None:
    settings, branch = feed.settings, feed.settings.of_branch(NAME)
    feed.put("new.parquet", rows=300)
    feed.run_afresh()
    with open_lake(settings) as lake:
        build(lake)
        create_branch(lake, NAME)
    with open_lake(branch) as lake:
        build(lake, INT, FCT, text="upper(status)")
        lake.con.execute(f"DELETE FROM {LAKE}.main.{INT} WHERE id < 3")
    old, new = tables(settings), tables(branch)
    assert old != new
    promote(settings)
    back(settings)
    deaths: Counter[str] = Counter()
    for hook in hooks():
        deaths["promote"] += children.run(promote, settings, hook) == KILLED
        if tables(settings) != new:
            assert tables(settings) == old
            assert children.run(promote, settings) == 0
        assert tables(settings) == new
        deaths["back"] += children.run(back, settings, hook) == KILLED
        if tables(settings) != old:
            assert tables(settings) == new
            assert children.run(back, settings) == 0
        assert (tables(settings), tables(branch)) == (old, new)
    assert min(deaths["promote"], deaths["back"]) > 6
    with open_lake(settings) as lake:
        drop_branch(lake, NAME)
    assert tables(settings) == old


def mostly_killed(target: object, settings: Settings, *more: object, dice: random.Random) -> object:
    """Start a child that may die around a commit, or at any step."""
    hook = dice.choice([
        let_pass, KillBefore(dice.randint(1, 120)),
        KillWithin(dice.randint(1, 3), dice.choice([0.0, 0.01, 0.05, 0.3])),
    ])  # fmt: skip
    return children.start(target, settings, *more, hook)  # type: ignore[arg-type]


@pytest.mark.timeout(900)
def test_a_storm_over_lake_and_branches_that_are_fed(feed: Feed) -> None:
    """The tables go back and forth while rows land; in the end each row is there once."""
    dice = random.Random(18)
    settings, fed = feed.settings, feed.settings.of_branch(FED)
    feed.put("first.parquet", rows=50)
    feed.run_afresh()
    with open_lake(settings) as lake:
        build(lake)
        create_branch(lake, NAME)
        create_branch(lake, FED)
    with open_lake(settings.of_branch(NAME)) as lake:
        build(lake, INT, FCT)
    deaths = 0
    for number in range(6):
        feed.put(f"part_{number}.parquet", rows=20)
        codes = children.finish(*(
            mostly_killed(*what, dice=dice)  # type: ignore[misc]
            for what in (
                (children.feed, settings, feed.stream, "run"),
                (children.feed, fed, feed.stream, "run"),
                (grow, settings),
                (promote if number % 2 else back, settings),
                (promote, settings),
            )
        ))  # fmt: skip
        deaths += codes.count(KILLED)
    assert deaths > 5
    for each in (settings, fed):
        assert children.run(children.feed, each, feed.stream, "run") == 0
    with open_lake(fed) as lake:
        assert set(feed.landed(lake).values()) == {1}
        assert feed.landed(lake).total() == 170
    with open_lake(settings) as lake:
        assert lake.value(f"SELECT count(*) FROM {META}.model_events WHERE event = ?", [PROMOTED])
        assert feed.landed(lake).total() == 170
        build_on(lake)
        ids = Counter(lake.rows(f"SELECT id, _lake_snapshot_id FROM {LAKE}.main.{INT}"))
        landed = Counter(lake.rows(
            f"SELECT id, snapshot_id FROM {LAKE}.staging.{feed.stream.landing_table} "
            "WHERE year IS NOT NULL"
        ))  # fmt: skip
        assert ids == landed
        drop_branch(lake, NAME)
        drop_branch(lake, FED)
        assert Counter(lake.rows(f"SELECT id, _lake_snapshot_id FROM {LAKE}.main.{INT}")) == landed
