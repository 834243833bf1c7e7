"""Other bytes under a landed key: the table stays readable, whatever the policy; others go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from lotus_lake.errors import StorageUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.repair import quarantine
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.rewind import Point, plan_rewind, rewind
from tests.catalogs import on_sqlite
from tests.feeds import Feed
from tests.refusing import refused

Answer = Callable[[Feed, Lake], object]


def readable(feed: Feed) -> Counter[str]:
    """What a reader without any cache sees of every column."""
    with open_lake(feed.settings) as fresh:
        fresh.rows(f"SELECT hash(COLUMNS(*)) FROM {LAKE}.staging.{feed.stream.landing_table}")
        return feed.landed(fresh)


@pytest.mark.parametrize(
    ("policy", "lands"), [("error", False), ("ignore", False), ("reload", True)]
)
def test_the_table_stays_readable_and_the_others_go_on(
    make_feed: Callable[..., Feed], lake: Lake, policy: str, lands: bool
) -> None:
    feed = make_feed(on_overwrite=policy)
    key, other = feed.put(rows=3), feed.put("part_1.parquet", rows=2)
    feed.run(lake)
    feed.put(rows=5)
    later = feed.put("part_2.parquet", rows=4)
    feed.run_afresh()
    expected = [other, later, *([key] if lands else [])]
    assert readable(feed) == feed.rows_of(expected)
    feed.run_afresh()
    assert readable(feed) == feed.rows_of(expected)
    assert feed.events(lake)[key][0] == "replaced"


def retry(feed: Feed, lake: Lake) -> None:
    assert quarantine.retry(lake, feed.stream, [feed.key("part_0.parquet")], "hand") == 1


def drop(feed: Feed, lake: Lake) -> None:
    assert quarantine.drop(lake, feed.stream, [feed.key("part_0.parquet")], "hand") == 1


def repair(feed: Feed, lake: Lake) -> None:
    reconcile(lake, feed.stream, feed.client, "hand", repair=True)


def feed_again(feed: Feed, lake: Lake) -> None:
    plan = plan_rewind(lake, feed.stream, Point(), [])
    rewind(lake, feed.stream, plan, "hand", feed.client)


@on_sqlite
@pytest.mark.parametrize("seen_before", [True, False])
@pytest.mark.parametrize("answer", [retry, drop, repair, feed_again])
def test_each_answer_leaves_a_table_that_can_be_read(
    feed: Feed, lake: Lake, answer: Answer, seen_before: bool
) -> None:
    key, other = feed.put(rows=3), feed.put("part_1.parquet", rows=2)
    feed.run(lake)
    feed.put(rows=5)
    if seen_before or answer in (retry, drop):
        feed.list_files(lake)
    answer(feed, lake)
    feed.run_afresh()
    assert readable(feed) == feed.rows_of([key, other] if answer is retry else [other])


@on_sqlite
def test_each_new_version_is_decided_about(feed: Feed, lake: Lake) -> None:
    """A version that was taken out has landed all the same."""
    key = feed.put(rows=3)
    feed.run(lake)
    for rows in (4, 5):
        feed.put(rows=rows)
        assert feed.run_afresh().listing.quarantined == 1
        drop(feed, lake)
    assert feed.events(lake)[key] == ["replaced", "ignored", "ignored"]


@on_sqlite
@pytest.mark.parametrize("rows", [1, 50])
def test_a_read_that_meets_changed_bytes_says_so(feed: Feed, lake: Lake, rows: int) -> None:
    """Between the overwrite and the next listing nobody can read the table."""
    feed.put(rows=3)
    feed.run(lake)
    feed.put(rows=rows)
    with refused(StorageUnavailableError, "replaced", "lotus-lake reconcile"):
        readable(feed)
    reconcile(lake, feed.stream, feed.client, "hand")
    assert readable(feed) == Counter()
