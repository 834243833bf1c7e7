"""An HTTP proxy in front of the S3 server: counts what passes, and refuses it if told to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ANSWERED_BY_US = {"connection", "content-length", "date", "server", "transfer-encoding"}
_REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Proxy(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        listings: The parameters of each ListObjectsV2 that came by.
        refusing: Answer everything with 403.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        self.listings: list[dict[str, str]] = []
        self.refusing = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass_on(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.server.listings.append({name: values[0] for name, values in query.items()})
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.refusing:
            self._answer(403, {}, _REFUSAL)
            return
        # The signature covers the header Host, so it goes on as it came.
        address = self.server.upstream
        assert address.hostname is not None
        with contextlib.closing(HTTPConnection(address.hostname, address.port)) as connection:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            self._answer(response.status, dict(response.headers), response.read())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in {**headers, "Content-Length": length}.items():
            if name == "Content-Length" or name.lower() not in _ANSWERED_BY_US:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


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
