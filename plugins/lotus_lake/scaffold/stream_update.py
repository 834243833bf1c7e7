"""A stream whose source schema has grown: its config, DDL and model with the new fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.errors import ScaffoldError, did_you_mean
from lotus_lake.landing.tables import ddl_file
from lotus_lake.project.json_text import json_text
from lotus_lake.scaffold.merging import merged
from lotus_lake.scaffold.stream_files import PlannedFile, StreamFiles, derived_texts
from lotus_lake.scaffold.stream_json import Choices, checked, field_document, read_source_schema

_COLUMN = "      - name: "


def plan_update(settings: Settings, source: str, name: str, choices: Choices) -> StreamFiles:
    """Work out what a stream's files gain from the source schema.

    The config gets the fields that it lacks: those of `choices`, or all of them. The model and its
    YAML get their columns; what somebody has edited there stays.

    Args:
        settings: Where the project is.
        source: Name of the source.
        name: Name of the stream, which has a config.
        choices: Which fields to add, and which of them are money.

    Raises:
        ScaffoldError: There is no source schema, or it lacks a field of `choices`.
        StreamConfigError: There is no such stream, or a file of it is broken.
    """
    stream = find_stream(settings.streams_dir, source, name)
    known = read_source_schema(settings, source, name)
    if known is None:
        raise ScaffoldError(
            f"there is no source schema of {source}/{name} to update from",
            hint=f"lotus-lake discover {source} FILE",
        )
    if unknown := [field for field in choices.fields if field not in known.fields]:
        raise ScaffoldError(
            f"{known.origin} has no field {', '.join(unknown)}",
            hint=did_you_mean(unknown[0], known.fields),
        )
    path = settings.streams_dir / source / f"{name}.json"
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    _add_fields(document["fields"], known.fields, choices.fields)
    new_text = text if document == json.loads(text) else json_text(document)
    grown = checked(path, document)
    before = derived_texts(settings, stream, _as_before(stream, known.fields), choices)
    after = derived_texts(settings, grown, known.fields, choices)
    files = [_updated(path, new_text)]
    remarks: list[str] = []
    for file, base in before.items():
        planned, lost = _merged_file(file, base, after[file], ddl_file(settings.project_dir, grown))
        files.append(planned)
        remarks += [f"{file}: no place was found for: {line.strip()}" for line in lost]
    return StreamFiles(grown, tuple(files), tuple(remarks))


def _add_fields(
    documents: dict[str, Any], known: Mapping[str, FieldSchema], only: tuple[str, ...]
) -> None:
    """Add the fields, and fields of objects, that a config lacks."""
    for name, schema in known.items():
        if name in documents:
            _add_inner(documents[name], schema)
        elif not only or name in only:
            documents[name] = field_document(name, schema)


def _add_inner(document: dict[str, Any], schema: FieldSchema) -> None:
    if schema.items and document.get("items"):
        _add_inner(document["items"], schema.items)
    for name, inner in (schema.properties or {}).items() if document.get("properties") else ():
        if name in document["properties"]:
            _add_inner(document["properties"][name], inner)
        else:
            document["properties"][name] = field_document(name, inner, nested=True)


def _as_before(stream: Stream, known: Mapping[str, FieldSchema]) -> dict[str, FieldSchema]:
    """The source schema without what the stream's config does not have yet."""
    return dict(_known_part(stream.config.fields, known))


def _known_part(
    fields: Mapping[str, FieldSchema], known: Mapping[str, FieldSchema]
) -> Iterator[tuple[str, FieldSchema]]:
    for name, schema in fields.items():
        if name in known:
            yield name, _cut(schema, known[name])


def _cut(schema: FieldSchema, known: FieldSchema) -> FieldSchema:
    changes: dict[str, Any] = {}
    if known.properties and schema.properties:
        changes["properties"] = dict(_known_part(schema.properties, known.properties))
    if known.items and schema.items:
        changes["items"] = _cut(schema.items, known.items)
    return known.model_copy(update=changes)


def _merged_file(path: Path, base: str, new: str, ddl: Path) -> tuple[PlannedFile, list[str]]:
    old = path.read_text(encoding="utf-8") if path.exists() else None
    if old is None or path == ddl:  # derived, or not there yet
        return _updated(path, new), []
    is_column = _is_column if path.suffix == ".yml" else bool
    text, lost = merged(base, new, old, is_column)
    return _updated(path, text), lost


def _is_column(line: str) -> bool:
    return line.startswith(_COLUMN)


def _updated(path: Path, text: str) -> PlannedFile:
    old = path.read_text(encoding="utf-8") if path.exists() else None
    planned = PlannedFile(path, text, old, "new")
    if old is None:
        return planned
    return replace(planned, status="unchanged" if old == text else "updated")
