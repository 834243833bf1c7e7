"""Streams: what to feed. `include/streams/{source}/{stream}.json` is the source of truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lotus_lake.config.stream_config import SCHEMA_FILE, FeederOptions, FieldSchema, StreamConfig
from lotus_lake.errors import StreamConfigError
from lotus_lake.sql import is_plain_name


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
    def landing_table(self) -> str:
        """Name of the landing table in the schema `staging`."""
        return f"stg_{self.id}"

    def prefix(self, raw_prefix: str) -> str:
        """Key prefix of the stream's objects, ending in a slash."""
        return f"{raw_prefix}{self.source}/{self.name}/"


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
            if not is_plain_name(part) or "__" in part:
                raise StreamConfigError(
                    f"{self.path}: {part!r} cannot name a source or stream",
                    hint="letters, digits and single underscores, not starting with a digit",
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
    """All stream JSONs below a folder, by source and name; files starting with `_` are none."""
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
    pattern = "/".join(only.split("__")) if only else "*/*"
    for file in stream_files(streams_dir, pattern):
        try:
            stream = file.load()
        except StreamConfigError as error:
            errors.append(error)
            continue
        if stream.config.selected:
            streams.append(stream)
    return streams, errors


def find_stream(streams_dir: Path, source: str, name: str) -> Stream:
    """Load one stream.

    Raises:
        StreamConfigError: There is no such file, or it is broken.
    """
    path = streams_dir / source / f"{name}.json"
    if not path.exists():
        known = ", ".join(file.stream_id for file in stream_files(streams_dir)) or "none"
        raise StreamConfigError(f"{path}: no such stream", hint=f"known streams: {known}")
    return StreamFile(path=path).load()


def source_schema(sources_dir: Path, stream: Stream) -> dict[str, FieldSchema]:
    """Fields of the stream as discovered from its source; empty when nothing was discovered.

    Raises:
        StreamConfigError: The file is not an Airbyte stream description.
    """
    path = sources_dir / stream.source / f"{stream.name}.json"
    if not path.exists():
        return {}
    try:
        properties = json.loads(path.read_text(encoding="utf-8"))["json_schema"]["properties"]
        return {name: FieldSchema.model_validate(schema) for name, schema in properties.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise StreamConfigError(
            f"{path}: not a discovered stream: {error}",
            hint='expected {"name": ..., "json_schema": {"properties": {...}}}',
        ) from error


def _validate(path: Path, document: Any) -> StreamConfig:
    try:
        return StreamConfig.model_validate(document)
    except ValidationError as error:
        problems = [
            f"{path}: {_json_path(item['loc'])} = {_shown(item['input'])}: {item['msg']}"
            for item in error.errors()
        ]
        raise StreamConfigError(
            "\n".join(problems), hint=f"include/streams/{SCHEMA_FILE} describes every field"
        ) from error


def _json_path(location: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
