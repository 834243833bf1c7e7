"""The calls to Airbyte that the lake needs, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.answers import Connection, ConnectionStream, Failure, Job, Source
from lotus_lake.errors import AirbyteError, AirbyteNotFoundError, AirbyteUnavailableError

# Discovery asks the source itself, which can take minutes.
_DISCOVERY_SECONDS = 900.0
_JOB_KINDS = ("sync", "refresh", "reset_connection", "clear")
_PAGE = 100
# What a connector's `discover` prints of a stream, in the protocol's spelling.
_DISCOVERED = (
    "name", "namespace", "json_schema", "supported_sync_modes", "source_defined_cursor",
    "default_cursor_field", "source_defined_primary_key",
)  # fmt: skip


class AirbyteClient:
    """A logged-in view of an Airbyte server.

    Every method raises `AirbyteError` when Airbyte refuses, `AirbyteNotFoundError` for an id that
    it does not know, and `AirbyteUnavailableError` when it does not answer, after repeating the
    calls that change nothing.

    Args:
        access: Airbyte's addresses and the credentials.
        limits: Time limits, as of `Transport`.
    """

    def __init__(self, access: AirbyteAccess, **limits: float) -> None:
        # Here, because httpx and tenacity cost every command 0.2 s of its start.
        from lotus_lake.airbyte.transport import Transport

        self._access = access
        self._transport = Transport(access, **limits)

    def connections(self) -> list[Connection]:
        """All connections, by name."""
        found = []
        for workspace_id in self._workspace_ids():
            answer = self._config("connections/list", workspaceId=workspace_id)
            with _understood("connections/list"):
                items = answer.get("connections") or ()
                found += [Connection.model_validate(item) for item in items]
        return sorted(found, key=lambda item: (item.name, item.connection_id))

    def connection(self, connection_id: str) -> Connection:
        """A connection by its id.

        Raises:
            AirbyteNotFoundError: There is none; the text names those there are.
        """
        try:
            answer = self._config("connections/get", connectionId=connection_id)
        except AirbyteNotFoundError as error:
            raise _unknown("connection", connection_id, self.connections()) from error
        with _understood("connections/get"):
            return Connection.model_validate(answer)

    def source(self, source_id: str) -> Source:
        """A source by its id."""
        answer = self._config("sources/get", sourceId=source_id)
        with _understood("sources/get"):
            return Source.model_validate(answer)

    def sources(self) -> list[Source]:
        """All sources, by name."""
        workspace_ids = self._workspace_ids()
        with _understood("sources"):
            found = [Source.model_validate(item) for item in self._pages("sources")]
        kept = [item for item in found if item.workspace_id in workspace_ids]
        return sorted(kept, key=lambda source: (source.name, source.source_id))

    def discover_schema(self, source_id: str) -> dict[str, Any]:
        """Ask a source for its streams, with types, past Airbyte's cache.

        Args:
            source_id: Id of the source in Airbyte.

        Returns:
            The discovered catalog, as a connector's `discover` prints it: `{"streams": [{"name":
            ..., "json_schema": {...}, "supported_sync_modes": [...], ...}]}`.

        Raises:
            AirbyteNotFoundError: There is no such source; the text names those there are.
            AirbyteError: The source could not be asked, such as for wrong credentials of its own.
        """
        try:
            # Changes nothing, but takes long: it is not repeated after a timeout.
            answer = self._transport.call(
                f"{self._access.config_api}/sources/discover_schema",
                {"sourceId": source_id, "disable_cache": True},
                read=False,
                read_seconds=_DISCOVERY_SECONDS,
            )
        except AirbyteNotFoundError as error:
            raise _unknown("source", source_id, self.sources()) from error
        with _understood("sources/discover_schema"):
            if not answer.get("catalog"):
                job = answer.get("jobInfo") or {}
                failure = Failure.model_validate(job.get("failureReason") or {})
                reason = failure.message or "Airbyte gives no reason"
                raise AirbyteError(f"discovery of source {source_id} failed: {reason}")
            items = answer["catalog"].get("streams") or ()
            return {"streams": [_discovered(item["stream"]) for item in items]}

    def jobs(self, connection_id: str, statuses: Sequence[str] = ()) -> list[Job]:
        """The latest jobs of a connection, newest first.

        Args:
            connection_id: The connection.
            statuses: Only jobs in one of these; all when empty.
        """
        answer = self._config(
            "jobs/list",
            configTypes=list(_JOB_KINDS),
            configId=connection_id,
            pagination={"pageSize": 20, "rowOffset": 0},
            **({"statuses": list(statuses)} if statuses else {}),
        )
        with _understood("jobs/list"):
            jobs = [Job.model_validate(item) for item in answer.get("jobs") or ()]
        # Older servers do not know the filter.
        kept = [job for job in jobs if not statuses or job.status in statuses]
        return sorted(kept, key=lambda job: job.job_id, reverse=True)

    def job(self, job_id: int) -> Job:
        """A job with its attempts and statistics."""
        try:
            answer = self._config("jobs/get_without_logs", id=job_id)
        except AirbyteNotFoundError as error:
            raise AirbyteNotFoundError(
                f"there is no job {job_id}",
                hint="its id is in the address of its page in Airbyte, and sync_id in its rows",
            ) from error
        with _understood("jobs/get_without_logs"):
            return Job.model_validate(answer)

    def start_sync(self, connection_id: str) -> int:
        """Start a sync; returns the job's id. Never repeated: see `jobs.start`.

        Raises:
            AirbyteBusyError: A job of the connection is running already.
        """
        body = {"connectionId": connection_id, "jobType": "sync"}
        answer = self._transport.call(f"{self._access.public_api}/jobs", body, read=False)
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
            raise ValueError("a refresh without streams would refresh the whole connection")
        body = {
            "connectionId": connection_id,
            "refreshMode": "Merge",
            "streams": [stream.descriptor for stream in streams],
        }
        answer = self._transport.call(
            f"{self._access.config_api}/connections/refresh", body, read=False
        )
        with _understood("connections/refresh"):
            return Job.model_validate(answer).job_id if answer.get("job") else None

    def _workspace_ids(self) -> list[str]:
        """The workspaces to use: that of the settings, else all that the credentials can see."""
        if self._access.workspace_id:
            return [self._access.workspace_id]
        with _understood("workspaces"):
            return [item["workspaceId"] for item in self._pages("workspaces")]

    def _config(self, path: str, **body: Any) -> dict[str, Any]:
        """A call to the configuration API that changes nothing."""
        return self._transport.call(f"{self._access.config_api}/{path}", body, read=True)

    def _pages(self, path: str) -> list[dict[str, Any]]:
        """All items of a list of the public API."""
        items: list[dict[str, Any]] = []
        while True:
            query = f"limit={_PAGE}&offset={len(items)}"
            url = f"{self._access.public_api}/{path}?{query}"
            page = self._transport.call(url, read=True).get("data") or []
            items += page
            if len(page) < _PAGE:
                return items


@contextlib.contextmanager
def _understood(call: str) -> Iterator[None]:
    """Read an answer; one in another form than Airbyte documents is as good as none."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AirbyteUnavailableError(
            f"the answer to {call} has an unexpected format: {type(error).__name__}: {error}",
            hint="is AIRBYTE_URL an Airbyte of version 1.0 or newer?",
        ) from error


def _unknown(
    what: str, unknown_id: str, known: Sequence[Connection] | Sequence[Source]
) -> AirbyteNotFoundError:
    return AirbyteNotFoundError(
        f"there is no {what} {unknown_id}",
        hint=f"known {what}s: {', '.join(map(str, known)) or 'none'}",
    )


def _discovered(stream: dict[str, Any]) -> dict[str, Any]:
    """A stream of the configuration API as a connector's `discover` prints it."""
    found = {name: stream.get(to_camel(name)) for name in _DISCOVERED}
    return {name: value for name, value in found.items() if value is not None}
