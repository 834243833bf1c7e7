"""Arguments and options that several commands share; the shell completes sources and streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from lotus_lake.errors import LotusLakeError
from lotus_lake.settings import Settings
from lotus_lake.streams import StreamFile, stream_files


def complete_source(incomplete: str) -> list[str]:
    """Sources that begin with what was typed."""
    return sorted({file.source for file in _files() if file.source.startswith(incomplete)})


def complete_stream(ctx: typer.Context, incomplete: str) -> list[str]:
    """Streams, of the source before if there is one, that begin with what was typed."""
    source = ctx.params.get("source")
    return sorted(
        {
            file.name
            for file in _files()
            if source in (None, file.source) and file.name.startswith(incomplete)
        }
    )


def _files() -> Iterator[StreamFile]:
    """A completion answers with nothing where a command would say what is wrong."""
    try:
        yield from stream_files(Settings.from_env().streams_dir)
    except LotusLakeError:
        return


Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="Source, such as shopify.", autocompletion=complete_source
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="STREAM", help="Stream, such as orders.", autocompletion=complete_stream
    ),
]
AnySource = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="Only this source.", autocompletion=complete_source),
]
AnyName = Annotated[
    str | None,
    typer.Argument(metavar="STREAM", help="Only this stream.", autocompletion=complete_stream),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
