"""What lands while another process lists is not judged by that listing."""

from __future__ import annotations

from collections.abc import Callable

from lotus_lake.feeder.list import Listing
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.repair.reconcile import reconcile
from tests.catalogs import on_sqlite
from tests.children import Watched
from tests.feeds import Feed
from tests.refreshing import refreshes

# The first statement that compares what was listed with the ledger.
COMPARES = "SELECT key, etag, size_bytes"


def while_listing(
    lake: Lake, happens: Callable[[], object], start: str = COMPARES, number: int = 1
) -> Lake:
    """The lake of a process beside which something happens once it has listed.

    It happens before the n-th statement that starts with some text.
    """
    left = number

    def hook(statement: str) -> None:
        nonlocal left
        left -= statement.startswith(start)
        if left == 0:
            left = -1
            happens()

    return Lake(Watched(lake.con, hook), lake.settings)  # type: ignore[arg-type]


def test_what_lands_beside_a_reconcile_is_not_missing(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet")
    feed.run(lake)

    def land() -> None:
        for number in range(1, 4):
            feed.put(f"part_{number}.parquet")
        assert feed.run_afresh().total.registered == 3

    busy = while_listing(lake, land)
    found = reconcile(busy, feed.stream, feed.client, "reconcile", repair=True)
    assert (found.listed, found.missing, found.repaired) == (1, 0, 0)
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of(feed.sent)


@on_sqlite
def test_what_lands_beside_a_listing_of_an_overwrite_stream_stays(feed: Feed, lake: Lake) -> None:
    made = refreshes(feed)
    feed = made.feed
    made.write(1, "gen1_0.parquet")
    feed.run(lake)

    def land() -> None:
        made.write(1, "gen1_1.parquet")
        feed.run_afresh()

    feed.list_files(while_listing(lake, land))
    assert {events[-1] for events in feed.events(lake).values()} == {"copied"}
    assert feed.run(lake).batches == ()
    assert feed.landed(lake) == made.expected(1)


@on_sqlite
def test_an_object_that_is_replaced_beside_a_listing_is_not_judged_by_it(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    """The listing shows the version before, which has left the landing table meanwhile."""
    feed = make_feed(on_overwrite="reload")
    key = feed.put(rows=3)
    feed.run(lake)

    def replace() -> None:
        feed.put(rows=5)
        assert feed.run_afresh().total.registered == 1

    assert feed.list_files(while_listing(lake, replace)) == Listing(1, 0, 0, 0, 0)
    assert feed.events(lake) == {key: ["replaced", "registered"]}


@on_sqlite
def test_an_object_that_came_back_beside_a_repair_stays(feed: Feed, lake: Lake) -> None:
    """Its old registration is taken out; the new one, which is younger, is not."""
    key = feed.put(rows=3)
    feed.run(lake)
    data = feed.client.get_object(Bucket=feed.settings.bucket, Key=key)["Body"].read()
    feed.client.delete_object(Bucket=feed.settings.bucket, Key=key)

    def come_back() -> None:
        feed.put_bytes("part_0.parquet", data)
        assert feed.run_afresh().total.registered == 1

    # The files that are missing have been looked up, and are about to be taken out.
    busy = while_listing(lake, come_back, start="ROLLBACK", number=2)
    reconcile(busy, feed.stream, feed.client, "reconcile", repair=True)
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
        assert feed.events(fresh) == {key: ["registered"]}
