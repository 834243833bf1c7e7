"""An Airbyte server on loopback: the calls that are used here, with their errors.

It answers as the server's own code does: the configuration API's errors carry an error id and no
text; a refresh that meets a running job is noted, and answered without a job; a sync that meets
one is a 409; tokens expire.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

WORKSPACE = "11111111-0000-4000-8000-000000000001"
SOURCE_ID = "22222222-0000-4000-8000-000000000001"
CONNECTION_ID = "33333333-0000-4000-8000-000000000001"
CLIENT_ID = "client-of-the-tests"
CLIENT_SECRET = "secret-of-the-tests/+ä"
Document = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong with a call, and how often.

    Attributes:
        path: End of the call's path.
        kind: A status, or `silence`, `half`, `cut`, `html`, `list`; `slow head` and `slow body`
            send a byte now and then, without end.
        times: How many calls.
        done: The server has done what was asked before it goes wrong.
        body: Body of an answer with a status.
    """

    path: str
    kind: int | str
    times: int = 1
    done: bool = False
    body: Document = field(default_factory=lambda: {"errorId": "4b1d"})


@dataclass
class AirbyteServer:
    """A server and its state, which tests may look at and change.

    Attributes:
        url: Its address.
        connections: By id, as the configuration API shows them.
        jobs: By id; `status` is the next one shown while there is any.
        on_job: Called with each job that was started.
        faults: What goes wrong.
        requests: Path and body of each call, in order.
    """

    url: str = ""
    sources: dict[str, Document] = field(default_factory=dict)
    connections: dict[str, Document] = field(default_factory=dict)
    jobs: dict[int, Document] = field(default_factory=dict)
    on_job: Callable[[Document], None] | None = None
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, Document]] = field(default_factory=list)
    noted_refreshes: list[Document] = field(default_factory=list)
    discovered: Document | None = None
    tokens: set[str] = field(default_factory=set)
    token_count: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def environment(self) -> dict[str, str]:
        """The variables to reach it with."""
        return {
            "AIRBYTE_URL": self.url,
            "AIRBYTE_CLIENT_ID": CLIENT_ID,
            "AIRBYTE_CLIENT_SECRET": CLIENT_SECRET,
        }

    def calls(self, path: str) -> list[Document]:
        """Bodies of the calls whose path ends so."""
        return [body for called, body in self.requests if called.endswith(path)]

    def add_connection(
        self,
        source: str,
        streams: list[str],
        connection_id: str = CONNECTION_ID,
        source_id: str = SOURCE_ID,
        **fields: Any,
    ) -> Document:
        """Add a connection that writes below `raw/{source}/`, and its source."""
        self.sources[source_id] = {
            "sourceId": source_id,
            "workspaceId": WORKSPACE,
            "name": source,
            "sourceName": source,
            "sourceType": source,
        }
        self.connections[connection_id] = {
            "connectionId": connection_id,
            "name": f"{source} to the lake",
            "sourceId": source_id,
            "destinationId": "44444444-0000-4000-8000-000000000001",
            "status": "active",
            "namespaceDefinition": "customformat",
            "namespaceFormat": source,
            "prefix": "",
            "breakingChange": False,
            "syncCatalog": {"streams": [_stream(name) for name in streams]},
            **fields,
        }
        return self.connections[connection_id]

    def add_job(self, connection_id: str = CONNECTION_ID, **fields: Any) -> Document:
        """Add a job; running unless told otherwise."""
        job_id = max(self.jobs, default=100) + 1
        self.jobs[job_id] = {
            "id": job_id,
            "configType": "sync",
            "configId": connection_id,
            "createdAt": int(datetime.now(UTC).timestamp()),
            "updatedAt": int(datetime.now(UTC).timestamp()),
            "statuses": ["running"],
            "attempts": [],
            **fields,
        }
        return self.jobs[job_id]

    # The calls, by path.

    def answer(self, method: str, path: str, query: Document, body: Document) -> tuple[int, Any]:
        """Status and document of a call."""
        name = path.removeprefix("/api/public/v1/").removeprefix("/api/v1/").replace("/", "_")
        public = path.startswith("/api/public/v1/")
        call = getattr(self, f"{'public_' if public else ''}{method.lower()}_{name}", None)
        if call is None:
            return 404, {"message": "Page Not Found"}
        return call(query | body)

    def public_get_workspaces(self, query: Document) -> tuple[int, Any]:
        return 200, {"data": _page([{"workspaceId": WORKSPACE, "name": "lake"}], query)}

    def public_get_sources(self, query: Document) -> tuple[int, Any]:
        shown = [
            {name: value for name, value in source.items() if name != "sourceName"}
            for source in self.sources.values()
        ]
        return 200, {"data": _page(shown, query)}

    def public_post_jobs(self, body: Document) -> tuple[int, Any]:
        if body["connectionId"] not in self.connections:
            return 404, _problem(404, "resource-not-found", "The resource was not found.")
        if body["jobType"] == "refresh":
            return 422, _problem(
                422, "unprocessable-entity", "Refreshes are not supported in the public API"
            )
        if self._open(body["connectionId"]):
            text = f"A sync is already running for: {body['connectionId']}"
            return 409, _problem(409, "try-again-later", text)
        job = self._start(body["connectionId"], "sync")
        return 200, {"jobId": job["id"], "status": "pending", "jobType": "sync"}

    def post_applications_token(self, body: Document) -> tuple[int, Any]:
        if (body["client_id"], body["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"errorId": "77aa"}
        self.token_count += 1
        token = f"token-{self.token_count}"
        self.tokens.add(token)
        return 200, {"access_token": token}

    def post_connections_list(self, body: Document) -> tuple[int, Any]:
        if body["workspaceId"] != WORKSPACE:
            return 404, {"errorId": "0c0c"}
        return 200, {"connections": list(self.connections.values())}

    def post_connections_get(self, body: Document) -> tuple[int, Any]:
        found = self.connections.get(body["connectionId"])
        return (200, found) if found else (404, {"errorId": "0d0d"})

    def post_connections_refresh(self, body: Document) -> tuple[int, Any]:
        connection = self.connections.get(body["connectionId"])
        if connection is None:
            return 404, {"errorId": "0e0e"}
        if body["refreshMode"] not in ("Merge", "Truncate"):
            return 422, {"message": "unknown refresh mode", "validationErrors": []}
        self.noted_refreshes.append(body)
        if self._open(body["connectionId"]):
            return 200, {}
        streams = [
            {"name": item["streamName"], "namespace": item.get("streamNamespace")}
            for item in body["streams"]
        ]
        job = self._start(body["connectionId"], "refresh", {"streamsToRefresh": streams})
        return 200, {"job": _job(job)}

    def post_sources_get(self, body: Document) -> tuple[int, Any]:
        found = self.sources.get(body["sourceId"])
        if found is None:
            return 404, {"errorId": "0f0f"}
        return 200, {name: value for name, value in found.items() if name != "sourceType"}

    def post_sources_discover_schema(self, body: Document) -> tuple[int, Any]:
        if body["sourceId"] not in self.sources:
            return 404, {"errorId": "1a1a"}
        return 200, self.discovered

    def post_jobs_list(self, body: Document) -> tuple[int, Any]:
        jobs = [
            job
            for job in sorted(self.jobs.values(), key=lambda job: -job["id"])
            if job["configId"] == body["configId"]
            and job["configType"] in body["configTypes"]
            and job["statuses"][0] in body.get("statuses", [job["statuses"][0]])
        ]
        shown = jobs[: body["pagination"]["pageSize"]]
        return 200, {
            "jobs": [{"job": _job(job), "attempts": job["attempts"]} for job in shown],
            "totalJobCount": len(jobs),
        }

    def post_jobs_get_without_logs(self, body: Document) -> tuple[int, Any]:
        job = self.jobs.get(body["id"])
        if job is None:
            return 404, {"errorId": "1b1b"}
        answer = {
            "job": _job(job),
            "attempts": [{"attempt": attempt} for attempt in job["attempts"]],
        }
        if len(job["statuses"]) > 1:
            job["statuses"].pop(0)
        return 200, answer

    def _start(self, connection_id: str, kind: str, refresh: Document | None = None) -> Document:
        job = self.add_job(connection_id, configType=kind, refreshConfig=refresh)
        if self.on_job:
            self.on_job(job)
        return job

    def _open(self, connection_id: str) -> bool:
        opened = ("pending", "queued", "running", "incomplete")
        return any(
            job["configId"] == connection_id and job["statuses"][0] in opened
            for job in self.jobs.values()
        )


def attempt(number: int = 0, status: str = "succeeded", **committed: int) -> Document:
    """An attempt of a job, with the records of each stream that it has committed."""
    stats = [
        {
            "streamName": name,
            "stats": {"recordsEmitted": count, "recordsCommitted": count},
        }
        for name, count in committed.items()
    ]
    total = sum(committed.values())
    return {
        "id": number,
        "status": status,
        "totalStats": {"recordsEmitted": total, "recordsCommitted": total},
        "streamStats": stats,
    }


@contextlib.contextmanager
def run_airbyte() -> Iterator[AirbyteServer]:
    """Run a server without connections or jobs."""
    state = AirbyteServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = False
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state: AirbyteServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def log_message(self, *_: Any) -> None:
            pass

        def _serve(self, method: str) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            with state.lock:
                state.requests.append((parts.path, body))
                fault = _fault(state, parts.path)
                status, document = 401, {"message": "Unauthorized"}
                if fault is not None and not fault.done:
                    document = {}
                elif parts.path.endswith("/applications/token") or self._is_known():
                    status, document = state.answer(method, parts.path, query, body)
            if fault is None:
                self._send(status, json.dumps(document).encode())
            else:
                self._go_wrong(fault, json.dumps(document).encode())

        def _is_known(self) -> bool:
            kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
            return kind == "Bearer" and token in state.tokens

        def _send(self, status: int, data: bytes, length: int | None = None) -> None:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{state.url}/elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data) if length is None else length))
            self.end_headers()
            self.wfile.write(data)

        def _drip(self, data: bytes) -> None:
            """Send a byte every 20 ms until the client or the server ends."""
            with contextlib.suppress(OSError):
                self.wfile.write(data)
                while not state.closing.wait(0.02):
                    self.wfile.write(b" ")

        def _go_wrong(self, fault: Fault, data: bytes) -> None:
            if isinstance(fault.kind, int):
                self._send(fault.kind, json.dumps(fault.body).encode())
            elif fault.kind == "silence":
                state.closing.wait()
            elif fault.kind == "slow head":
                self._drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            elif fault.kind == "slow body":
                self._drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[")
            elif fault.kind == "half":
                self._send(200, data[: len(data) // 2], len(data) + 100)
            elif fault.kind == "html":
                self._send(200, b"<html>Please log in</html>")
            elif fault.kind == "list":
                self._send(200, b"[]")
            self.close_connection = True

    return Handler


def _fault(state: AirbyteServer, path: str) -> Fault | None:
    for fault in state.faults:
        if fault.times > 0 and path.endswith(fault.path):
            fault.times -= 1
            return fault
    return None


def _page(items: list[Document], query: Document) -> list[Document]:
    first = int(query.get("offset", 0))
    return items[first : first + int(query.get("limit", 20))]


def _problem(status: int, title: str, message: str) -> Document:
    return {
        "status": status,
        "type": f"https://reference.airbyte.com/reference/errors#{title}",
        "title": title,
        "detail": "",
        "data": {"message": message},
    }


def _job(job: Document) -> Document:
    shown = {name: value for name, value in job.items() if name not in ("statuses", "attempts")}
    return shown | {"status": job["statuses"][0]}


def _stream(name: str) -> Document:
    return {
        "stream": {"name": name, "jsonSchema": {}, "supportedSyncModes": ["incremental"]},
        "config": {
            "syncMode": "incremental",
            "destinationSyncMode": "append",
            "selected": True,
            "fieldSelectionEnabled": True,
        },
    }
