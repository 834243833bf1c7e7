"""The stream JSON: which fields of a source schema are fed, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lotus_lake.config.json_words import json_problems
from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import (
    CHANGED_AT,
    DELETED_AT,
    SCHEMA_FILE,
    FieldSchema,
    StreamConfig,
    log_fields,
    published_schema,
)
from lotus_lake.config.streams import Stream, StreamFile, source_schema
from lotus_lake.errors import ScaffoldError, StreamConfigError, did_you_mean
from lotus_lake.landing.types import airbyte_name, column_name

Paths = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user asks for; empty values mean: as the source defines it.

    Attributes:
        fields: Top-level fields to feed, besides the key and the cursor.
        primary_key: Paths of the key's fields.
        cursor_field: Path of the field that says when a record last changed.
        sync_mode: `incremental` or `full_refresh`.
        destination_sync_mode: Whether Airbyte keeps the files of earlier syncs.
        money: Fields to cast to decimal in the model, as dotted paths.
    """

    fields: tuple[str, ...] = ()
    primary_key: Paths = ()
    cursor_field: tuple[str, ...] = ()
    sync_mode: str = ""
    destination_sync_mode: str = ""
    money: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceSchema:
    """The schema of a stream, before it is configured.

    Attributes:
        fields: Its fields.
        primary_key: The key that the source defines; `None` if it is unknown whether there is one.
        cursor_field: The cursor that the source proposes.
        sync_modes: The modes that the source supports; empty if unknown.
        origin: The file that says so, for messages.
        notes: Remarks for the user.
        stream_name: What Airbyte calls the stream; empty if it is called the same here.
    """

    fields: Mapping[str, FieldSchema]
    primary_key: Paths | None = None
    cursor_field: tuple[str, ...] = ()
    sync_modes: tuple[str, ...] = ()
    origin: str = ""
    notes: tuple[str, ...] = field(default=())
    stream_name: str = ""


@dataclass(frozen=True, slots=True)
class KeyWords:
    """What a stream JSON says of the keys; `None` where the default is right."""

    namespace: str | None = None
    stream_name: str | None = None
    path_format: str | None = None


NOTHING = KeyWords()


def read_source_schema(settings: Settings, source: str, name: str) -> SourceSchema | None:
    """The source schema that `lotus-lake discover` wrote; `None` if there is none.

    Raises:
        StreamConfigError: The file is not an Airbyte stream description.
    """
    file = StreamFile(settings.sources_dir / source / f"{name}.json")
    if not file.path.exists():
        return None
    fields = source_schema(settings.sources_dir, file)
    document = json.loads(file.path.read_text(encoding="utf-8"))
    try:
        cursor = tuple(document.get("default_cursor_field") or ())
        return SourceSchema(
            fields=fields,
            primary_key=tuple(map(tuple, document.get("source_defined_primary_key") or ())),
            cursor_field=cursor,
            sync_modes=tuple(document.get("supported_sync_modes") or ()),
            origin=str(file.path),
            notes=tuple(_unknown_cursor(file.path, cursor, fields)),
            stream_name=document["name"] if document.get("name", name) != name else "",
        )
    except TypeError as error:
        raise StreamConfigError(
            f"{file.path}: its key, cursor or sync modes are not lists",
            hint="run lotus-lake discover again",
        ) from error


def _unknown_cursor(
    path: Path, cursor: Sequence[str], fields: Mapping[str, FieldSchema]
) -> Iterator[str]:
    if cursor and cursor[0] not in fields:
        yield (
            f"{path} proposes the cursor field {'.'.join(cursor)}, which is not one of its fields: "
            "the time of extraction alone says which version is the newest"
        )


