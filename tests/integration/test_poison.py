"""What a file, or the store, does to one object costs that object only."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.errors import StorageUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import STAGING, Lake
from lotus_lake.ledger.events import REFUSED
from tests import children
from tests.catalogs import on_sqlite
from tests.damage import empty_group
from tests.feeds import SHAPE, Feed, parquet, some_rows
from tests.proxy import Fault, Operation, Proxy, run_proxy
from tests.servers import S3Server

pytestmark = on_sqlite

ODD = "m_odd.parquet"


def put_around(feed: Feed, data: bytes) -> str:
    """An odd file between two good ones; returns its key."""
    feed.put("a_good.parquet")
    feed.put("z_good.parquet")
    return feed.put_bytes(ODD, data)


def wide_decimal() -> bytes:
    """A valid decimal of more digits than DuckDB holds."""
    buffer = io.BytesIO()
    table = pa.table({"id": [1], "v": pa.array([Decimal("1.50")], pa.decimal256(50, 2))})
    pq.write_table(table, buffer)
    return buffer.getvalue()


def bomb() -> bytes:
    """A small file whose one text takes more memory than there is."""
    buffer = io.BytesIO()
    table = pa.table({"id": [1], "status": ["x" * 200_000_000]})
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def written(**columns: pa.Array) -> bytes:
    """A file with these columns beside an id."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array([1]), **columns}), buffer)
    return buffer.getvalue()


def deep_list() -> bytes:
    """A list in a list, 22 times: each level doubles what DuckDB does."""
    kind, value = pa.int64(), 1
    for _ in range(22):
        kind, value = pa.list_(kind), [value]
    return written(v=pa.array([value], kind))


