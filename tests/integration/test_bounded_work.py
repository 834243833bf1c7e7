"""Invariant 4: a batch is bounded in files and bytes, a run in batches; progress is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import duckdb
import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.session import Lake
from tests import children
from tests.catalogs import on_sqlite
from tests.feeds import Feed
from tests.proxy import Operation, run_proxy
from tests.servers import S3Server

pytestmark = on_sqlite


def fill(feed: Feed, count: int) -> None:
    for number in range(count):
        feed.put(f"part_{number}.parquet", rows=1)


def test_a_batch_is_bounded_in_files(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(batch_files=3)
    fill(feed, 7)
    assert [batch.registered for batch in feed.run(lake).batches] == [3, 3, 1]


def test_a_batch_is_bounded_in_bytes(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed()
    fill(feed, 5)
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)
    feed = make_feed(batch_bytes=batch.size_bytes // 2)
    batches = plan_batches(lake, feed.stream)
    assert [batch.file_count for batch in batches] == [2, 2, 1]
    assert all(batch.size_bytes <= feed.stream.feeder.batch_bytes for batch in batches)


def test_a_file_over_the_bound_goes_alone(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(batch_bytes=1, max_batches=2)
    fill(feed, 3)
    assert [batch.registered for batch in feed.run(lake).batches] == [1, 1]


def test_a_run_is_bounded_in_batches_and_the_next_goes_on(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(batch_files=2, max_batches=2)
    fill(feed, 7)
    backlogs = []
    for run in ("one", "two", "three"):
        feed.run(lake, run)
        backlogs.append(read_state(lake, feed.stream, run, []).backlog_files)
    assert backlogs == [3, 0, 0]
    assert feed.landed(lake) == feed.rows_of(feed.sent)


def test_what_waits_is_not_forgotten_when_more_arrives(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(batch_files=2, max_batches=1)
    fill(feed, 5)
    feed.run(lake)
    assert feed.guard(lake).first_pending == 1
    feed.put("part_5.parquet", rows=1)
    feed.list_files(lake)
    assert feed.guard(lake).first_pending == 3
    assert [feed.run(lake).listing.backlog for _ in range(3)] == [4, 2, 0]
    assert sum(feed.landed(lake).values()) == 6
    feed.put("part_6.parquet", rows=1)
    feed.list_files(lake)
    assert feed.guard(lake).first_pending == 7


def test_batches_follow_the_natural_order_of_keys(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(batch_files=1, max_batches=2)
    for number in (10, 9, 1):
        feed.put(f"part_{number}.parquet")
    feed.run(lake)
    landed = [key for key, events in feed.events(lake).items() if events == ["registered"]]
    assert sorted(landed) == [feed.key("part_1.parquet"), feed.key("part_9.parquet")]


def test_progress_is_kept_when_a_later_batch_fails(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(batch_files=2)
    fill(feed, 6)
    feed.list_files(lake)
    first, second, third = plan_batches(lake, feed.stream)
    register_batch(lake, feed.stream, first, "run")

    def fail(statement: str) -> None:
        if "ducklake_add_data_files" in statement:
            raise KeyboardInterrupt

    failing = Lake(children.Watched(lake.con, fail), lake.settings)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        register_batch(failing, feed.stream, second, "run")
    state = read_state(lake, feed.stream, "run", [])
    assert (state.registered, state.row_count, state.backlog_files) == (2, 2, 4)
    with pytest.raises(duckdb.TransactionException, match="no transaction is active"):
        lake.con.execute("ROLLBACK")
    for batch in (second, third):
        assert register_batch(lake, feed.stream, batch, "run").registered == 2
    assert feed.landed(lake) == feed.rows_of(feed.sent)


@pytest.mark.parametrize("validation", ["full", "footer"])
def test_a_file_that_lands_costs_two_requests_at_most(
    make_feed: Callable[..., Feed], s3: S3Server, validation: str
) -> None:
    feed = make_feed(validation=validation, batch_files=4)
    fill(feed, 10)
    sent: Counter[Operation] = Counter()

    def note(operation: Operation, _path: str) -> None:
        sent[operation] += 1

    assert s3.access.endpoint_url is not None
    with run_proxy(s3.access.endpoint_url) as proxy:
        proxy.plan = note
        access = replace(feed.settings.s3, endpoint_url=proxy.url)
        with closing(s3_client(access)) as client:
            counted = replace(feed, settings=replace(feed.settings, s3=access), client=client)
            assert counted.run_afresh().total.registered == 10
    assert sent == {Operation.LIST: 1, Operation.HEAD: 10, Operation.GET: 10}


def test_a_plan_with_nothing_to_do_is_empty(feed: Feed, lake: Lake) -> None:
    feed.list_files(lake)
    assert plan_batches(lake, feed.stream) == []
