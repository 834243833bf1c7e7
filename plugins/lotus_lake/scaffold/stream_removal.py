"""The files that make a stream, for its removal: which they are, and who needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.errors import ScaffoldError
from lotus_lake.landing.tables import ddl_file
from lotus_lake.project.manifest import (
    dbt_project_dir,
    ensure_manifest,
    load_models,
    processed_models,
)
from lotus_lake.scaffold.source_yaml import declaring_file, source_file


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What a project has of a stream.

    Attributes:
        models: Names of its processed models.
        files: Its files that exist; the stream JSON is the last, so that a removal that is
            interrupted can be repeated.
    """

    models: tuple[str, ...]
    files: tuple[Path, ...]


def stream_parts(settings: Settings, stream: Stream) -> StreamParts:
    """Find what a project has of a stream.

    Raises:
        ScaffoldError: Something else needs it: a model or test that reads a model of the stream,
            or a file that declares its source together with others.
        DbtProjectError: dbt cannot parse its project.
    """
    manifest = ensure_manifest(settings.project_dir, again=True)
    names = [model.name for model in processed_models(load_models(manifest), stream.id)]
    document = json.loads(manifest.read_text(encoding="utf-8"))
    if readers := sorted(set(_readers(document, names))):
        raise ScaffoldError(
            f"{stream.id} cannot be removed, because these read it: {', '.join(readers)}",
            hint="change or delete them first",
        )
    models_dir = dbt_project_dir(settings.project_dir) / "models"
    own = source_file(models_dir, stream.source, stream.name)
    declaring = declaring_file(models_dir, stream.source, stream.name)
    if declaring not in (None, own):
        raise ScaffoldError(
            f"{declaring} declares {stream.source}.{stream.name} beside other tables",
            hint="take it out of that file first",
        )
    folder = models_dir / "processed" / stream.source
    wanted = [
        *(folder / f"{name}{suffix}" for name in names for suffix in (".sql", ".yml")),
        own,
        ddl_file(settings.project_dir, stream),
        settings.streams_dir / stream.source / f"{stream.name}.json",
    ]
    return StreamParts(tuple(names), tuple(path for path in wanted if path.exists()))


def remove_files(parts: StreamParts) -> None:
    """Delete the files, and folders that are empty then."""
    for path in parts.files:
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _readers(document: dict[str, Any], names: list[str]) -> Iterator[str]:
    """Files of what reads these models, without the models and their own tests."""
    own = {key for key, node in document["nodes"].items() if _is_one(node, names)}
    for key, node in document["nodes"].items():
        read = own & {*node["depends_on"]["nodes"]}
        if read and key not in own and node.get("attached_node") not in own:
            yield str(node["original_file_path"])


def _is_one(node: dict[str, Any], names: list[str]) -> bool:
    return node["resource_type"] == "model" and node["name"] in names
