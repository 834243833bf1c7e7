"""An HTTP proxy in front of the S3 server: counts what passes, and spoils it if told to."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_KEY = re.compile("Credential=([^/]+)/")
_ANSWERED_BY_US = {"connection", "content-length", "date", "server", "transfer-encoding"}
# How long a silent or slow proxy keeps its client waiting.
SILENCE_SECONDS = 60.0
SLOW_SECONDS = 0.5
DRIP_SECONDS = 1.0


class Operation(StrEnum):
    """What a request wants of the bucket."""

    LIST = "LIST"
    HEAD = "HEAD"
    GET = "GET"
    PUT = "PUT"
    DELETE = "DELETE"


class Fault(StrEnum):
    """What may happen to a request."""

    REFUSED = "403 AccessDenied"
    ERROR = "500 InternalError"
    SLOW_DOWN = "503 SlowDown"
    CHANGED = "412 PreconditionFailed"
    SILENT = "no answer"
    RESET = "reset before the answer"
    CUT = "cut in the body"
    SLOW = "slow answer"
    DRIP = "a byte a second"


Plan = Callable[[Operation, str], Fault | None]


def no_fault(_operation: Operation, _path: str) -> Fault | None:
    """The plan of good weather."""


def always_refuse(_operation: Operation, _path: str) -> Fault:
    """The plan of wrong credentials."""
    return Fault.REFUSED


class Proxy(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        listings: The parameters of each ListObjectsV2 that came by, spoiled or not.
        plan: Says what happens to a request of an operation and a path.
        allows: Whether a request may pass, by its method, its target and its body.
        keys: The access keys whose requests pass; all of them when empty.
        faults: How many requests met each fault.
        etag_of: With it, the store deletes on the condition of an ETag only, which rclone ignores.
        seconds_ahead: How far the store's clock is ahead of ours.
        targets: The operations of SQS that came by.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        self.listings: list[dict[str, str]] = []
        self.plan: Plan = no_fault
        self.keys: set[str] = set()
        self.allows: Callable[[str, str, bytes], bool] = lambda *_: True
        self.faults: Counter[tuple[Fault, Operation]] = Counter()
        self.etag_of: Callable[[str], str] | None = None
        self.seconds_ahead = 0.0
        self.targets: set[str] = set()
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def refusing(self) -> bool:
        """Whether everything is answered with 403."""
        return self.plan is always_refuse

    @refusing.setter
    def refusing(self, refuse: bool) -> None:
        self.plan = always_refuse if refuse else no_fault

    def shutdown(self) -> None:
        self.stopped.set()
        super().shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed, or loses patience, leaves in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.seconds_ahead)

    def _pass_on(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        if "list-type" in query:
            self.server.listings.append({name: values[0] for name, values in query.items()})
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if target := self.headers.get("X-Amz-Target"):
            self.server.targets.add(target.rpartition(".")[2])
        operation = _operation(self.command, query)
        fault = self.server.plan(operation, url.path)
        wanted = self.headers.get("If-Match")
        if wanted and self.server.etag_of and wanted != self.server.etag_of(url.path):
            fault = Fault.CHANGED
        key = _KEY.search(self.headers.get("Authorization", ""))
        known = not self.server.keys or (key is not None and key[1] in self.server.keys)
        if not known or not self.server.allows(self.command, self.path, body):
            fault = Fault.REFUSED
        if fault is not None:
            self.server.faults[fault, operation] += 1
        if fault in _REFUSALS:
            status, code = _REFUSALS[fault]
            self._answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
        elif fault is Fault.SILENT:
            self.server.stopped.wait(SILENCE_SECONDS)
            self.close_connection = True
        elif fault is Fault.RESET:
            self._reset()
        else:
            if fault is Fault.SLOW:
                self.server.stopped.wait(SLOW_SECONDS)
            self._answer(*self._ask(body), cut=fault is Fault.CUT, drips=fault is Fault.DRIP)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        # The signature covers the header Host, so it goes on as it came.
        address = self.server.upstream
        assert address.hostname is not None
        with contextlib.closing(HTTPConnection(address.hostname, address.port)) as connection:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()

    def _answer(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        *,
        cut: bool = False,
        drips: bool = False,
    ) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in {**headers, "Content-Length": length}.items():
            if name == "Content-Length" or name.lower() not in _ANSWERED_BY_US:
                self.send_header(name, value)
        if cut and self.command == "HEAD":  # it has no body: cut it in its headers
            self.wfile.write(b"".join(self._headers_buffer[:-1]))
            self._headers_buffer.clear()
            self._reset()
            return
        self.end_headers()
        while drips and len(body) > 1 and not self.server.stopped.wait(DRIP_SECONDS):
            self.wfile.write(body[:1])
            body = body[1:]
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._reset()

    def _reset(self) -> None:
        """Close with RST instead of FIN."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


_REFUSALS = {
    Fault.REFUSED: (403, "AccessDenied"),
    Fault.ERROR: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.CHANGED: (412, "PreconditionFailed"),
}


def _operation(command: str, query: dict[str, list[str]]) -> Operation:
    if "list-type" in query:
        return Operation.LIST
    if "delete" in query:
        return Operation.DELETE
    return Operation.PUT if command == "POST" else Operation(command)


@contextlib.contextmanager
def run_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
