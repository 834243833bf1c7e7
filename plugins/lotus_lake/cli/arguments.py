"""Arguments and options that several commands share; the shell completes sources and streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError

# Groups of commands in `lotus-lake --help`.
CONFIGURE, LOOK, FEED = "From a source to its models", "Inspect", "Feed and repair"
AIRBYTE, OPERATE = "Airbyte's jobs", "Operate the lake"


def complete_source(incomplete: str) -> list[str]:
    """Sources of stream configs and of discovered schemas that begin with what was typed."""
    return sorted({source for source, _ in _known() if source.startswith(incomplete)})


def complete_stream(ctx: typer.Context, incomplete: str) -> list[str]:
    """Streams that begin with what was typed, of the source if one was given."""
    wanted = ctx.params.get("source")
    return sorted(
        {
            name
            for source, name in _known()
            if wanted in (None, source) and name.startswith(incomplete)
        }
    )


def _known() -> Iterator[tuple[str, str]]:
    try:
        settings = Settings.from_env()
    except LotusLakeError:  # a completion cannot print an error
        return
    for root in (settings.streams_dir, settings.sources_dir):
        for path in root.glob("*/*.json"):
            if not path.name.startswith("_"):
                yield path.parent.name, path.stem


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
OptionalName = Annotated[
    str | None,
    typer.Argument(
        metavar="[STREAM]", help="Stream, such as orders.", autocompletion=complete_stream
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
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