def stream_document(
    name: str, known: SourceSchema, choices: Choices, keys: KeyWords
) -> dict[str, Any]:
    """The content of a new stream JSON.

    Args:
        name: Name of the stream.
        known: Its schema.
        choices: What the user asks for.
        keys: How its objects are named in the bucket.

    Raises:
        ScaffoldError: The key or the cursor is not known, or a field does not exist.
    """
    key = choices.primary_key or known.primary_key
    if key is None:
        raise ScaffoldError(
            f"{known.origin} does not say what the primary key of {name} is",
            hint="name the key of its records: --primary-key FIELD, once for each part",
        )
    mode = choices.sync_mode or _sync_mode(name, known, choices)
    proposed = known.cursor_field if {*known.cursor_field[:1]} <= set(known.fields) else ()
    cursor = (choices.cursor_field or proposed) if mode == "incremental" else ()
    fields = _chosen_fields(known, choices, [*key, *([cursor] if cursor else [])])
    # Without a key, nothing says which row a delete is of.
    deletes = {"deletes": "soft"} if DELETED_AT in fields and not key else {}
    return {
        "$schema": f"../{SCHEMA_FILE}",
        "stream": name,
        **_names_in_airbyte(known, keys),
        "sync_mode": mode,
        "destination_sync_mode": choices.destination_sync_mode or "append",
        "primary_key": [list(path) for path in key],
        "cursor_field": list(cursor),
        **deletes,
        "selected": True,
        "backfill": False,
        "fields": {field: field_document(field, schema) for field, schema in fields.items()},
        **({"feeder": {"path_format": keys.path_format}} if keys.path_format else {}),
    }


def checked(path: Path, document: Mapping[str, Any]) -> Stream:
    """The stream of a document.

    Raises:
        ScaffoldError: The document is not a valid stream config.
    """
    try:
        config = StreamConfig.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(json_problems(error, document, published_schema()))
        raise ScaffoldError(f"{path} would not be a valid stream: {problems}") from None
    return Stream(path.parent.name, path.stem, config)


def _names_in_airbyte(known: SourceSchema, keys: KeyWords) -> dict[str, str]:
    # As the source says it rather than as it is written in keys.
    stream_name = known.stream_name or keys.stream_name
    words = {"namespace": keys.namespace, "stream_name": stream_name}
    return {word: value for word, value in words.items() if value is not None}


def field_document(name: str, schema: FieldSchema, *, nested: bool = False) -> dict[str, Any]:
    """A field as stream JSONs have it: without null, and with its column if that is special."""
    document = _schema_document(schema)
    column = column_name(name, schema, nested=nested)
    return document if column == airbyte_name(name) else {**document, "column": column}


def _schema_document(schema: FieldSchema) -> dict[str, Any]:
    kinds = schema.types
    document: dict[str, Any] = {}
    if kinds:
        document["type"] = kinds[0] if len(kinds) == 1 else list(kinds)
    if schema.format:
        document["format"] = schema.format
    if schema.airbyte_type:
        document["airbyte_type"] = schema.airbyte_type
    if schema.properties:
        document["properties"] = {
            n: field_document(n, s, nested=True) for n, s in schema.properties.items()
        }
    if schema.items:
        document["items"] = _schema_document(schema.items)
    if schema.one_of:
        document["oneOf"] = [_schema_document(option) for option in schema.one_of]
    return document


def _sync_mode(name: str, known: SourceSchema, choices: Choices) -> str:
    if known.sync_modes and "incremental" not in known.sync_modes:
        return "full_refresh"
    if choices.cursor_field or known.cursor_field:
        return "incremental"
    raise ScaffoldError(
        f"{known.origin} proposes no cursor field for {name}",
        hint="name the field that says when a record last changed: --cursor-field FIELD; or have "
        "all records sent each time: --sync-mode full_refresh",
    )


def _chosen_fields(
    known: SourceSchema, choices: Choices, needed: Sequence[Sequence[str]]
) -> dict[str, FieldSchema]:
    required = [path[0] for path in needed]
    unknown = [name for name in [*choices.fields, *required] if name not in known.fields]
    if unknown:
        raise ScaffoldError(
            f"{known.origin} has no field {', '.join(dict.fromkeys(unknown))}",
            hint=did_you_mean(unknown[0], known.fields),
        )
    # Without them, a delete would look like a version whose other fields are all null, and versions
    # would not follow the log.
    log = (DELETED_AT, CHANGED_AT, *log_fields(known.fields))
    wanted = {*choices.fields, *required, *log} if choices.fields else set(known.fields)
    return {name: schema for name, schema in known.fields.items() if name in wanted}
