"""What Airbyte says, as far as it matters here. Fields that are unknown or missing are no error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# Not yet over: a further attempt may follow "incomplete".
OPEN_STATUSES = ("pending", "queued", "running", "incomplete")
# May have written files already, and may write more.
WRITING_STATUSES = ("running", "incomplete")


@dataclass(frozen=True, slots=True)
class Source:
    """A source: its id, what people called it, and its connector, such as `shopify`."""

    source_id: str
    name: str
    connector: str


@dataclass(frozen=True, slots=True)
class ConnectionStream:
    """A stream of a connection; `name` and `namespace` are the source's words for it."""

    name: str
    namespace: str | None
    selected: bool
    sync_mode: str
    destination_sync_mode: str

    @property
    def descriptor(self) -> dict[str, str]:
        """How the configuration API wants a stream named."""
        named = {"streamName": self.name}
        return named | ({"streamNamespace": self.namespace} if self.namespace else {})


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection from a source to a destination.

    Attributes:
        connection_id: Its id.
        name: What people called it.
        source_id: Id of its source.
        status: `active`, `inactive`, `deprecated` or `locked`.
        namespace: The namespace it writes to, when it was set for the connection.
        prefix: What it puts before each stream's name.
        streams: Its streams, selected ones and others.
    """

    connection_id: str
    name: str
    source_id: str
    status: str
    namespace: str | None
    prefix: str
    streams: tuple[ConnectionStream, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Connection:
        """Read a connection of the configuration API."""
        custom = document.get("namespaceDefinition") == "customformat"
        catalog = document.get("syncCatalog") or {}
        return cls(
            connection_id=_text(document, "connectionId"),
            name=str(document.get("name") or ""),
            source_id=_text(document, "sourceId"),
            status=str(document.get("status") or "active"),
            namespace=(document.get("namespaceFormat") or None) if custom else None,
            prefix=str(document.get("prefix") or ""),
            streams=tuple(_streams(catalog.get("streams") or ())),
        )

    def stream(self, name: str) -> ConnectionStream | None:
        """The selected stream whose files are written under this name."""
        for stream in self.streams:
            if stream.selected and f"{self.prefix}{stream.name}" == name:
                return stream
        return None


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a connection.

    Attributes:
        job_id: Its id, which is `_airbyte_meta.sync_id` of every row that it wrote.
        kind: `sync`, `refresh`, `reset_connection`, `clear`...
        connection_id: Its connection.
        status: `pending`, `queued`, `running`, `incomplete`, `failed`, `succeeded`, `cancelled`.
        created_at: When it was asked for; the days in the keys of its files are not earlier.
        streams: Names of the streams that a refresh was asked for.
        attempts: How many attempts there were so far.
        emitted: Records read so far, all streams and attempts together.
        committed: Records per stream that the destination has confirmed, over all attempts; a
            stream that is missing had none. `None` when Airbyte has no statistics.
        failure: Why the latest attempt failed.
    """

    job_id: int
    kind: str
    connection_id: str
    status: str
    created_at: datetime
    streams: frozenset[str] = frozenset()
    attempts: int = 0
    emitted: int = 0
    committed: Mapping[str, int] | None = None
    failure: str | None = None

    @classmethod
    def parse(
        cls, job: Mapping[str, Any], attempts: Iterable[Mapping[str, Any]] | None = None
    ) -> Job:
        """Read a job of the configuration API, with its attempts where they are known."""
        tries = list(attempts or ())
        refresh = (job.get("refreshConfig") or {}).get("streamsToRefresh") or ()
        return cls(
            job_id=int(job["id"]),
            kind=str(job.get("configType") or "sync"),
            connection_id=str(job.get("configId") or ""),
            status=str(job.get("status") or "pending"),
            created_at=datetime.fromtimestamp(int(job.get("createdAt") or 0), tz=UTC),
            streams=frozenset(str(item.get("name")) for item in refresh),
            attempts=len(tries),
            emitted=sum(_count(item.get("totalStats"), "recordsEmitted") for item in tries),
            committed=_committed(job, tries),
            failure=_failure(tries),
        )

    @property
    def is_over(self) -> bool:
        """Whether no attempt can follow."""
        return self.status not in OPEN_STATUSES


def _committed(
    job: Mapping[str, Any], attempts: Iterable[Mapping[str, Any]]
) -> dict[str, int] | None:
    """Confirmed records per stream: Airbyte's own total, else the sum over the attempts."""
    total = job.get("streamAggregatedStats")
    if total is not None:
        return {item["streamName"]: _count(item, "recordsCommitted") for item in total}
    counts: dict[str, int] = {}
    known = False
    for attempt in attempts:
        for item in attempt.get("streamStats") or ():
            known = True
            name = item["streamName"]
            counts[name] = counts.get(name, 0) + _count(item.get("stats"), "recordsCommitted")
        # A sync that moved nothing has totals but no streams.
        known = known or attempt.get("totalStats") is not None
    return counts if known else None


def _failure(attempts: list[Mapping[str, Any]]) -> str | None:
    failures = (attempts[-1].get("failureSummary") or {}).get("failures") if attempts else None
    for failure in failures or ():
        text = failure.get("externalMessage") or failure.get("internalMessage")
        if text:
            return f"{failure.get('failureOrigin') or 'airbyte'}: {text}"
    return None


def _streams(items: Iterable[Mapping[str, Any]]) -> Iterable[ConnectionStream]:
    for item in items:
        stream, config = item.get("stream") or {}, item.get("config") or {}
        yield ConnectionStream(
            name=_text(stream, "name"),
            namespace=stream.get("namespace") or None,
            selected=bool(config.get("selected", True)),
            sync_mode=str(config.get("syncMode") or ""),
            destination_sync_mode=str(config.get("destinationSyncMode") or ""),
        )


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"no {name}")
    return value


def _count(stats: Mapping[str, Any] | None, name: str) -> int:
    return int((stats or {}).get(name) or 0)
