"""The object store killed under a feeder: an honest error or success; everything lands once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.errors import StorageUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from tests.catalogs import on_postgres
from tests.ceph import Ceph, missing_programs, run_ceph
from tests.children import Watched
from tests.feeds import Feed
from tests.refusing import put_misfit
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = [
    on_postgres,
    pytest.mark.skipif(bool(missing_programs()), reason="Ceph is not installed; `make test-s3`"),
]

STATEMENTS = 60
STEP = 8


@pytest.fixture(scope="module")
def ceph() -> Iterator[Ceph]:
    """A Ceph that keeps what it has answered for."""
    with run_ceph("bluestore") as ceph:
        yield ceph


@pytest.fixture(scope="module")
def s3(ceph: Ceph) -> S3Server:
    """Its S3 server."""
    return ceph.s3


@pytest.fixture(scope="module")
def client(s3: S3Server) -> Iterator[S3Client]:
    """A client of it."""
    with contextlib.closing(s3_client(s3.access)) as made:
        yield made


@pytest.fixture
def environment(environment: dict[str, str], bucket: str) -> dict[str, str]:
    """The lake's own files are in the store, too."""
    return environment | {"LAKE_DATA_PATH": f"s3://{bucket}/lake"}


@dataclass
class KillBefore:
    """Kill the store before the n-th statement; it comes up again while the feeder goes on."""

    ceph: Ceph
    number: int
    seen: int = 0
    starting: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.starting = threading.Thread(target=self.ceph.start)

    def __call__(self, _statement: str) -> None:
        self.seen += 1
        if self.seen == self.number:
            self.ceph.kill()
            self.starting.start()


def run_killed(feed: Feed, kill: KillBefore) -> None:
    """One pass under which the store is killed: it succeeds, or says that the store failed."""
    try:
        with contextlib.suppress(StorageUnavailableError), open_lake(feed.settings) as opened:
            feed.run(Lake(Watched(opened.con, kill), opened.settings))  # type: ignore[arg-type]
    finally:
        if kill.starting.ident:
            kill.starting.join()


def test_a_store_killed_before_any_statement_of_a_feeder_loses_and_doubles_nothing(
    make_feed: Callable[..., Feed], ceph: Ceph
) -> None:
    feed = make_feed(batch_files=2)
    put_misfit(feed)  # lands as a copy, which the feeder writes
    for number in range(1, STATEMENTS, STEP):
        for name in ("a", "b", "c"):
            feed.put(f"{name}_{number}.parquet")
        kill = KillBefore(ceph, number)
        run_killed(feed, kill)
        assert kill.seen >= number  # it was killed
        assert feed.objects() == set(feed.sent)  # and has kept what it had
    with open_lake(feed.settings) as lake:
        feed.run(lake)
        events = feed.events(lake)
        assert sorted(events) == sorted(feed.sent)
        assert [
            of_one for of_one in events.values() if of_one not in (["registered"], ["copied"])
        ] == []
        assert feed.landed(lake) == feed.rows_of(feed.sent)
