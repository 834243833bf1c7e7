"""The dbt source of a stream: a file of its own, next to the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lotus_lake.config.streams import Stream
from lotus_lake.scaffold import naming
from lotus_lake.scaffold.yaml_text import entry


def source_file(models_dir: Path, source: str, name: str) -> Path:
    """Where the scaffold declares the landing table of a stream."""
    return models_dir / "processed" / source / f"_{source}__{name}__source.yml"


def declaring_file(models_dir: Path, source: str, name: str) -> Path | None:
    """The file that declares a stream already, under whatever name; `None` if none does.

    dbt takes one source from several files, but refuses to have a table declared twice.
    """
    words = [word.encode() for word in ("sources", source, name)]
    for path in sorted(models_dir.rglob("*.y*ml")):
        text = path.read_bytes()  # reading YAML takes most of the time where there are many
        if all(word in text for word in words) and (source, name) in _declared(text):
            return path
    return None


def source_yaml(stream: Stream) -> str:
    """Text of `_{source}__{stream}__source.yml`."""
    plural = naming.words(stream.name)
    described = f"Versions of {plural}. One row per version sent, repeats included."
    lines = [
        "version: 2",
        "",
        "sources:",
        f"  - name: {stream.source}",
        "    database: lakehouse",
        "    schema: staging",
        "    tables:",
        f"      - name: {stream.name}",
        f"        identifier: {stream.landing_table}",
        *entry(8, "description", described),
    ]
    return "\n".join(lines) + "\n"


def _declared(text: bytes) -> Iterator[tuple[str, str]]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:  # dbt names it
        return
    for source in _entries(document, "sources"):
        for table in _entries(source, "tables"):
            yield str(source.get("name")), str(table.get("name"))


def _entries(mapping: Any, key: str) -> list[dict[str, Any]]:
    entries = mapping.get(key) if isinstance(mapping, dict) else None
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
