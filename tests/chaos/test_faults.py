"""An object store that fails in every way: an honest error, no good file quarantined, none lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import boto3
import pytest
from botocore.config import Config

from lotus_lake.bucket import objects
from lotus_lake.bucket.objects import s3_client
from lotus_lake.errors import StorageUnavailableError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.register import Registration
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, Lake
from tests.catalogs import on_sqlite
from tests.feeds import DAY, Feed
from tests.proxy import Fault, Operation, Proxy, no_fault, run_proxy
from tests.servers import S3Server

pytestmark = on_sqlite

FILES = 4
FAILURES = [
    pytest.param(fault, operation, id=f"{operation}-{fault.name}")
    for operation in (Operation.LIST, Operation.HEAD, Operation.GET)
    for fault in Fault
    # A slow answer is one, one that drips takes minutes, only a conditional request meets a changed
    # object, and DuckDB asks with GET where HEAD is refused.
    if fault not in (Fault.SLOW, Fault.DRIP, Fault.CHANGED)
    and (fault, operation) != (Fault.REFUSED, Operation.HEAD)
]


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """A proxy in front of the S3 server."""
    assert s3.access.endpoint_url is not None
    with run_proxy(s3.access.endpoint_url) as running:
        yield running


@pytest.fixture
def environment(environment: dict[str, str], proxy: Proxy) -> dict[str, str]:
    """A lake that sees its bucket through the proxy."""
    proxy.plan = no_fault
    proxy.faults.clear()
    return environment | {"AWS_ENDPOINT_URL": proxy.url}


@pytest.fixture
def feed(make_feed: Callable[..., Feed]) -> Feed:
    """A stream with good files, in batches of two."""
    feed = make_feed(batch_files=2)
    for number in range(FILES):
        feed.put(f"part_{number}.parquet", rows=number + 1)
    return feed


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feeder gives an answer of the store up after seconds, not after two minutes."""
    monkeypatch.setattr(objects, "ANSWER_SECONDS", 3)


def run_impatiently(feed: Feed) -> Registration:
    """One pass in a fresh DuckDB whose clients wait for a second, and try again once, at once."""
    config = Config(read_timeout=1, retries={"total_max_attempts": 2}, s3=_PATH_STYLE)
    access = feed.settings.s3
    assert access.secret_access_key is not None
    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint_url,
        region_name=access.region,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key.get_secret_value(),
        config=config,
    )
    with contextlib.closing(client), open_lake(feed.settings) as lake:
        for name, value in _IMPATIENCE.items():
            lake.con.execute(f"SET {name} = {value}")
        return replace(feed, client=client).run(lake).total


_PATH_STYLE = {"addressing_style": "path"}
_IMPATIENCE = {"http_timeout": 1, "http_retries": 1, "http_retry_wait_ms": 1}


def assert_all_landed(feed: Feed, lake: Lake) -> None:
    assert feed.events(lake) == {key: ["registered"] for key in feed.sent}
    assert feed.landed(lake) == feed.rows_of(feed.sent)


@pytest.mark.parametrize(("fault", "operation"), FAILURES)
def test_a_store_that_fails_is_reported_and_everything_lands_later(
    feed: Feed, lake: Lake, proxy: Proxy, fault: Fault, operation: Operation, impatience: None
) -> None:
    proxy.plan = lambda asked, _path: fault if asked is operation else None
    with pytest.raises(StorageUnavailableError):
        run_impatiently(feed)
    assert proxy.faults.keys() == {(fault, operation)}
    assert feed.landed(lake) == {}
    waiting = {} if operation is Operation.LIST else {key: ["discovered"] for key in feed.sent}
    assert feed.events(lake) == waiting
    proxy.plan = no_fault
    assert run_impatiently(feed).registered == FILES
    assert_all_landed(feed, lake)


@pytest.mark.parametrize(
    "fault", [Fault.ERROR, Fault.RESET, Fault.CUT, Fault.DRIP], ids=lambda fault: fault.name
)
def test_a_store_that_fails_for_one_file_lands_the_others_and_that_one_later(
    feed: Feed, lake: Lake, proxy: Proxy, fault: Fault, impatience: None
) -> None:
    proxy.plan = lambda _asked, path: fault if path.endswith("part_3.parquet") else None
    assert run_impatiently(feed).registered == FILES - 1
    late = feed.key("part_3.parquet")
    assert feed.landed(lake) == feed.rows_of(feed.sent.keys() - {late})
    assert feed.events(lake)[late] == ["quarantined"]
    proxy.plan = no_fault
    assert run_impatiently(feed).registered == 0
    lake.con.execute(f"UPDATE {META}.file_events SET recorded_at = recorded_at - INTERVAL 6 MINUTE")
    assert run_impatiently(feed).registered == 1
    assert_all_landed(feed, lake)


def test_a_store_that_asks_for_patience_is_not_asked_more(
    feed: Feed, lake: Lake, proxy: Proxy
) -> None:
    proxy.plan = lambda _asked, path: Fault.SLOW_DOWN if path.endswith("part_3.parquet") else None
    with pytest.raises(StorageUnavailableError):
        run_impatiently(feed)
    assert {event for events in feed.events(lake).values() for event in events} == {
        "registered", "discovered",
    }  # fmt: skip


@pytest.mark.parametrize(
    "fault", [Fault.SLOW, Fault.ERROR, Fault.SLOW_DOWN, Fault.RESET], ids=lambda fault: fault.name
)
def test_a_store_that_stumbles_once_for_each_request_is_no_failure(
    feed: Feed, lake: Lake, proxy: Proxy, fault: Fault
) -> None:
    stumbled: set[tuple[Operation, str]] = set()

    def once(operation: Operation, path: str) -> Fault | None:
        if (operation, path) in stumbled:
            return None
        stumbled.add((operation, path))
        return fault

    proxy.plan = once
    # With the library's own patience.
    with contextlib.closing(s3_client(feed.settings.s3)) as client:
        assert replace(feed, client=client).run_afresh().total.registered == FILES
    assert {operation for _, operation in proxy.faults} == {
        Operation.LIST, Operation.HEAD, Operation.GET
    }  # fmt: skip
    assert_all_landed(feed, lake)


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.SLOW_DOWN, Fault.RESET, Fault.CUT])
def test_a_delete_that_fails_leaves_the_object_to_the_next_upkeep(
    make_feed: Callable[..., Feed], lake: Lake, proxy: Proxy, fault: Fault
) -> None:
    feed = make_feed(retention_days=1)
    old, new = feed.put(day=DAY - timedelta(days=9)), feed.put()
    feed.run(lake)
    lake.con.execute(
        f"CREATE TABLE {META}.watermark_int_orders AS SELECT {2**40} AS snapshot_id_to"
    )
    assert retire_files(lake, feed.stream, ["int_orders"], "run").files == 1
    lake.con.execute(
        f"CALL ducklake_expire_snapshots('{LAKE}', older_than => now() + INTERVAL 2 DAY)"
    )
    clean_up = f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)"
    proxy.plan = lambda asked, _path: fault if asked is Operation.DELETE else None
    with pytest.raises(StorageUnavailableError), open_lake(feed.settings) as fresh:
        fresh.con.execute(clean_up)
    assert proxy.faults.keys() == {(fault, Operation.DELETE)}
    proxy.plan = no_fault
    with open_lake(feed.settings) as fresh:
        fresh.con.execute(clean_up)
    assert feed.objects() == {new}
    assert feed.events(lake) == {old: ["retired"], new: ["registered"]}
    assert feed.landed(lake) == feed.rows_of([new])
