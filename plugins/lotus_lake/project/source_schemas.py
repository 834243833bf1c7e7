"""Source schemas: the streams that a connector discovered, kept in `include/sources`.

A connector's `discover` answers in the Airbyte protocol: JSON messages, one per line, with the
CATALOG among LOGs. An Airbyte server answers with the catalog itself. `write_source_schemas` keeps
its types, keys and cursors.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lotus_lake.config.path_format import name_in_keys
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import stream_files
from lotus_lake.errors import CatalogMessageError, StreamConfigError
from lotus_lake.project.json_schema import field_schemas, reduced, type_text
from lotus_lake.project.json_text import json_text
from lotus_lake.sql import is_plain_name

# What a stream description keeps besides its name and schema, in this order.
_STREAM_WORDS = (
    "supported_sync_modes",
    "source_defined_cursor",
    "default_cursor_field",
    "source_defined_primary_key",
    "namespace",
)
# How the API of an Airbyte server spells the same.
_SERVER_WORDS = {
    "jsonSchema": "json_schema",
    "supportedSyncModes": "supported_sync_modes",
    "sourceDefinedCursor": "source_defined_cursor",
    "defaultCursorField": "default_cursor_field",
    "sourceDefinedPrimaryKey": "source_defined_primary_key",
}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """What became of one stream of a catalog.

    Attributes:
        stream: Name of the stream.
        path: Its file.
        status: `skipped` when the name cannot be a stream here; nothing is written then.
        added: Fields that are new, as dotted paths; `[]` stands for the elements of a list.
        removed: Fields that the source no longer has.
        changed: What else changed: types, descriptions, keys, cursors, sync modes.
        reason: Why the stream was skipped.
    """

    stream: str
    path: Path
    status: Literal["new", "changed", "unchanged", "skipped"]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    reason: str = ""


def read_airbyte_catalog(text: str) -> dict[str, Any]:
    """Find the catalog in the output of a connector's `discover`, or in a bare AirbyteCatalog.

    Raises:
        CatalogMessageError: It holds no catalog; the text repeats the connector's own error.
    """
    try:
        return _catalog_of(json.loads(text))
    except ValueError:
        messages = list(_messages(text))
    for message in messages:
        if message.get("type") == "CATALOG":
            return _catalog_of(message)
    said = [error for message in messages if (error := _connector_error(message))]
    raise CatalogMessageError(
        "; ".join(said) or "the input has no CATALOG message",
        hint="pass the output of the connector's `discover --config config.json`",
    )


def write_source_schemas(
    settings: Settings,
    source: str,
    catalog: Mapping[str, Any],
    *,
    only: Collection[str] = (),
    dry_run: bool = False,
) -> list[SchemaChange]:
    """Write `include/sources/{source}/{stream}.json` for every stream of a catalog.

    Fields that a file holds already keep their order: a catalog that lists the same fields in
    another order changes nothing.

    Args:
        settings: Where the project is.
        source: Name of the source, which is the folder's.
        catalog: An AirbyteCatalog: its `streams`, each with `name` and `json_schema`; or the
            answer of an Airbyte server, which has these under `stream`.
        only: Names of the streams to write; all of them by default.
        dry_run: Write nothing.

    Returns:
        What became of each stream, by name.

    Raises:
        CatalogMessageError: It is not a catalog, or it lacks a stream of `only`.
        StreamConfigError: The source's name cannot be a folder here.
    """
    check_name(source, "source")
    streams = _streams_of(catalog)
    if missing := sorted(set(only) - set(streams)):
        raise CatalogMessageError(
            f"the catalog of {source} has no stream {', '.join(missing)}",
            hint=f"it has {', '.join(sorted(streams)) or 'none'}",
        )
    chosen = [streams[name] for name in sorted(streams) if not only or name in only]
    taken, named = Counter(map(our_name, streams)), _named(settings, source)
    return [_write_stream(settings, source, stream, taken, named, dry_run) for stream in chosen]


def check_name(name: str, kind: str) -> None:
    """Refuse what cannot be part of a stream's identity.

    Raises:
        StreamConfigError: The name is not made of letters, digits and single underscores.
    """
    if not is_plain_name(name) or "__" in name:
        raise StreamConfigError(
            f"{name!r} is not a valid name of a {kind}",
            hint="letters, digits and single underscores, not starting with a digit",
        )


def our_name(name: str) -> str:
    """What a stream that Airbyte calls so is called here: `Order Refunds` is `order_refunds`.

    A name that can be part of a stream's identity stays as it is.
    """
    if is_plain_name(name) and "__" not in name:
        return name
    return re.sub("[^a-z0-9]+", "_", name_in_keys(name).lower()).strip("_")


def _messages(text: str) -> Iterable[dict[str, Any]]:
    for line in text.splitlines():
        try:
            message = json.loads(line)
        except ValueError:  # connectors print other lines, too
            continue
        if isinstance(message, dict):
            yield message


def _catalog_of(document: Any) -> dict[str, Any]:
    """The catalog in a message, in an answer of a server, or the document itself."""
    if isinstance(document, dict):
        inner = document.get("catalog", document)
        if isinstance(inner, dict) and isinstance(inner.get("streams"), list):
            return inner
    raise CatalogMessageError(
        "this is not an AirbyteCatalog",
        hint='expected {"streams": [{"name": ..., "json_schema": ...}]}',
    )


def _connector_error(message: Mapping[str, Any]) -> str | None:
    trace = message.get("trace")
    if isinstance(trace, dict) and isinstance(trace.get("error"), dict):
        return f"the connector failed: {trace['error'].get('message')}"
    return None


def _streams_of(catalog: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    streams: dict[str, dict[str, Any]] = {}
    for entry in _catalog_of(dict(catalog))["streams"]:
        inner = entry.get("stream", entry) if isinstance(entry, dict) else None
        stream = inner if isinstance(inner, dict) else {}
        words = {_SERVER_WORDS.get(str(word), str(word)): v for word, v in stream.items()}
        if not isinstance(words.get("name"), str):
            raise CatalogMessageError(f"a stream of the catalog has no name: {str(entry)[:80]}")
        streams[words["name"]] = words
    return streams


def _write_stream(
    settings: Settings,
    source: str,
    stream: Mapping[str, Any],
    taken: Mapping[str, int],
    named: Mapping[str, str],
    dry_run: bool,
) -> SchemaChange:
    theirs = str(stream["name"])
    name = named.get(theirs) or our_name(theirs)
    path = settings.sources_dir / source / f"{name}.json"
    if theirs not in named and name != theirs and taken[name] > 1:
        reason = f"another stream is called {name} here as well"
        return SchemaChange(theirs, path, "skipped", reason=reason)
    try:
        check_name(name, "stream")
    except StreamConfigError as error:
        return SchemaChange(theirs, path, "skipped", reason=str(error))
    old = _read(path)
    document = _in_place_of(old, _described(stream))
    text = json_text(document)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return SchemaChange(name, path, "unchanged")
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    before, after = (field_schemas(d.get("json_schema", {})) for d in (old, document))
    return SchemaChange(
        name,
        path,
        "changed" if old else "new",
        added=tuple(field for field in after if field not in before),
        removed=tuple(field for field in before if field not in after),
        changed=tuple(_changes(old, document)) if old else (),
    )


def _named(settings: Settings, source: str) -> dict[str, str]:
    """Names of the streams whose configs say what Airbyte calls them, by that."""
    found: dict[str, list[str]] = {}
    has_streams = settings.streams_dir.is_dir()
    for file in stream_files(settings.streams_dir, f"{source}/*") if has_streams else ():
        with contextlib.suppress(StreamConfigError):
            if stream_name := file.load().config.stream_name:
                found.setdefault(stream_name, []).append(file.name)
    return {theirs: names[0] for theirs, names in found.items() if len(names) == 1}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What is said differently of the stream, and of the fields that it still has."""
    if old == new:
        yield "layout of the file"
    for word in _STREAM_WORDS:
        if old.get(word) != new.get(word):
            yield f"{word}: {json.dumps(old.get(word))} -> {json.dumps(new.get(word))}"
    before = field_schemas(old.get("json_schema", {}))
    for field, schema in field_schemas(new["json_schema"]).items():
        kinds = type_text(before.get(field, schema)), type_text(schema)
        if kinds[0] != kinds[1]:
            yield f"{field}: {kinds[0]} -> {kinds[1]}"
        for word in ("description", "airbyte_type"):
            if field in before and before[field].get(word) != schema.get(word):
                yield f"{word} of {field}"


def _read(path: Path) -> dict[str, Any]:
    """What the file holds; nothing if it is absent or broken: it is then replaced."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _described(stream: Mapping[str, Any]) -> dict[str, Any]:
    """The stream as it is kept."""
    schema = reduced(stream.get("json_schema") or {})
    return {
        "name": stream["name"],
        "json_schema": {"type": "object", "properties": schema.get("properties", {})},
        **{word: stream[word] for word in _STREAM_WORDS if stream.get(word) not in (None, [])},
    }


def _in_place_of(old: Any, new: Any) -> Any:
    """`new`, with the members it shares with `old` in the order they have there."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    names = [name for name in old if name in new] + [name for name in new if name not in old]
    return {name: _in_place_of(old.get(name), new[name]) for name in names}
