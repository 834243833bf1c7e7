"""Invariants 7 and 8: what is gone, put in its place, or tried again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.events import files_with
from lotus_lake.repair import quarantine
from lotus_lake.repair.reconcile import Reconciliation, reconcile
from lotus_lake.repair.requeue import requeue
from tests.catalogs import on_sqlite
from tests.feeds import Feed

pytestmark = on_sqlite


def reconciled(feed: Feed, *, repair: bool = False) -> Reconciliation:
    """Reconcile in a DuckDB of its own, as the command line does."""
    with open_lake(feed.settings) as lake:
        return reconcile(lake, feed.stream, feed.client, "reconcile", repair=repair)


def test_another_object_in_the_place_of_a_missing_one_lands_and_stays(
    feed: Feed, lake: Lake
) -> None:
    key = feed.put(rows=3)
    feed.run_afresh()
    feed.client.delete_object(Bucket=feed.settings.bucket, Key=key)
    assert reconciled(feed).missing == 1
    feed.put(rows=5)
    assert feed.run_afresh().total.registered == 1
    for repair in (False, True):
        found = reconciled(feed, repair=repair)
        assert (found.missing, found.unknown_data_files, found.requeued) == (0, 0, 0)
        assert found.problems == []
    assert feed.landed(lake) == feed.rows_of([key])
    assert feed.events(lake) == {key: ["replaced", "registered"]}


def test_of_the_versions_of_an_object_only_the_one_that_is_there_is_tried_again(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(batch_files=1)
    for size in (90, 91):
        key = feed.put_bytes("part_0.parquet", b"x" * size)
        feed.run_afresh()
    assert quarantine.retry(lake, feed.stream, [], "retry") == 1
    feed.run_afresh()
    feed.put(rows=4)
    for keys in ([], [key]):
        with pytest.raises(PermanentError, match="no longer") if keys else nullcontext():
            assert quarantine.retry(lake, feed.stream, keys, "retry") == 0
    feed.run_afresh()
    assert feed.events(lake) == {key: ["replaced", "replaced", "registered"]}
    assert feed.landed(lake) == feed.rows_of([key])


@pytest.mark.parametrize("batch_files", [1, 10])
def test_of_two_versions_of_an_object_only_one_waits(
    make_feed: Callable[..., Feed], lake: Lake, batch_files: int
) -> None:
    """Each would be read from the same object, and its rows counted twice."""
    feed = make_feed(batch_files=batch_files)
    for size in (90, 91):
        key = feed.put_bytes("part_0.parquet", b"x" * size)
        feed.run_afresh()
    older = files_with(lake, feed.stream, ("quarantined",))
    feed.put(rows=4)
    feed.list_files(lake)
    assert requeue(lake, feed.stream, older, "retry") == 0
    feed.run_afresh()
    assert feed.events(lake) == {key: ["replaced", "replaced", "registered"]}
    assert feed.landed(lake) == feed.rows_of([key])
    landed = files_with(lake, feed.stream, ("registered",))
    assert requeue(lake, feed.stream, landed, "rewind") == 1
    assert requeue(lake, feed.stream, landed, "rewind, at the same time") == 0
    feed.run_afresh()
    assert feed.landed(lake) == feed.rows_of([key])
