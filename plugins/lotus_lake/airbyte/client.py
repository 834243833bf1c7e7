"""The calls to Airbyte that are needed here, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.answers import Connection, ConnectionStream, Job, Source
from lotus_lake.airbyte.transport import TIMEOUT_SECONDS, Transport
from lotus_lake.errors import AirbyteError, AirbyteNotFoundError, AirbyteUnavailableError

# Discovery asks the source itself, which can take minutes.
DISCOVERY_SECONDS = 900.0
JOB_KINDS = ("sync", "refresh", "reset_connection", "clear")
_PAGE = 100


class AirbyteClient:
    """A logged-in view of an Airbyte server.

    Every method raises `AirbyteError` when Airbyte refuses, `AirbyteNotFoundError` for an id that
    it does not know, and `AirbyteUnavailableError` when it does not answer, after repeating the
    calls that change nothing.

    Args:
        access: Where and as whom.
        timeout_seconds: How long to wait for each answer.
        pause_seconds: Pause before a call is repeated.
    """

    def __init__(
        self,
        access: AirbyteAccess,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        pause_seconds: float = 0.5,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._transport = Transport(
            access, timeout_seconds=timeout_seconds, pause_seconds=pause_seconds
        )

    @property
    def access(self) -> AirbyteAccess:
        """Where and as whom."""
        return self._transport.access

    def workspace_ids(self) -> list[str]:
        """The workspaces to look at: that of the settings, else all that can be seen."""
        if self.access.workspace_id:
            return [self.access.workspace_id]
        with _understood("workspaces"):
            return [item["workspaceId"] for item in self._pages("workspaces")]

    def connections(self) -> list[Connection]:
        """All connections, by name."""
        found = []
        for workspace_id in self.workspace_ids():
            answer = self._transport.config(
                "connections/list", {"workspaceId": workspace_id}, read=True
            )
            with _understood("connections/list"):
                found += [Connection.parse(item) for item in answer.get("connections") or ()]
        return sorted(found, key=lambda item: (item.name, item.connection_id))

    def connection(self, connection_id: str) -> Connection:
        """A connection by its id.

        Raises:
            AirbyteNotFoundError: There is none; the text names those there are.
        """
        try:
            answer = self._transport.config(
                "connections/get", {"connectionId": connection_id}, read=True
            )
        except AirbyteNotFoundError as error:
            known = [f"{item.connection_id} ({item.name})" for item in self.connections()]
            raise AirbyteNotFoundError(
                f"there is no connection {connection_id}",
                hint=f"known connections: {', '.join(known) or 'none'}",
            ) from error
        with _understood("connections/get"):
            return Connection.parse(answer)

    def source_names(self, source_id: str) -> tuple[str, str]:
        """What people called a source, and the name of its connector."""
        answer = self._transport.config("sources/get", {"sourceId": source_id}, read=True)
        return str(answer.get("name") or ""), str(answer.get("sourceName") or "")

    def sources(self) -> list[Source]:
        """All sources, by name."""
        workspace_ids = self.workspace_ids()
        with _understood("sources"):
            found = [
                Source(item["sourceId"], item["name"], str(item.get("sourceType") or ""))
                for item in self._pages("sources")
                if item.get("workspaceId") in workspace_ids
            ]
            return sorted(found, key=lambda source: (source.name, source.source_id))

    def discover_schema(self, source_id: str) -> dict[str, Any]:
        """Ask a source for its streams, with types, past Airbyte's cache.

        Args:
            source_id: Id of the source in Airbyte.

        Returns:
            An Airbyte catalog as a connector's `discover` prints it: `{"streams": [{"name": ...,
            "json_schema": {...}, "supported_sync_modes": [...], ...}]}`.

        Raises:
            AirbyteNotFoundError: There is no such source; the text names those there are.
            AirbyteError: The source could not be asked, such as for wrong credentials of its own.
        """
        # Asking a source changes nothing, but takes long: it is not repeated after a time-out.
        transport = Transport(
            self.access, timeout_seconds=DISCOVERY_SECONDS, pause_seconds=self._pause_seconds
        )
        try:
            answer = transport.config(
                "sources/discover_schema",
                {"sourceId": source_id, "disable_cache": True},
                read=False,
            )
        except AirbyteNotFoundError as error:
            known = [f"{item.source_id} ({item.name})" for item in self.sources()]
            raise AirbyteNotFoundError(
                f"there is no source {source_id}",
                hint=f"known sources: {', '.join(known) or 'none'}",
            ) from error
        if not answer.get("catalog"):
            raise AirbyteError(
                f"discovery of source {source_id} failed: {_discovery_error(answer)}"
            )
        with _understood("sources/discover_schema"):
            items = answer["catalog"].get("streams") or ()
            return {"streams": [_protocol_stream(item["stream"]) for item in items]}

    def jobs(self, connection_id: str, statuses: Sequence[str] = ()) -> list[Job]:
        """The latest jobs of a connection, newest first.

        Args:
            connection_id: The connection.
            statuses: Only jobs in one of these; all when empty.
        """
        body: dict[str, Any] = {
            "configTypes": list(JOB_KINDS),
            "configId": connection_id,
            "pagination": {"pageSize": 20, "rowOffset": 0},
        }
        if statuses:
            body["statuses"] = list(statuses)
        answer = self._transport.config("jobs/list", body, read=True)
        with _understood("jobs/list"):
            items = answer.get("jobs") or ()
            jobs = [Job.parse(item["job"], item.get("attempts")) for item in items]
        # Older servers do not know the filter.
        kept = [job for job in jobs if not statuses or job.status in statuses]
        return sorted(kept, key=lambda job: job.job_id, reverse=True)

    def job(self, job_id: int) -> Job:
        """A job with its attempts and statistics."""
        try:
            answer = self._transport.config("jobs/get_without_logs", {"id": job_id}, read=True)
        except AirbyteNotFoundError as error:
            raise AirbyteNotFoundError(
                f"there is no job {job_id}",
                hint="its id is in the address of its page in Airbyte, and sync_id in its rows",
            ) from error
        with _understood("jobs/get_without_logs"):
            attempts = [item["attempt"] for item in answer.get("attempts") or ()]
            return Job.parse(answer["job"], attempts)

    def start_sync(self, connection_id: str) -> int:
        """Start a sync; returns the job's id. Never repeated: see `jobs.start`.

        Raises:
            AirbyteBusyError: A job of the connection is running already.
        """
        answer = self._transport.public(
            "POST", "jobs", {"connectionId": connection_id, "jobType": "sync"}
        )
        with _understood("jobs"):
            return int(answer["jobId"])

    def refresh(self, connection_id: str, streams: Sequence[ConnectionStream]) -> int | None:
        """Have streams sent again from the start, keeping all there is; returns the job's id.

        Returns:
            `None` when Airbyte noted the request but started no job: its next sync will be the
            refresh, or the destination cannot refresh. Never repeated: see `jobs.start`.

        Raises:
            ValueError: No stream is given, which would refresh all of them.
        """
        if not streams:
            raise ValueError("a refresh without streams refreshes all of the connection")
        answer = self._transport.config(
            "connections/refresh",
            {
                "connectionId": connection_id,
                "refreshMode": "Merge",
                "streams": [stream.descriptor for stream in streams],
            },
            read=False,
        )
        with _understood("connections/refresh"):
            return Job.parse(answer["job"]).job_id if answer.get("job") else None

    def _pages(self, path: str) -> list[dict[str, Any]]:
        """All items of a list of the public API."""
        items: list[dict[str, Any]] = []
        while True:
            answer = self._transport.public("GET", f"{path}?limit={_PAGE}&offset={len(items)}")
            page = answer.get("data") or []
            items += page
            if len(page) < _PAGE:
                return items


@contextlib.contextmanager
def _understood(call: str) -> Iterator[None]:
    """Read an answer; one that has another form than Airbyte describes is as good as none."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AirbyteUnavailableError(
            f"the answer to {call} has an unknown form: {type(error).__name__}: {error}",
            hint="is AIRBYTE_URL an Airbyte of version 1.0 or newer?",
        ) from error


def _protocol_stream(stream: dict[str, Any]) -> dict[str, Any]:
    """A stream of the configuration API in the words of Airbyte's protocol."""
    words = {
        "name": "name",
        "namespace": "namespace",
        "jsonSchema": "json_schema",
        "supportedSyncModes": "supported_sync_modes",
        "sourceDefinedCursor": "source_defined_cursor",
        "defaultCursorField": "default_cursor_field",
        "sourceDefinedPrimaryKey": "source_defined_primary_key",
    }
    return {new: stream[old] for old, new in words.items() if stream.get(old) is not None}


def _discovery_error(answer: dict[str, Any]) -> str:
    reason = (answer.get("jobInfo") or {}).get("failureReason") or {}
    text = reason.get("externalMessage") or reason.get("internalMessage")
    return str(text or "Airbyte gives no reason")
