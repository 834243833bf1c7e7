"""Processes that make and drop branches are killed at every step; the lake never notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.repair.branches import create_branch, drop_branch, list_branches
from tests import children
from tests.children import KILLED, Hook, KillBefore, KillWithin, Watched, let_pass
from tests.feeds import Feed

NAME = "new_sales"
TABLE = f"{LAKE}.main.fct"


def make(settings: Settings, hook: Hook = let_pass) -> None:
    """Child: make the branch."""
    with open_lake(settings) as opened:
        create_branch(Lake(Watched(opened.con, hook), settings), NAME)  # type: ignore[arg-type]


def drop(settings: Settings, hook: Hook = let_pass) -> None:
    """Child: drop the branch."""
    with open_lake(settings) as opened:
        drop_branch(Lake(Watched(opened.con, hook), settings), NAME)  # type: ignore[arg-type]


def hooks() -> Iterator[Hook]:
    """Deaths at steps that are far apart, and around each commit, where it matters."""
    for number in (1, 3, 8, 20, 45, 80):
        yield KillBefore(number)
    for seconds in (0.0, 0.003, 0.01, 0.03, 0.1):
        yield KillWithin(1, seconds)


def state(feed: Feed) -> str:
    with open_lake(feed.settings) as lake:
        return next((found.state for found in list_branches(lake)), "none")


def contents(settings: Settings, feed: Feed) -> tuple[Counter[str], list[tuple[int, str]]]:
    with open_lake(settings) as lake:
        return feed.landed(lake), lake.rows(f"SELECT id, text FROM {TABLE} ORDER BY ALL")


def files(settings: Settings) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(settings.data_path).rglob("*") if p.is_file()}


@pytest.mark.timeout(600)
def test_a_branch_is_whole_or_not_there_and_the_lake_stays_as_it_was(feed: Feed) -> None:
    settings, branch = feed.settings, feed.settings.of_branch(NAME)
    feed.put("new.parquet")
    feed.run_afresh()
    with open_lake(settings) as lake:
        lake.con.execute(f"CREATE TABLE {TABLE} AS SELECT range AS id, 'a' AS text FROM range(99)")
        lake.con.execute(f"INSERT INTO {TABLE} VALUES (99, 'inlined')")
    before, own, objects = contents(settings, feed), files(settings), feed.objects()
    deaths: Counter[str] = Counter()
    for hook in hooks():
        deaths["made"] += children.run(make, settings, hook) == KILLED
        if state(feed) != "live":
            assert children.run(make, settings) == 0
        assert contents(branch, feed) == before
        with open_lake(branch) as lake:
            lake.con.execute(f"CREATE TABLE {LAKE}.main.own AS SELECT * FROM range(1000)")
            lake.con.execute(f"DELETE FROM {TABLE} WHERE id < 50")
        deaths["dropped"] += children.run(drop, settings, hook) == KILLED
        if state(feed) != "none":
            assert children.run(drop, settings) == 0
        assert state(feed) == "none"
        assert not files(branch)
        assert (contents(settings, feed), files(settings), feed.objects()) == (before, own, objects)
    assert deaths["made"] > 4
    assert deaths["dropped"] > 4
