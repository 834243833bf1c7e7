"""A TCP gate in front of a server: it closes for good when a client says a certain thing."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator


class Gate(socketserver.ThreadingTCPServer):
    """Passes bytes on to a port of this machine, both ways.

    Attributes:
        closes_at: Shut, keeping what follows, when a client's bytes contain this text.
        shut: Whether it is: connections stay open, and nothing passes any more, as if the server
            had frozen.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.upstream = port
        self.closes_at: bytes | None = None
        self.shut = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Passage(socketserver.BaseRequestHandler):
    server: Gate

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as there:
            back = threading.Thread(target=self._pass, args=(there, self.request), daemon=True)
            back.start()
            self._pass(self.request, there, watched=True)
            back.join()

    def _pass(self, one: socket.socket, other: socket.socket, *, watched: bool = False) -> None:
        gate = self.server
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if watched and gate.closes_at is not None and gate.closes_at in data:
                    gate.shut.set()
                if gate.shut.is_set():
                    continue
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def run_gate(port: int) -> Iterator[Gate]:
    """Run a gate in front of a port."""
    with Gate(port) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        try:
            yield gate
        finally:
            gate.shutdown()
