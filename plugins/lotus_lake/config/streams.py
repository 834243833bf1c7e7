"""Streams: what to feed. `include/streams/{source}/{stream}.json` is the source of truth."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lotus_lake.config.json_words import json_problems
from lotus_lake.config.stream_config import (
    SCHEMA_FILE,
    FeederOptions,
    FieldSchema,
    StreamConfig,
    published_schema,
)
from lotus_lake.errors import StreamConfigError, did_you_mean
from lotus_lake.sql import is_plain_name

# The source is a tag of the Dag, and Airflow's database keeps 100 characters of a tag.
_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream config with its identity, which comes from the path of its file."""

    source: str
    name: str
    config: StreamConfig

    @property
    def id(self) -> str:
        """Dag id, dbt tag and log prefix, such as `shopify__orders`."""
        return f"{self.source}__{self.name}"

    @property
    def feeder(self) -> FeederOptions:
        """How the stream is fed."""
        return self.config.feeder

    @property
    def overwrites(self) -> bool:
        """Whether each generation of files replaces the one before."""
        return self.config.destination_sync_mode == "overwrite"

    @property
    def rescues(self) -> bool:
        """Whether values that do not fit their column land, apart from it."""
        return self.feeder.on_type_change == "rescue" and self.feeder.on_schema_change != "fail"

    @property
    def landing_table(self) -> str:
        """Name of the landing table in the schema `staging`."""
        return f"stg_{self.id}"

    @property
    def namespace(self) -> str:
        """What Airbyte writes for its namespace."""
        return self.source if self.config.namespace is None else self.config.namespace

    @property
    def stream_name(self) -> str:
        """What Airbyte calls the stream."""
        return self.config.stream_name or self.name


