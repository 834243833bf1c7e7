"""Have Airbyte send a stream again from the start, keeping everything there is.

This is Airbyte's refresh in its mode "Merge": all records come again, as new files with the next
generation id; no file is touched. Its clear (formerly reset) would delete the files of the whole
connection, and send nothing.
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
from lotus_lake.airbyte.landed import Holdings, holdings
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
    """A stream to send again, and what the lake holds of it now."""

    stream: Stream
    sent: ConnectionStream
    held: Holdings


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """One job of one connection: only one can run at a time, so it takes all its streams."""

    connection: Connection
    streams: tuple[PlannedStream, ...]


def plan_backfills(
    lake: Lake, client: AirbyteClient, streams: Sequence[Stream], connection_id: str | None = None
) -> list[BackfillPlan]:
    """What to ask of Airbyte to have these streams sent again; asks nothing yet.

    Args:
        lake: Open lake; read-only is enough.
        client: Airbyte.
        streams: The streams.
        connection_id: Their connection, if it is not named after the source.

    Raises:
        AirbyteNotFoundError: No connection sends one of them.
        AirbyteBusyError: A job of a connection is open.
        AirbyteError: Several do, or its files would be replaced rather than kept.
    """
    found: dict[str, tuple[Connection, list[PlannedStream]]] = {}
    for stream in streams:
        connection = find_connection(client, stream.source, [stream], connection_id)
        sent = stream_of(connection, stream)
        _check_append(connection, sent)
        planned = PlannedStream(stream, sent, holdings(lake, stream))
        found.setdefault(connection.connection_id, (connection, []))[1].append(planned)
    for connection, _ in found.values():
        jobs.refuse_when_busy(client, connection)
    return [BackfillPlan(connection, tuple(planned)) for connection, planned in found.values()]


def request_backfill(lake: Lake, client: AirbyteClient, plan: BackfillPlan) -> int:
    """Ask Airbyte, and note it in `meta.backfill_requests`; returns the job's id.

    If the process dies between the two, `--flagged` asks once more, which costs time and doubles
    nothing.

    Raises:
        AirbyteBusyError: A job of the connection is open already.
        AirbyteError: Airbyte refused, or started nothing.
        AirbyteUnavailableError: There was no answer, and no job was started.
    """
    connection, sent = plan.connection, [item.sent for item in plan.streams]
    job_id = jobs.start(
        client,
        connection,
        "refresh",
        lambda: client.refresh(connection.connection_id, sent),
        streams=[stream.name for stream in sent],
    )
    _note(lake, [item.stream for item in plan.streams], "requested", job_id)
    return job_id


def flagged_streams(lake: Lake, streams: Sequence[Stream]) -> list[Stream]:
    """The streams whose config says `"backfill": true` without an answer yet.

    A flag is answered once, until it is cleared and set again, or until what Airbyte sends of the
    stream (fields, keys, sync mode) changes. Flags that were cleared are noted.

    Args:
        lake: Open lake; written to only if a flag was cleared.
        streams: All streams.
    """
    answered = _answered(lake)
    cleared = [item for item in streams if not item.config.backfill and item.id in answered]
    if cleared:
        _note(lake, cleared, "withdrawn", None)
    return [
        item
        for item in streams
        if item.config.backfill and answered.get(item.id) != _selection(item)
    ]


def _selection(stream: Stream) -> str:
    """A short text that changes when what Airbyte sends of the stream does."""
    config = stream.config
    document = config.model_dump(
        mode="json", by_alias=True, include={"sync_mode", "primary_key", "cursor_field", "fields"}
    )
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _check_append(connection: Connection, stream: ConnectionStream) -> None:
    if stream.destination_sync_mode != "append":
        raise AirbyteError(
            f"connection {connection} sends {stream.name} in the mode "
            f"{stream.destination_sync_mode!r}: its older files would be deleted after the "
            "refresh, while the lake still needs them",
            hint="set it to append (incremental_append or full_refresh_append)",
        )


def _answered(lake: Lake) -> dict[str, str]:
    """Selection at the latest request of each stream, unless its flag was cleared since."""
    if "backfill_requests" not in lake.tables("meta"):
        return {}
    rows = lake.rows(
        f"""
        SELECT source || '__' || stream, arg_max(selection, requested_at)
        FROM {META}.backfill_requests
        GROUP BY ALL
        HAVING arg_max(event, requested_at) = 'requested'
        """
    )
    return dict(rows)


def _note(lake: Lake, streams: Sequence[Stream], event: str, job_id: int | None) -> None:
    def insert() -> None:
        lake.con.execute(_TABLE)
        for stream in streams:
            lake.con.execute(
                f"INSERT INTO {META}.backfill_requests VALUES (?, ?, ?, now(), ?, ?)",
                [stream.source, stream.name, job_id, event, _selection(stream)],
            )

    lake.commit(f"backfill {event}: {', '.join(stream.id for stream in streams)}", insert)