def damaged_gzip() -> bytes:
    """A compressed page that is none."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": range(5000)}), buffer, compression="gzip", use_dictionary=False)
    data = buffer.getvalue()
    return data[:2000] + bytes(100) + data[2100:]


def beyond_the_end() -> bytes:
    """A footer that points beyond the end of the object: the store answers no such range."""
    data = written(v=pa.array([list(range(50_000))]), w=pa.array([1]))
    length = int.from_bytes(data[-8:-4], "little")
    return data[:4] + data[-8 - length :]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (deep_list, "column v holds lists in lists, 22 deep"),
        (damaged_gzip, "GZIP"),
        (empty_group, "column address is, or holds, a group without fields"),
        (beyond_the_end, "bytes outside file"),
        (lambda: written(**{"a\0b": pa.array([1])}), "the name of field 'a\\x00b' holds a NUL"),
        (wide_decimal, "column v is a decimal of 50 digits, and DuckDB holds 38"),
        (bomb, "needs more memory than LAKE_MEMORY_LIMIT=256MiB"),
    ],
    ids=[
        "deep list", "damaged gzip", "empty group", "beyond the end", "NUL",
        "wide decimal", "larger than memory",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_quarantined_alone(
    feed: Feed, make: Callable[[], bytes], reason: str
) -> None:
    key = put_around(feed, make())
    settings = dataclasses.replace(feed.settings, memory_limit="256MiB")
    with open_lake(settings) as lake:
        done = feed.run(lake).total
        assert (done.registered, done.quarantined) == (2, 1)
        assert reason in feed.errors(lake)[key]
        assert feed.landed(lake) == feed.rows_of(feed.sent)


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """In front of the store."""
    assert s3.access.endpoint_url
    with run_proxy(s3.access.endpoint_url) as running:
        yield running


@pytest.fixture
def proxied(feed: Feed, proxy: Proxy) -> Feed:
    """The same stream, read through a proxy."""
    s3 = dataclasses.replace(feed.settings.s3, endpoint_url=proxy.url)
    return dataclasses.replace(feed, settings=dataclasses.replace(feed.settings, s3=s3))


def test_an_object_that_the_store_refuses_is_quarantined_alone(proxied: Feed, proxy: Proxy) -> None:
    feed = proxied
    key = put_around(feed, parquet(some_rows(1)))

    def refuse(operation: Operation, path: str) -> Fault | None:
        reads = operation in (Operation.GET, Operation.HEAD)
        return Fault.REFUSED if reads and ODD in path else None

    proxy.plan = refuse
    with open_lake(feed.settings) as lake:
        done = feed.run(lake).total
        assert (done.registered, done.quarantined) == (2, 1)
        assert "the store refuses to give it" in feed.errors(lake)[key]


def test_an_object_that_the_store_fails_on_stops_no_other(proxied: Feed, proxy: Proxy) -> None:
    keys = [proxied.put(f"part_{number}.parquet") for number in range(5)]
    proxy.plan = lambda operation, path: (
        Fault.ERROR if operation is Operation.GET and path.endswith("part_2.parquet") else None
    )
    with open_lake(proxied.settings) as lake:
        assert proxied.run(lake).total.quarantined == 1
        assert proxied.landed(lake) == proxied.rows_of(keys[:2] + keys[3:])
        assert "InternalError" in proxied.errors(lake)[keys[2]]
        ((remark,),) = lake.rows(
            "SELECT remark FROM lakehouse.meta.feeder_files WHERE event = 'quarantined'"
        )
        assert remark == REFUSED


def test_when_no_object_can_be_read_nothing_is_quarantined(proxied: Feed, proxy: Proxy) -> None:
    feed = proxied
    put_around(feed, parquet(some_rows(1)))

    def refuse(operation: Operation, _path: str) -> Fault | None:
        return Fault.REFUSED if operation in (Operation.GET, Operation.HEAD) else None

    proxy.plan = refuse
    with (
        pytest.raises(StorageUnavailableError, match="HTTP 403"),
        open_lake(feed.settings) as lake,
    ):
        feed.run(lake)
    with open_lake(feed.settings) as lake:
        assert {events[-1] for events in feed.events(lake).values()} == {"discovered"}


def mislead(data: bytes, true: bytes, claimed: bytes) -> bytes:
    """The file with other bounds in its footer."""
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    assert true in footer
    return data[: -8 - length] + footer.replace(true, claimed) + data[-8:]


@pytest.mark.parametrize(
    ("true", "claimed"),
    [(b"aaaa", b"mmmm"), (b"zzzz", b"nnnn"), (b"zzzz", b"\xe5\x8c\x97\xe4")],
    ids=["least", "greatest", "cut within a character"],
)
def test_a_file_whose_bounds_lie_lands_as_a_copy(
    feed: Feed, lake: Lake, true: bytes, claimed: bytes
) -> None:
    rows = [
        {**row, "status": text} for row, text in zip(some_rows(2), ("aaaa", "zzzz"), strict=True)
    ]
    feed.put("a_good.parquet")
    key = feed.put_bytes(ODD, mislead(parquet(rows, SHAPE), true, claimed))
    done = feed.run(lake).total
    assert (done.registered, done.copied) == (1, 1)
    assert "the bounds of column status in its footer are wrong" in feed.errors(lake)[key]
    query = f"SELECT count(*) FROM {STAGING}.{feed.stream.landing_table} WHERE status = ?"
    assert lake.value(query, [true.decode()]) == 1


def test_markers_and_files_in_the_making_are_left_alone(feed: Feed, lake: Lake) -> None:
    hidden = [
        feed.put_bytes(name, b"x")
        for name in ("_SUCCESS", ".hidden.parquet", "part_0.parquet.tmp", "_part_0.parquet")
    ]
    upper = feed.put("PART_1.PARQUET")
    done = feed.run(lake)
    assert (done.total.registered, done.listing.ignored, done.listing.quarantined) == (1, 4, 0)
    assert feed.events(lake) == {upper: ["registered"], **{key: ["ignored"] for key in hidden}}
    assert lake.value("SELECT count(error) FROM lakehouse.meta.feeder_files") == 0


CRASH = """
import os, signal
from lotus_lake.lake.session import Lake
rows = Lake.rows
def watched(self, sql, parameters=()):
    if any("m_odd" in str(parameter) for parameter in parameters):
        os.kill(os.getpid(), signal.{signal})
    return rows(self, sql, parameters)
Lake.rows = watched
"""


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        ("SIGSEGV", "it crashes the reader (SIGSEGV)"),
        ("SIGKILL", "its reader was killed (SIGKILL), probably because it needs too much memory"),
    ],
)
def test_a_file_that_crashes_its_reader_is_quarantined_alone(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signal: str, reason: str
) -> None:
    """The first run dies of it; the next one leaves it to child processes."""
    key = put_around(feed, parquet(some_rows(1)))
    reading = children.KillBefore(1, "SELECT file_name")
    died = children.run(children.feed_as_a_task, feed.settings, feed.stream, "dies", reading)
    assert died == children.KILLED
    (tmp_path / "sitecustomize.py").write_text(CRASH.format(signal=signal))
    monkeypatch.syspath_prepend(str(tmp_path))  # children crash as DuckDB's reader would
    with open_lake(feed.settings) as lake:
        done = feed.run(lake).total
        assert (done.registered, done.quarantined) == (2, 1)
        assert reason in feed.errors(lake)[key]
        assert feed.landed(lake) == feed.rows_of(feed.sent)


def test_what_died_of_something_else_lands(feed: Feed, lake: Lake) -> None:
    """A process that was killed from outside, too, leaves files that were being read."""
    put_around(feed, parquet(some_rows(1)))
    first = children.KillBefore(1, "SELECT _lake_file")
    assert (
        children.run(children.feed_as_a_task, feed.settings, feed.stream, "dies", first)
        == children.KILLED
    )
    assert feed.run(lake).total.registered == 3
