"""Have Airbyte send a stream once more from the start, keeping everything there is.

This is Airbyte's refresh in its mode "Merge": all records come again, as new files with the next
generation id; no file is touched. Its clear (once called reset) would delete the files of the
whole connection, and send nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake.airbyte import jobs
from lotus_lake.airbyte.answers import Connection, ConnectionStream
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.connections import find_connection, stream_of
from lotus_lake.airbyte.landed import holdings
from lotus_lake.config.streams import Stream
from lotus_lake.errors import AirbyteError
from lotus_lake.lake.session import META, Lake

_TABLE = f"""
CREATE SCHEMA IF NOT EXISTS {META};
CREATE TABLE IF NOT EXISTS {META}.backfill_requests (
    source VARCHAR, stream VARCHAR, job_id BIGINT, requested_at TIMESTAMPTZ,
    event VARCHAR, selection VARCHAR
);
"""


@dataclass(frozen=True, slots=True)
class PlannedStream:
    """A stream that is to be sent again, and what the lake holds of it now."""

    stream: Stream
    sent: ConnectionStream
    file_count: int
    row_count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One job of one connection: only one can run at a time, so it takes all its streams."""

    connection: Connection
    streams: tuple[PlannedStream, ...]


def plan(
    lake: Lake, client: AirbyteClient, streams: Sequence[Stream], connection_id: str | None = None
) -> list[Plan]:
    """What has to be asked of Airbyte so that these streams are sent again; asks nothing yet.

    Args:
        lake: Open lake; reading is enough.
        client: Airbyte.
        streams: The streams.
        connection_id: Their connection, when it cannot be told by names.

    Raises:
        AirbyteNotFoundError: No connection sends one of them.
        AirbyteError: Several do, or its files would be replaced rather than kept.
    """
    found: dict[str, tuple[Connection, list[PlannedStream]]] = {}
    for stream in streams:
        connection = find_connection(client, stream.source, [stream.name], connection_id)
        sent = stream_of(connection, stream.name)
        _check_append(connection, sent)
        planned = PlannedStream(stream, sent, *holdings(lake, stream))
        found.setdefault(connection.connection_id, (connection, []))[1].append(planned)
    return [Plan(connection, tuple(planned)) for connection, planned in found.values()]


def request(lake: Lake, client: AirbyteClient, planned: Plan) -> int:
    """Ask Airbyte, and note it in `meta.backfill_requests`; returns the job's id.

    When the process dies between the two, `--flagged` asks once more, which costs time and doubles
    nothing.

    Raises:
        AirbyteBusyError: A job of the connection is open already.
        AirbyteError: Airbyte refused, or started nothing.
        AirbyteUnavailableError: There was no answer, and no job was started.
    """
    connection = planned.connection
    job_id = jobs.start(
        client,
        connection,
        "refresh",
        lambda: client.refresh(connection.connection_id, [item.sent for item in planned.streams]),
        streams=[item.sent.name for item in planned.streams],
    )
    _note(lake, [item.stream for item in planned.streams], "requested", job_id)
    return job_id


def flagged(lake: Lake, streams: Sequence[Stream]) -> list[Stream]:
    """The streams whose config says `"backfill": true` and was not answered yet.

    A flag is answered once, until it is taken back and set again, or until what Airbyte sends of
    the stream (fields, keys, sync mode) is changed. Flags that were taken back are noted.

    Args:
        lake: Open lake; written to only when a flag was taken back.
        streams: All streams.
    """
    answered = _answered(lake)
    withdrawn = [item for item in streams if not item.config.backfill and item.id in answered]
    if withdrawn:
        _note(lake, withdrawn, "withdrawn", None)
    return [
        item
        for item in streams
        if item.config.backfill and answered.get(item.id) != selection(item)
    ]


def selection(stream: Stream) -> str:
    """A short text that changes when what Airbyte sends of the stream does."""
    config = stream.config
    document = config.model_dump(
        mode="json", by_alias=True, include={"sync_mode", "primary_key", "cursor_field", "fields"}
    )
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _check_append(connection: Connection, stream: ConnectionStream) -> None:
    if stream.destination_sync_mode != "append":
        raise AirbyteError(
            f"connection {connection.connection_id} ({connection.name}) sends {stream.name} in "
            f"the mode {stream.destination_sync_mode!r}: its older files would be deleted after "
            "the refresh, while the lake still needs them",
            hint="set it to append (incremental_append or full_refresh_append)",
        )


def _answered(lake: Lake) -> dict[str, str]:
    """Selection at the latest request of each stream, unless its flag was taken back since."""
    if "backfill_requests" not in lake.tables("meta"):
        return {}
    rows = lake.rows(
        "SELECT source || '__' || stream, arg_max(selection, requested_at) "
        f"FROM {META}.backfill_requests GROUP BY ALL "
        "HAVING arg_max(event, requested_at) = 'requested'"
    )
    return dict(rows)


def _note(lake: Lake, streams: Sequence[Stream], event: str, job_id: int | None) -> None:
    rows = [[stream.source, stream.name, job_id, event, selection(stream)] for stream in streams]

    def insert() -> None:
        lake.con.execute(_TABLE)
        for row in rows:
            lake.con.execute(
                f"INSERT INTO {META}.backfill_requests VALUES (?, ?, ?, now(), ?, ?)",
                row,
            )

    what = ", ".join(stream.id for stream in streams)
    lake.commit(f"backfill {event}: {what}", insert)
