"""Postgres killed under a feeder, at any statement: an honest error or success; all is right."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from tests.catalogs import on_postgres
from tests.children import Watched
from tests.feeds import Feed
from tests.servers import PostgresServer

pytestmark = on_postgres

STATEMENTS = 46
STEP = 6


@dataclass
class RestartBefore:
    """Kill Postgres before the n-th statement, and start it again."""

    postgres: PostgresServer
    number: int
    stop: signal.Signals = signal.SIGQUIT
    seen: int = 0

    def __call__(self, _statement: str) -> None:
        self.seen += 1
        if self.seen == self.number:
            self.postgres.restart(self.stop)


@dataclass
class RestartWithin:
    """Kill Postgres some time after the n-th COMMIT has begun, and start it again."""

    postgres: PostgresServer
    number: int
    seconds: float
    seen: int = 0
    timer: threading.Timer | None = None

    def __call__(self, statement: str) -> None:
        self.seen += statement == "COMMIT"
        if self.seen == self.number and self.timer is None:
            self.timer = threading.Timer(self.seconds, self.postgres.restart)
            self.timer.start()


def run_watched(feed: Feed, hook: Callable[[str], None]) -> bool:
    """One pass in a lake of its own; returns whether it succeeded, and not with another error."""
    try:
        with open_lake(feed.settings) as opened:
            feed.run(Lake(Watched(opened.con, hook), opened.settings))  # type: ignore[arg-type]
    except CatalogUnavailableError:
        return False
    return True


def assert_all_landed(feed: Feed) -> None:
    with open_lake(feed.settings) as lake:
        feed.run(lake)
        assert feed.events(lake) == {key: ["registered"] for key in feed.sent}
        assert feed.landed(lake) == feed.rows_of(feed.sent)


def count_snapshots(settings: Settings, between: Callable[[], None]) -> int:
    """Count twice in one transaction."""
    with open_lake(settings) as lake:
        lake.con.execute("BEGIN TRANSACTION")
        first = lake.value(f"SELECT count(*) FROM {LAKE}.snapshots()")
        between()
        assert lake.value(f"SELECT count(*) FROM {LAKE}.snapshots()") == first
        return int(first)


@pytest.mark.parametrize("stop", [signal.SIGQUIT, signal.SIGKILL], ids=lambda stop: stop.name)
def test_a_catalog_that_goes_away_is_told_as_unavailable(
    settings: Settings, postgres: PostgresServer, stop: signal.Signals
) -> None:
    before = count_snapshots(settings, lambda: None)
    with pytest.raises(CatalogUnavailableError, match=r"the catalog postgres:.* failed"):
        count_snapshots(settings, lambda: postgres.restart(stop))
    assert count_snapshots(settings, lambda: None) == before > 0


def test_postgres_killed_before_any_statement_of_a_feeder_loses_and_doubles_nothing(
    make_feed: Callable[..., Feed], postgres: PostgresServer
) -> None:
    feed, ends = make_feed(batch_files=2), []
    for number in range(1, STATEMENTS, STEP):
        for name in ("a", "b", "c"):
            feed.put(f"{name}_{number}.parquet")
        hook = RestartBefore(postgres, number)
        ends.append(run_watched(feed, hook))
        assert hook.seen >= number  # it was killed
    assert not all(ends)
    assert_all_landed(feed)


@pytest.mark.parametrize("commit", [1, 2, 3, 4])
def test_postgres_killed_inside_any_commit_of_a_feeder_loses_and_doubles_nothing(
    make_feed: Callable[..., Feed], postgres: PostgresServer, commit: int
) -> None:
    feed = make_feed(batch_files=1)
    for number, seconds in enumerate((0.001, 0.004)):
        feed.put(f"a_{number}.parquet")
        feed.put(f"b_{number}.parquet")
        hook = RestartWithin(postgres, commit, seconds)
        run_watched(feed, hook)
        if hook.timer:
            hook.timer.join()
    assert_all_landed(feed)
