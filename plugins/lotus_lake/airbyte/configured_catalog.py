"""`include/streams/{source}/_catalog.json`: a source's stream configs in Airbyte's own words.

It is a ConfiguredAirbyteCatalog of Airbyte's protocol (a connector's `read --catalog` takes it),
with `selected_fields` on top, as the API has them. The Terraform files read it.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, source_schema, stream_files
from lotus_lake.errors import StreamConfigError
from lotus_lake.project.json_text import json_text

CATALOG_FILE = "_catalog.json"
# Stream configs have the protocol's words for these.
_PROTOCOL_FIELDS = {"sync_mode", "destination_sync_mode", "cursor_field", "primary_key"}


def configured_catalog_files(
    settings: Settings,
) -> tuple[dict[Path, str | None], list[StreamConfigError]]:
    """The text that each file has to hold, `None` for one to remove; and what is broken.

    The file of a source with a broken stream is left alone: without that stream in it, Terraform
    would take the stream off its connection.
    """
    root = settings.streams_dir
    # A source without streams keeps no file.
    files: dict[Path, str | None] = dict.fromkeys(sorted(root.glob(f"*/{CATALOG_FILE}")))
    errors: list[StreamConfigError] = []
    for source, group in groupby(stream_files(root), attrgetter("source")):
        streams, broken = [], []
        for file in group:
            try:
                stream = file.load()
                if stream.config.selected:
                    streams.append(_configured_stream(stream, settings.sources_dir))
            except StreamConfigError as error:
                broken.append(error)
        path = root / source / CATALOG_FILE
        if broken:
            files.pop(path, None)
        else:
            files[path] = json_text({"streams": streams})
        errors += broken
    return files, errors


def _configured_stream(stream: Stream, sources_dir: Path) -> dict[str, Any]:
    """A stream as its config selects it, with the types that were discovered in the source."""
    config = stream.config
    discovered = source_schema(sources_dir, stream)
    properties = {
        # Field selection cuts top-level fields only: nested ones come as the source has them.
        name: discovered.get(name, field).model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, field in config.fields.items()
    }
    return {
        "stream": {
            "name": stream.stream_name,
            "json_schema": {"type": "object", "properties": properties},
            "supported_sync_modes": sorted({"full_refresh", config.sync_mode}),
        },
        **config.model_dump(mode="json", include=_PROTOCOL_FIELDS),
        "selected_fields": [{"field_path": [name]} for name in config.fields],
    }
