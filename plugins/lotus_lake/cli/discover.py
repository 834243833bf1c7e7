"""`lotus-lake discover`: keep the source schemas that a connector reports."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.connections import find_source_id
from lotus_lake.cli.arguments import CONFIGURE, Source, complete_stream
from lotus_lake.cli.output import AsJson, printable, say
from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogMessageError
from lotus_lake.project.source_schemas import (
    SchemaChange,
    read_airbyte_catalog,
    write_source_schemas,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=CONFIGURE)(discover)


def discover(
    source: Source,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Output of the connector's `discover`, or an AirbyteCatalog; - reads stdin.",
        ),
    ] = "-",
    stream: Annotated[
        list[str] | None,
        typer.Option(
            "--stream",
            help="Only this stream; may be repeated.",
            autocompletion=complete_stream,
        ),
    ] = None,
    from_airbyte: Annotated[
        bool,
        typer.Option(
            "--from-airbyte", help="Ask the Airbyte server (AIRBYTE_URL) instead of reading FILE."
        ),
    ] = False,
    source_id: Annotated[
        str | None,
        typer.Option(help="With --from-airbyte: id of the source, if its name is not SOURCE."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, only show what would change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Write include/sources/SOURCE/{stream}.json from what an Airbyte connector discovers.

    Pass the output as it is: JSON messages, one per line, with the CATALOG among LOGs; or a bare
    AirbyteCatalog. Fields that are known already keep their order. Lists what was added (+),
    removed (-) or changed (~) in each source schema.

    For example:

    ```bash
    docker run --rm -v $PWD:/in airbyte/source-shopify \
        discover --config /in/shopify.json > out.jsonl
    lotus-lake discover shopify out.jsonl
    lotus-lake discover shopify --from-airbyte
    ```

    Next: lotus-lake add-stream SOURCE STREAM. Exit code 1: the input holds no catalog.
    """
    settings = Settings.from_env()
    asked = from_airbyte or source_id
    catalog = _ask_airbyte(source, source_id) if asked else read_airbyte_catalog(_read(file))
    written = write_source_schemas(settings, source, catalog, only=stream or (), dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps([_as_json(entry, settings) for entry in written], indent=2))
    else:
        for entry in written:
            _show(entry, settings)
    _summary(written, settings, source, dry_run)


def _ask_airbyte(source: str, source_id: str | None) -> dict[str, Any]:
    client = AirbyteClient(AirbyteAccess.from_env(os.environ))
    say(f"Airbyte discovers the schema of {source}; this can take minutes ...")
    return client.discover_schema(source_id or find_source_id(client, source))


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogMessageError(f"{file}: cannot be read: {error}") from error


def _as_json(entry: SchemaChange, settings: Settings) -> dict[str, object]:
    return {**dataclasses.asdict(entry), "path": _shown(entry.path, settings)}


def _show(entry: SchemaChange, settings: Settings) -> None:
    if entry.status == "skipped":
        say(f"skipped {entry.reason}")
        return
    typer.echo(f"{entry.status:<9} {_shown(entry.path, settings)}")
    if entry.status == "changed":
        for sign, fields in (("+", entry.added), ("-", entry.removed), ("~", entry.changed)):
            for field in fields:
                typer.echo(f"  {sign} {printable(field)}")


def _summary(written: list[SchemaChange], settings: Settings, source: str, dry_run: bool) -> None:
    counts = [
        f"{len(found)} {status}"
        for status in ("new", "changed", "unchanged", "skipped")
        if (found := [entry for entry in written if entry.status == status])
    ]
    say(f"{', '.join(counts) or 'no streams'}{' (dry run)' if dry_run else ''}")
    names = {entry.stream for entry in written}
    known = {path.stem for path in (settings.sources_dir / source).glob("*.json")}
    if gone := sorted(known - names):
        say(f"not in the catalog, and left as they are: {', '.join(gone)}")


def _shown(path: Path, settings: Settings) -> str:
    return str(path.relative_to(settings.project_dir))