@dataclass(frozen=True, slots=True)
class StreamFile:
    """A stream JSON on disk; identity is known even when its content is broken."""

    path: Path

    @property
    def source(self) -> str:
        """Name of the folder."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.path.stem

    @property
    def stream_id(self) -> str:
        """What the Dag would be called."""
        return f"{self.source}__{self.name}"

    def load(self) -> Stream:
        """Parse and validate the file.

        Raises:
            StreamConfigError: The file is not JSON, or breaks the model. The text names the file
                and, per problem, the JSON path, the value and what is wrong with it.
        """
        for part in (self.source, self.name):
            if not is_plain_name(part) or "__" in part or len(part) > _NAME_CHARACTERS:
                raise StreamConfigError(
                    f"{self.path}: {part!r} is not a valid name of a source or stream",
                    hint="letters, digits and single underscores, not starting with a digit, "
                    f"{_NAME_CHARACTERS} characters at most",
                )
        config = _validate(self.path, self._document())
        if config.stream != self.name:
            raise StreamConfigError(
                f"{self.path}: $.stream = {config.stream!r}, but the file is named {self.name!r}",
                hint="the path is the stream's identity: rename one of the two",
            )
        return Stream(source=self.source, name=self.name, config=config)

    def _document(self) -> Any:
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise StreamConfigError(
                f"{self.path}:{error.lineno}:{error.colno}: not JSON: {error.msg}"
            ) from error
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            raise StreamConfigError(f"{self.path}: cannot be read: {error}") from error


def stream_files(streams_dir: Path, pattern: str = "*/*") -> list[StreamFile]:
    """All stream JSONs below a folder, by source and name, without files that start with `_`.

    Raises:
        StreamConfigError: There is no such folder.
    """
    if not streams_dir.is_dir():
        raise StreamConfigError(
            f"{streams_dir}: no such folder",
            hint="LAKE_STREAMS_DIR is the folder of {source}/{stream}.json",
        )
    return [
        StreamFile(path=path)
        for path in sorted(streams_dir.glob(f"{pattern}.json"))
        if not path.name.startswith("_")
    ]


def load_streams(
    streams_dir: Path, only: str | None = None
) -> tuple[list[Stream], list[StreamConfigError]]:
    """Load the selected streams; broken files become errors and hide nothing else.

    Args:
        streams_dir: Folder of the stream JSONs.
        only: Id of the one stream to load, of all by default.
    """
    streams: list[Stream] = []
    errors: list[StreamConfigError] = []
    try:
        files = stream_files(streams_dir, "/".join(only.split("__")) if only else "*/*")
    except StreamConfigError as error:
        return [], [error]
    for file in files:
        try:
            stream = file.load()
        except StreamConfigError as error:
            errors.append(error)
            continue
        if stream.config.selected:
            streams.append(stream)
    return streams, errors


def choose_streams(
    streams_dir: Path, source: str | None = None, name: str | None = None
) -> tuple[list[Stream], list[StreamConfigError]]:
    """The selected streams, those of one source, or the one that is named, selected or not.

    Returns:
        The streams, and what is wrong with the files among them that are broken.

    Raises:
        StreamConfigError: There is no such stream, or the one that is named is broken.
    """
    if source and name:
        return [find_stream(streams_dir, source, name)], []
    expect_known(known_streams(streams_dir), source)
    streams, errors = load_streams(streams_dir)
    in_source = [stream for stream in streams if source in (None, stream.source)]
    if not in_source and not errors:
        raise StreamConfigError(
            f"{streams_dir / (source or '')}: no stream is selected",
            hint="`lotus-lake add-stream` adds one; LAKE_STREAMS_DIR is the folder of all",
        )
    return in_source, errors


def find_stream(streams_dir: Path, source: str, name: str) -> Stream:
    """Load one stream.

    Raises:
        StreamConfigError: There is no such file, or it is broken.
    """
    expect_known(known_streams(streams_dir), source, name)
    return StreamFile(path=streams_dir / source / f"{name}.json").load()


def known_streams(streams_dir: Path) -> set[tuple[str, str]]:
    """Source and name of every stream that has a JSON, broken or not.

    Raises:
        StreamConfigError: There is no such folder.
    """
    return {(file.source, file.name) for file in stream_files(streams_dir)}


def expect_known(
    known: Collection[tuple[str, str]], source: str | None, name: str | None = None
) -> None:
    """Refuse the name of a source or stream that does not exist.

    Raises:
        StreamConfigError: It is not among the known ones; the hint names the nearest.
    """
    sources = {known_source for known_source, _ in known}
    if source is not None and source not in sources:
        raise StreamConfigError(f"unknown source {source!r}", hint=did_you_mean(source, sources))
    if name is not None and (source, name) not in known:
        siblings = [other for known_source, other in known if source in (None, known_source)]
        raise StreamConfigError(
            f"unknown stream {name!r} of source {source!r}", hint=did_you_mean(name, siblings)
        )


def source_schema(sources_dir: Path, stream: Stream | StreamFile) -> dict[str, FieldSchema]:
    """Fields of the stream as discovered from its source; empty when nothing was discovered.

    Raises:
        StreamConfigError: The file is not an Airbyte stream description.
    """
    path = sources_dir / stream.source / f"{stream.name}.json"
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = _Discovered.model_validate(document["json_schema"])
    except ValidationError as error:
        schema = _Discovered.model_json_schema(by_alias=True)
        reason = "; ".join(json_problems(error, document["json_schema"], schema, "$.json_schema"))
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        return found.properties
    raise StreamConfigError(
        f"{path}: not a discovered stream: {reason}",
        hint='expected {"name": ..., "json_schema": {"properties": {...}}}',
    )


class _Discovered(BaseModel):
    properties: dict[str, FieldSchema]


def _validate(path: Path, document: Any) -> StreamConfig:
    try:
        return StreamConfig.model_validate(document)
    except ValidationError as error:
        problems = json_problems(error, document, published_schema())
        raise StreamConfigError(
            "\n".join(f"{path}: {problem}" for problem in problems),
            hint=f"include/streams/{SCHEMA_FILE} describes every field",
        ) from None
