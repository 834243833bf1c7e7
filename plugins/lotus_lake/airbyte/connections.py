"""Which connection of Airbyte writes a stream's files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lotus_lake.airbyte.answers import Connection, ConnectionStream
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.errors import AirbyteError, AirbyteNotFoundError


def find_connection(
    client: AirbyteClient,
    source: str,
    streams: Sequence[str] = (),
    connection_id: str | None = None,
) -> Connection:
    """The connection that writes below `raw/{source}/`.

    That is the one whose namespace is the source's name, as the Terraform files set it, or else
    whose source or connector is called like it.

    Args:
        client: Airbyte.
        source: Name of the source, as in `include/streams/{source}/`.
        streams: Streams that it must send.
        connection_id: The connection, when it cannot be told by names.

    Raises:
        AirbyteNotFoundError: There is none.
        AirbyteError: There are several.
    """
    if connection_id:
        return client.connection(connection_id)
    connections = [item for item in client.connections() if item.status != "deprecated"]
    sending = [item for item in connections if all(item.stream(name) for name in streams)]
    found = [item for item in sending if item.namespace == source] or [
        item
        for item in sending
        if item.namespace is None and _is_called(client.source_names(item.source_id), source)
    ]
    what = f"{source}/{', '.join(streams)}" if streams else source
    if len(found) > 1:
        raise AirbyteError(
            f"{len(found)} connections send {what}: {_shown(found)}",
            hint="choose one with --connection-id",
        )
    if not found:
        raise AirbyteNotFoundError(
            f"no connection sends {what}",
            hint=f"there are: {_shown(connections) or 'none'}; choose one with --connection-id, or "
            "select the stream in it (include/airbyte/terraform)",
        )
    return found[0]


def find_source_id(client: AirbyteClient, source: str) -> str:
    """Id of the source that is called like a folder of stream configs, or whose connector is.

    Args:
        client: Airbyte.
        source: Name of the source, as in `include/streams/{source}/`.

    Raises:
        AirbyteNotFoundError: There is none.
        AirbyteError: There are several.
    """
    sources = client.sources()
    found = [item for item in sources if _is_called([item.name], source)] or [
        item for item in sources if _is_called([item.connector], source)
    ]
    if len(found) == 1:
        return found[0].source_id
    shown = ", ".join(f"{item.source_id} ({item.name})" for item in found or sources)
    if found:
        raise AirbyteError(
            f"{len(found)} sources are called {source}: {shown}", hint="name one with --source-id"
        )
    raise AirbyteNotFoundError(
        f"no source is called {source}",
        hint=f"there are: {shown or 'none'}; name one with --source-id",
    )


def source_of(client: AirbyteClient, connection: Connection, sources: Sequence[str]) -> str:
    """The source, among those that have stream configs, that a connection sends.

    Raises:
        AirbyteNotFoundError: It is called like none of them.
    """
    if connection.namespace in sources:
        return str(connection.namespace)
    names = client.source_names(connection.source_id)
    for source in sources:
        if _is_called(names, source):
            return source
    raise AirbyteNotFoundError(
        f"connection {connection.connection_id} ({connection.name}) sends {names[0]!r}, which has "
        "no stream configs",
        hint=f"name one of {', '.join(sources) or 'none'} with --source",
    )


def stream_of(connection: Connection, name: str) -> ConnectionStream:
    """A stream of a connection by the name that its files are written under.

    Raises:
        AirbyteNotFoundError: The connection does not send it.
    """
    stream = connection.stream(name)
    if stream is None:
        known = [f"{connection.prefix}{item.name}" for item in connection.streams if item.selected]
        raise AirbyteNotFoundError(
            f"connection {connection.connection_id} ({connection.name}) sends no stream {name}",
            hint=f"it sends: {', '.join(sorted(known)) or 'none'}",
        )
    return stream


def _is_called(names: Sequence[str], source: str) -> bool:
    return _plain(source) in [_plain(name) for name in names]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _shown(connections: Sequence[Connection]) -> str:
    return ", ".join(f"{item.connection_id} ({item.name})" for item in connections)
