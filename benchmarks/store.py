"""An S3 server that costs next to nothing: GET, HEAD and ListObjectsV2 of files, all counted.

A real server on a small machine takes more of its time than what is measured: 1 to 5 listings a
second, 130 to 500 reads. This one keeps a sorted list of keys in memory, checks no signature, and
can answer every request later by a fixed time, as a server does that is a round trip away. It runs
in a process of its own.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import hashlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "landing"
CONTROL = "/_control"
PAGE_KEYS = 1000
_STAMP = datetime(2026, 3, 1, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
_HTTP_STAMP = "Sun, 01 Mar 2026 00:00:00 GMT"

# Key without the bucket, and the file that holds the object's bytes; many keys may share one.
Objects = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requests:
    """What a server has answered.

    Attributes:
        listings: LIST requests.
        heads: HEAD requests.
        gets: GET requests.
        body_bytes: Bytes of the objects' content that went out.
        objects_read: Objects of which some content went out.
        most_at_once: The highest number of requests that waited for their answer together.
    """

    listings: int
    heads: int
    gets: int
    body_bytes: int
    objects_read: int
    most_at_once: int

    @property
    def total(self) -> int:
        """All requests."""
        return self.listings + self.heads + self.gets


@dataclass(frozen=True, slots=True)
class Store:
    """A running server."""

    port: int

    def environment(self) -> dict[str, str]:
        """The `AWS_*` variables to reach it with."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "unchecked",
        }

    def connection(self) -> str:
        """The same as an Airflow connection."""
        extra = {"endpoint_url": f"http://127.0.0.1:{self.port}", "region_name": "us-east-1"}
        return json.dumps(
            {"conn_type": "aws", "login": "benchmark", "password": "unchecked", "extra": extra}
        )

    def delay(self, seconds: float) -> None:
        """Answer every request later by so much."""
        self._control({"delay": seconds})

    def add(self, objects: Objects) -> None:
        """Let objects appear."""
        self._control({"add": dict(objects)})

    def take_counts(self) -> Requests:
        """What was answered since the last call."""
        return Requests(**self._control({"take_counts": True}))

    def _control(self, command: dict[str, Any]) -> dict[str, Any]:
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=300)) as connection:
            connection.request("POST", CONTROL, json.dumps(command))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer


@contextlib.contextmanager
def run_store(objects: Callable[[], Objects] = dict) -> Iterator[Store]:
    """Run a server.

    Args:
        objects: Makes the first objects, in the server's process.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, objects), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Store(ours.recv())
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection, objects: Callable[[], Objects]) -> None:
    asyncio.run(_main(parent, _State(dict(objects()))))


async def _main(parent: Connection, state: _State) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(state), "127.0.0.1", 0, backlog=512)
    parent.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _State:
    """Objects, delay and counts."""

    def __init__(self, objects: dict[str, str]) -> None:
        self.files = objects
        self.keys = sorted(objects)
        self.sizes: dict[str, int] = {}
        self.delay = 0.0
        self.counts: Counter[str] = Counter()
        self.read: set[str] = set()
        self.at_once = 0

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        self.delay = float(command.get("delay", self.delay))
        if new := command.get("add"):
            self.files |= new
            self.keys = sorted(self.files)
        if not command.get("take_counts"):
            return {}
        counts, self.counts = self.counts, Counter()
        counts["objects_read"] = len(self.read)
        self.read.clear()
        names = ("listings", "heads", "gets", "body_bytes", "objects_read", "most_at_once")
        return {name: counts[name] for name in names}

    def size(self, key: str) -> int:
        file = self.files[key]
        if file not in self.sizes:
            self.sizes[file] = os.stat(file).st_size
        return self.sizes[file]

    def page(self, query: Mapping[str, str]) -> bytes:
        """One page of ListObjectsV2."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        place = max(bisect.bisect_left(self.keys, prefix), bisect.bisect_right(self.keys, after))
        entries: list[str] = []
        last, truncated = "", False
        while place < len(self.keys) and (key := self.keys[place]).startswith(prefix):
            if len(entries) == PAGE_KEYS:
                truncated = True
                break
            folder, found, _ = (
                key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            )
            if found:
                last = f"{prefix}{folder}{delimiter}"
                entries.append(f"<CommonPrefixes><Prefix>{last}</Prefix></CommonPrefixes>")
                last += "\U0010ffff"
                place = bisect.bisect_right(self.keys, last)
                continue
            last = key
            entries.append(
                f"<Contents><Key>{key}</Key><LastModified>{_STAMP}</LastModified>"
                f"<ETag>&quot;{_etag(key)}&quot;</ETag><Size>{self.size(key)}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
            place += 1
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if truncated else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(entries)}</KeyCount>"
            f"<MaxKeys>{PAGE_KEYS}</MaxKeys><IsTruncated>{str(truncated).lower()}</IsTruncated>"
            f"{token}{''.join(entries)}</ListBucketResult>"
        ).encode()


class _Client(asyncio.Protocol):
    """One connection; requests are answered one after the other."""

    def __init__(self, state: _State) -> None:
        self.state = state
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        body, self.buffer = rest[:length], rest[length:]
        method, target, _ = first.split(" ")
        if target == CONTROL:
            self._write(200, json.dumps(self.state.control(json.loads(body))).encode())
            return
        self.state.at_once += 1
        most = self.state.counts["most_at_once"]
        self.state.counts["most_at_once"] = max(most, self.state.at_once)
        asyncio.get_running_loop().call_later(
            self.state.delay, self._answer, method, target, headers.get("range")
        )

    def _answer(self, method: str, target: str, span: str | None) -> None:
        self.state.at_once -= 1
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "list-type" in query:
            self.state.counts["listings"] += 1
            self._write(200, self.state.page(query))
            return
        self.state.counts["heads" if method == "HEAD" else "gets"] += 1
        key = unquote(url.path).removeprefix(f"/{BUCKET}/")
        if key not in self.state.files:
            self._write(404, b"" if method == "HEAD" else b"<Error><Code>NoSuchKey</Code></Error>")
            return
        size = self.state.size(key)
        extra = f'ETag: "{_etag(key)}"\r\nLast-Modified: {_HTTP_STAMP}\r\nAccept-Ranges: bytes\r\n'
        if method == "HEAD":
            self._write(200, b"", extra, size)
            return
        first, last = _span(span, size)
        content = _read(self.state.files[key], first, last - first + 1)
        self.state.counts["body_bytes"] += len(content)
        self.state.read.add(key)
        if span:
            extra += f"Content-Range: bytes {first}-{last}/{size}\r\n"
        self._write(206 if span else 200, content, extra)

    def _write(self, status: int, body: bytes, extra: str = "", length: int | None = None) -> None:
        assert self.transport is not None
        length = len(body) if length is None else length
        head = f"HTTP/1.1 {status} OK\r\nContent-Length: {length}\r\n{extra}\r\n"
        self.transport.write(head.encode() + body)


def _span(header: str | None, size: int) -> tuple[int, int]:
    """First and last byte that a Range header asks for."""
    if not header:
        return 0, size - 1
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last) if last else size - 1, size - 1)


def _read(file: str, first: int, length: int) -> bytes:
    with Path(file).open("rb") as opened:
        return os.pread(opened.fileno(), length, first)


def _etag(key: str) -> str:
    return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
