"""No snapshot expires that an open transaction needs, however old it may be."""

from __future__ import annotations

import pytest

from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.upkeep import expiry
from tests.catalogs import on_postgres
from tests.children import Watched
from tests.feeds import Feed


@on_postgres
def test_an_expiry_beside_two_feeders_doubles_nothing(
    feed: Feed, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one has begun; the fast one lands its file; then every snapshot is old enough."""
    monkeypatch.setattr(expiry, "SNAPSHOT_DAYS", 0)
    key = feed.put()
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)
    expired: list[int] = []

    def overtake(statement: str) -> None:
        if statement.startswith("CALL ducklake_add_data_files") and not expired:
            expired.append(-1)
            with open_lake(feed.settings) as other:
                assert register_batch(other, feed.stream, batch, "fast").registered == 1
                expired.append(expiry.expire(other))

    slow = Lake(Watched(lake.con, overtake), lake.settings)  # type: ignore[arg-type]
    assert register_batch(slow, feed.stream, batch, "slow").registered == 0
    assert expired == [-1, 0]
    with open_lake(feed.settings) as fresh:
        assert feed.landed(fresh) == feed.rows_of([key])
