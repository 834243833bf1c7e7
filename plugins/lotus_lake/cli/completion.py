"""What the shell completes: names of sources and streams, as they are on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from lotus_lake.errors import LotusLakeError
from lotus_lake.settings import Settings


def sources(incomplete: str) -> list[str]:
    """Sources of stream configs and of discovered schemas."""
    return _starting_with(incomplete, (source for source, _ in _known()))


def streams(ctx: typer.Context, incomplete: str) -> list[str]:
    """Streams of the source that stands before, of all sources without one."""
    wanted = ctx.params.get("source")
    names = (name for source, name in _known() if wanted in (None, source))
    return _starting_with(incomplete, names)


def _known() -> Iterator[tuple[str, str]]:
    try:
        settings = Settings.from_env()
    except LotusLakeError:  # a completion has nowhere to say it
        return
    for root in (settings.streams_dir, settings.sources_dir):
        for path in _json_files(root):
            yield path.parent.name, path.stem


def _json_files(root: Path) -> list[Path]:
    return [path for path in root.glob("*/*.json") if not path.name.startswith("_")]


def _starting_with(incomplete: str, names: Iterator[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
