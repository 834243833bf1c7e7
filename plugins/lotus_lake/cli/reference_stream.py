"""The reference of the stream config, as a page of the docs, derived from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lotus_lake.config.json_words import type_words
from lotus_lake.config.stream_config import published_schema

STREAM_PAGE = Path("docs", "reference-stream.md")

_INTRODUCTION = """\
The file `include/streams/{source}/{stream}.json` says what to feed, and how. Its path is the
stream's identity: folder and file are named with letters, digits and single underscores. Files
whose name starts with `_` are not streams. A field that is not on this page is refused, so that a
typing error never becomes a silent default; only `fields` may hold other keywords.

[adding-a-source.md](adding-a-source.md) creates such a file, and `lotus-lake validate` checks it.
Editors complete it from `include/streams/_stream.schema.json`, which says the same as this page."""
_FIELDS = """\
`fields` maps the name of each field to its JSON Schema, as Airbyte discovers it. Other keywords of
JSON Schema are ignored. A field named `year`, `month` or `day`,
at any level, or as a column that DuckLake has in every table (`rowid`, `snapshot_id` and a few
more) lands as `source_{name}` or as its `column`; files that hold it land as copies."""
_FRESHNESS = """\
`feeder.freshness` holds one of these or both. See [the Lake page](lake-page.md#states)."""
_FEEDER = "`feeder` says how the stream is fed. An option that is left out has its default."


def stream_page() -> str:
    """Markdown of the whole page."""
    schema = published_schema()
    kinds = schema["$defs"]
    parts = [
        "# Reference of the stream config",
        derived_by("lotus-lake landing"),
        _INTRODUCTION,
        "## The stream",
        _properties(schema),
        "## The fields",
        _FIELDS,
        _properties(kinds["FieldSchema"]),
        "## The feeder",
        _FEEDER,
        _properties(kinds["FeederOptions"]),
        "## Freshness",
        _FRESHNESS,
        _properties(kinds["Freshness"]),
    ]
    return "\n\n".join(parts) + "\n"


def derived_by(command: str) -> str:
    """The remark for those who open a derived page in an editor."""
    return f"<!-- Derived by `{command}`; do not edit it by hand. -->"


def _properties(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    lines = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = _default(field, name in required)
        cells = [f"`{name}`", type_words(field), default, field.get("description", "")]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _default(field: Mapping[str, Any], is_required: bool) -> str:
    value = field.get("default")
    if is_required:
        return "required"
    if value in (None, (), [], {}) or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value)}`"
