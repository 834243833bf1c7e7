"""`include/streams/{source}/_catalog.json`: the stream configs in Airbyte's own words.

It is a ConfiguredAirbyteCatalog of Airbyte's protocol (a connector's `read --catalog` takes it),
with `selected_fields` on top, as the API has them. The Terraform files read it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.config.streams import Stream, source_schema, stream_files
from lotus_lake.errors import StreamConfigError

CATALOG_FILE = "_catalog.json"
_LINE_CHARACTERS = 80


def configured_catalog(streams: Sequence[Stream], sources_dir: Path) -> dict[str, Any]:
    """The configured catalog of the streams of one source, by name.

    Args:
        streams: The selected streams of a source.
        sources_dir: Where discovered schemas are; what was not discovered is as the config says.

    Raises:
        StreamConfigError: A discovered schema cannot be read.
    """
    ordered = sorted(streams, key=lambda stream: stream.name)
    return {"streams": [_configured_stream(stream, sources_dir) for stream in ordered]}


def catalog_files(settings: Settings) -> tuple[dict[Path, str | None], list[StreamConfigError]]:
    """What the file of each source has to hold; `None` for a file that has to go.

    The file of a source with a broken stream is left alone: without that stream in it, Terraform
    would take the stream off its connection.
    """
    sources: dict[str, list[Stream]] = {}
    broken: dict[str, list[StreamConfigError]] = {}
    for file in stream_files(settings.streams_dir):
        streams = sources.setdefault(file.source, [])
        try:
            stream = file.load()
        except StreamConfigError as error:
            broken.setdefault(file.source, []).append(error)
            continue
        if stream.config.selected:
            streams.append(stream)
    files: dict[Path, str | None] = {}
    for source, streams in sources.items():
        if source in broken:
            continue
        try:
            document = configured_catalog(streams, settings.sources_dir)
        except StreamConfigError as error:
            broken[source] = [error]
            continue
        files[settings.streams_dir / source / CATALOG_FILE] = _json_text(document) + "\n"
    for path in sorted(settings.streams_dir.glob(f"*/{CATALOG_FILE}")):
        if path.parent.name not in sources:
            files[path] = None
    return files, [error for errors in broken.values() for error in errors]


def _json_text(value: Any, indent: int = 0) -> str:
    """JSON with short objects and arrays on one line: a third of the lines of a plain indent."""
    line = json.dumps(value)
    if not isinstance(value, dict | list) or len(line) + indent <= _LINE_CHARACTERS:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        items = [
            f"{json.dumps(key)}: {_json_text(item, indent + 2)}" for key, item in value.items()
        ]
    else:
        items = [_json_text(item, indent + 2) for item in value]
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    lines = f",\n{inner}".join(items)
    return f"{opening}\n{inner}{lines}\n{' ' * indent}{closing}"


def _configured_stream(stream: Stream, sources_dir: Path) -> dict[str, Any]:
    config = stream.config
    discovered = source_schema(sources_dir, stream)
    properties = {
        # Field selection cuts top-level fields only: nested ones come as the source has them.
        name: _json_schema(discovered.get(name, field))
        for name, field in config.fields.items()
    }
    return {
        "stream": {
            "name": config.stream,
            "json_schema": {"type": "object", "properties": properties},
            "supported_sync_modes": sorted({"full_refresh", config.sync_mode}),
        },
        "sync_mode": config.sync_mode,
        "destination_sync_mode": config.destination_sync_mode,
        "cursor_field": list(config.cursor_field),
        "primary_key": [list(path) for path in config.primary_key],
        "selected_fields": [{"field_path": [name]} for name in config.fields],
    }


def _json_schema(field: FieldSchema) -> dict[str, Any]:
    schema: dict[str, Any] = field.model_dump(mode="json", by_alias=True, exclude_none=True)
    return schema
