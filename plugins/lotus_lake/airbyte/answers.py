"""Airbyte's answers, as far as the lake needs them; unknown and missing fields are allowed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from lotus_lake.config.path_format import name_in_keys
from lotus_lake.config.streams import Stream

# Not yet over: a further attempt may follow "incomplete".
OPEN_STATUSES = ("pending", "queued", "running", "incomplete")
# May have written files already, and may write more.
WRITING_STATUSES = ("running", "incomplete")


class _Answer(BaseModel):
    # Input stays out of errors: an answer about a source or destination may hold its secrets.
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, document: Any) -> Any:
        """Airbyte writes null for what is missing; here that has defaults."""
        if not isinstance(document, dict):
            return document
        return {name: value for name, value in document.items() if value is not None}


class Source(_Answer):
    """A source: its id, its name in Airbyte, and its connector, such as `shopify`."""

    source_id: str
    name: str = ""
    # The public API's word, and that of the configuration API.
    connector: str = Field("", validation_alias=AliasChoices("sourceType", "sourceName"))
    workspace_id: str = ""

    def __str__(self) -> str:
        return f"{self.source_id} ({self.name})"


class ConnectionStream(_Answer):
    """A stream of a connection; `name` and `namespace` are the source's words for it."""

    name: str = Field(validation_alias=AliasPath("stream", "name"))
    namespace: str | None = Field(None, validation_alias=AliasPath("stream", "namespace"))
    selected: bool = Field(True, validation_alias=AliasPath("config", "selected"))
    destination_sync_mode: str = Field(
        "", validation_alias=AliasPath("config", "destinationSyncMode")
    )

    @property
    def descriptor(self) -> dict[str, str]:
        """How the configuration API wants a stream named."""
        named = {"streamName": self.name}
        return named | ({"streamNamespace": self.namespace} if self.namespace else {})


class Connection(_Answer):
    """A connection from a source to a destination.

    Attributes:
        connection_id: Its id.
        name: Its name in Airbyte.
        source_id: Id of its source.
        status: `active`, `inactive`, `deprecated` or `locked`.
        prefix: What it puts before each stream's name.
        streams: Its streams, selected ones and others.
    """

    connection_id: str
    name: str = ""
    source_id: str
    status: str = "active"
    namespace_definition: str = ""
    namespace_format: str = ""
    prefix: str = ""
    streams: tuple[ConnectionStream, ...] = Field(
        (), validation_alias=AliasPath("syncCatalog", "streams")
    )

    def __str__(self) -> str:
        return f"{self.connection_id} ({self.name})"

    @property
    def namespace(self) -> str | None:
        """The namespace it writes to, if it was set for the connection."""
        is_set = self.namespace_definition == "customformat"
        return self.namespace_format or None if is_set else None

    def stream(self, wanted: Stream) -> ConnectionStream | None:
        """The selected stream that a stream's files are written from."""
        name, namespace = name_in_keys(wanted.stream_name), wanted.config.namespace
        for stream in self.streams:
            has_name = name_in_keys(f"{self.prefix}{stream.name}") == name
            written_to = self.namespace or stream.namespace or ""
            if stream.selected and has_name and namespace in (None, written_to):
                return stream
        return None


class Stats(_Answer):
    """Records that were read, and that the destination has confirmed."""

    records_emitted: int = 0
    records_committed: int = 0


class StreamStats(Stats):
    """Statistics of a stream: of a job on its own level, of an attempt one level below."""

    stream_name: str
    stats: Stats = Stats()


class Failure(_Answer):
    """Why an attempt, or a discovery, failed."""

    failure_origin: str = "airbyte"
    external_message: str = ""
    internal_message: str = ""

    @property
    def message(self) -> str:
        """The text for people, else that for developers; empty when Airbyte gives no reason."""
        return self.external_message or self.internal_message


class Attempt(_Answer):
    """An attempt of a job."""

    total_stats: Stats | None = None
    stream_stats: tuple[StreamStats, ...] = ()
    failures: tuple[Failure, ...] = Field(
        (), validation_alias=AliasPath("failureSummary", "failures")
    )


class Job(_Answer):
    """A job of a connection, with its attempts where the answer has them.

    Attributes:
        job_id: Its id, which is `_airbyte_meta.sync_id` of every row that it wrote.
        kind: `sync`, `refresh`, `reset_connection`, `clear`...
        connection_id: Its connection.
        status: `pending`, `queued`, `running`, `incomplete`, `failed`, `succeeded`, `cancelled`.
        created_at: When it was requested; the days in the keys of its files are not earlier.
        streams: Names of the streams that a refresh was requested for.
        attempts: Its attempts so far.
        stream_aggregated_stats: Airbyte's own totals over all attempts.
    """

    job_id: int = Field(validation_alias="id")
    kind: str = Field("sync", validation_alias="configType")
    connection_id: str = Field("", validation_alias="configId")
    status: str = "pending"
    created_at: datetime = datetime.fromtimestamp(0, UTC)
    streams: frozenset[str] = frozenset()
    attempts: tuple[Attempt, ...] = ()
    stream_aggregated_stats: tuple[StreamStats, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, answer: Any) -> Any:
        """Attempts are next to the job, in some answers wrapped once more."""
        job = answer["job"]
        refresh = (job.get("refreshConfig") or {}).get("streamsToRefresh") or ()
        attempts = [item.get("attempt", item) for item in answer.get("attempts") or ()]
        return job | {"attempts": attempts, "streams": [item["name"] for item in refresh]}

    @property
    def is_over(self) -> bool:
        """Whether no attempt can follow."""
        return self.status not in OPEN_STATUSES

    @property
    def emitted(self) -> int:
        """Records read so far, all streams and attempts together."""
        return sum(item.total_stats.records_emitted for item in self.attempts if item.total_stats)

    @property
    def committed(self) -> dict[str, int] | None:
        """Records per stream that the destination has confirmed, over all attempts.

        A stream that is missing had none. `None` when Airbyte has no statistics.
        """
        if self.stream_aggregated_stats is not None:
            return {
                item.stream_name: item.records_committed for item in self.stream_aggregated_stats
            }
        # A sync that moved nothing has totals but no streams.
        if not any(item.total_stats or item.stream_stats for item in self.attempts):
            return None
        counts: Counter[str] = Counter()
        for attempt in self.attempts:
            for item in attempt.stream_stats:
                counts[item.stream_name] += item.stats.records_committed
        return dict(counts)

    @property
    def failure(self) -> str | None:
        """Why the latest attempt failed."""
        failures = self.attempts[-1].failures if self.attempts else ()
        for failure in failures:
            if failure.message:
                return f"{failure.failure_origin}: {failure.message}"
        return None
