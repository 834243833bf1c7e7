"""The reference of the stream config, as a page of the docs, derived from its JSON Schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lotus_lake.config.stream_config import published_schema

STREAM_PAGE = Path("docs", "reference-stream.md")
COLUMNS = 120

_INTRODUCTION = """\
The file `include/streams/{source}/{stream}.json` says what is fed, and how. Its path is the
stream's identity: folder and name have letters, digits and single underscores. Files that start
with `_` are no streams. A name that is not on this page is refused, so that a typing error is no
silent default; only within `fields` others are let pass.

[adding-a-source.md](adding-a-source.md) makes such a file; `lotus-lake validate` checks it. Editors
complete it from `include/streams/_stream.schema.json`, which says the same as this page.
"""
_FIELDS = """\
`fields` maps the name of each selected field to what it is, in the words of JSON Schema, as Airbyte
discovers it. Other words of JSON Schema are let pass. `year`, `month` and `day` are refused as
names at any level, because the date in the object's key would take their place; `snapshot_id` and
`rowid` are refused at the top.
"""
_FEEDER = "`feeder` says how the stream is fed. Whatever is left out has the default."


def stream_page() -> str:
    """Markdown of the whole page."""
    schema = published_schema()
    kinds = schema["$defs"]
    parts = [
        "# Reference of the stream config",
        derived_by("lotus-lake landing"),
        wrapped(_INTRODUCTION),
        "## The stream",
        _properties(schema),
        "## The fields",
        wrapped(_FIELDS),
        _properties(kinds["FieldSchema"]),
        "## The feeder",
        _FEEDER,
        _properties(kinds["FeederOptions"]),
    ]
    return page(parts)


def page(parts: Iterable[str]) -> str:
    """Paragraphs, headings and tables as one page."""
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def derived_by(command: str) -> str:
    """The remark for those who open a derived page in an editor."""
    return f"<!-- Derived by `{command}`; do not edit it by hand. -->"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell does not end it."""
    lines = ["| " + " | ".join(_cell(text) for text in line) + " |" for line in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join(line.replace("|  |", "| |") for line in lines)


def wrapped(text: str) -> str:
    """Paragraphs in lines of the width that the docs have."""
    return "\n\n".join(
        textwrap.fill(
            " ".join(part.split()), COLUMNS, break_long_words=False, break_on_hyphens=False
        )
        for part in text.split("\n\n")
        if part.strip()
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _properties(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        [f"`{name}`", _type(field), _default(field, name in required), field.get("description", "")]
        for name, field in schema["properties"].items()
    ]
    return table(["name", "type", "default", "meaning"], rows)


def _default(field: Mapping[str, Any], is_required: bool) -> str:
    value = field.get("default")
    if is_required:
        return "required"
    if value is None or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value)}`"


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        choices = [_type(choice) for choice in field["anyOf"] if choice.get("type") != "null"]
        return ", or ".join(choices)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "object, see below" if field["$ref"].endswith("FeederOptions") else "field"
    if field["type"] == "array":
        return f"list of {_plural(field['items'])}{_bounds(field, 'Items')}"
    if "additionalProperties" in field and field["type"] == "object":
        return f"object of {_plural(field['additionalProperties'])}{_bounds(field, 'Properties')}"
    return f"{field['type']}{_bounds(field, 'Length')}{_bounds(field, 'imum')}"


def _plural(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return "these"
    one = _type(field)
    return f"lists of {one.removeprefix('list of ')}" if one.startswith("list of") else f"{one}s"


def _bounds(field: Mapping[str, Any], word: str) -> str:
    low, high = field.get(f"min{word}"), field.get(f"max{word}")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if high is not None:
        return f", at most {high}"
    if low is None:
        return ""
    return ", not empty" if low == 1 and word != "imum" else f", at least {low}"
