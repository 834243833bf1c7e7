"""Which connection of Airbyte writes a stream's files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lotus_lake.airbyte.answers import Connection, ConnectionStream, Source
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.config.streams import Stream
from lotus_lake.errors import AirbyteError, AirbyteNotFoundError


def find_connection(
    client: AirbyteClient,
    source: str,
    streams: Sequence[Stream] = (),
    connection_id: str | None = None,
) -> Connection:
    """The connection that writes below `raw/{source}/`.

    That is the one whose namespace is the source's name, as the Terraform files set it, or that of
    the streams, or else the one whose source or connector has this name.

    Args:
        client: Airbyte.
        source: Name of the source, as in `include/streams/{source}/`.
        streams: Streams that it must send.
        connection_id: The connection, if it is not named after the source.

    Raises:
        AirbyteNotFoundError: There is none.
        AirbyteError: There are several.
    """
    if connection_id:
        return client.connection(connection_id)
    connections = [item for item in client.connections() if item.status != "deprecated"]
    sending = [item for item in connections if all(item.stream(stream) for stream in streams)]
    namespaces = {source, *(stream.namespace for stream in streams)}
    found = [item for item in sending if item.namespace in namespaces] or [
        item
        for item in sending
        if item.namespace is None and _has_name(client.source(item.source_id), source)
    ]
    names = ", ".join(stream.stream_name for stream in streams)
    what = f"{source}/{names}" if streams else source
    if len(found) > 1:
        raise AirbyteError(
            f"{len(found)} connections send {what}: {_listed(found)}",
            hint="choose one with --connection-id",
        )
    if not found:
        raise AirbyteNotFoundError(
            f"no connection sends {what}",
            hint=f"there are: {_listed(connections)}; choose one with --connection-id, or select "
            "the stream in it (include/airbyte/terraform)",
        )
    return found[0]


def find_source_id(client: AirbyteClient, source: str) -> str:
    """Id of the Airbyte source with this name, or else with a connector of this name.

    Args:
        client: Airbyte.
        source: Name of the source, as in `include/streams/{source}/`.

    Raises:
        AirbyteNotFoundError: There is none.
        AirbyteError: There are several.
    """
    sources = client.sources()
    found = [item for item in sources if _plain(item.name) == _plain(source)] or [
        item for item in sources if _plain(item.connector) == _plain(source)
    ]
    if len(found) > 1:
        raise AirbyteError(
            f"{len(found)} sources are called {source}: {_listed(found)}",
            hint="choose one with --source-id",
        )
    if not found:
        raise AirbyteNotFoundError(
            f"no source is called {source}",
            hint=f"there are: {_listed(sources)}; choose one with --source-id",
        )
    return found[0].source_id


def source_of(client: AirbyteClient, connection: Connection, sources: Sequence[str]) -> str:
    """The source, among those that have stream configs, that a connection sends.

    Raises:
        AirbyteNotFoundError: None of them has its name.
    """
    if connection.namespace in sources:
        return str(connection.namespace)
    sent = client.source(connection.source_id)
    for source in sources:
        if _has_name(sent, source):
            return source
    raise AirbyteNotFoundError(
        f"connection {connection} sends {sent.name!r}, which has no stream configs",
        hint=f"choose one of {', '.join(sources) or 'none'} with --source",
    )


def stream_of(connection: Connection, wanted: Stream) -> ConnectionStream:
    """The stream of a connection that a stream's files are written from.

    Raises:
        AirbyteNotFoundError: The connection does not send it.
    """
    stream = connection.stream(wanted)
    if stream is None:
        known = [f"{connection.prefix}{item.name}" for item in connection.streams if item.selected]
        raise AirbyteNotFoundError(
            f"connection {connection} sends no stream {wanted.stream_name}",
            hint=f"it sends: {_listed(sorted(known))}",
        )
    return stream


def _has_name(sent: Source, source: str) -> bool:
    return _plain(source) in (_plain(sent.name), _plain(sent.connector))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items)) or "none"
