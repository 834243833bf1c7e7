"""`lotus-lake remove-stream`: the end of a stream, in the project, the lake and the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli.arguments import CONFIGURE, DryRun, Name, Source, Yes
from lotus_lake.cli.feed import run_id_of
from lotus_lake.cli.output import AsJson, say, show, telling, writing
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.lake.branches import refuse_under_branches
from lotus_lake.lake.session import Lake
from lotus_lake.quantities import counted, readable_bytes
from lotus_lake.repair.removal import LakeParts, delete_objects, drop_tables, lake_parts
from lotus_lake.scaffold.stream_removal import StreamParts, remove_files, stream_parts


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="remove-stream", rich_help_panel=CONFIGURE)(remove_stream)


def remove_stream(
    source: Source,
    stream: Name,
    with_tables: Annotated[
        bool,
        typer.Option(
            "--drop-tables",
            help="Also drop its tables: landing, processed, and what the lake keeps of its models.",
        ),
    ] = False,
    with_objects: Annotated[
        bool,
        typer.Option(
            "--delete-objects", help="With --drop-tables: also delete its objects in the bucket."
        ),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a stream: config, landing DDL, dbt source, model and tests; and, if asked, its data.

    Shows what will go and what will stay, and asks. Without options, tables and objects stay as
    they are. The ledger keeps its history in any case; a stream that is added again under the name
    of one whose tables were dropped lands all its objects anew. The source schema stays. Nothing is
    removed while another model or test reads the stream. If it is interrupted, run it again.

    Example: lotus-lake remove-stream shopify products --drop-tables --dry-run

    Next: lotus-lake validate, and lotus-lake airbyte-catalog if you use Terraform.
    """
    if with_objects and not with_tables:
        raise typer.BadParameter("--delete-objects needs --drop-tables, which read the objects")
    settings = Settings.from_env()
    config = find_stream(settings.streams_dir, source, stream)
    parts = stream_parts(settings, config)
    if not with_tables:
        _show_plan(_plan(settings, parts), as_json)
        if _is_wanted(dry_run, yes):
            _remove(parts)
        return
    client = s3_client(settings.s3)
    with writing(settings) as lake:
        if with_objects:
            refuse_under_branches(lake)  # before anything is dropped
        with telling("looking at tables and objects"):
            in_lake = lake_parts(lake, config, parts.models, client)
        rows = _plan(settings, parts, in_lake, with_objects=with_objects)
        _show_plan(rows, as_json)
        if not _is_wanted(dry_run, yes):
            return
        _drop(lake, config, in_lake)
        if with_objects:
            say(f"{counted(delete_objects(lake, config, client), 'object')} deleted")
    _remove(parts)


def _plan(
    settings: Settings,
    parts: StreamParts,
    in_lake: LakeParts | None = None,
    *,
    with_objects: bool = False,
) -> list[dict[str, str]]:
    rows = [{"what": _short(path, settings), "then": "deleted"} for path in parts.files]
    if in_lake is None:
        return [*rows, {"what": "tables and objects", "then": "stay"}]
    rows += [{"what": f"{schema}.{name}", "then": "dropped"} for schema, name in in_lake.tables]
    size = readable_bytes(in_lake.size_bytes)
    objects = f"{counted(in_lake.objects or 0, 'object')} in the bucket, {size}"
    rows.append({"what": objects, "then": "deleted" if with_objects else "stay"})
    return [*rows, {"what": f"ledger of {counted(in_lake.files, 'file')}", "then": "stays"}]


def _show_plan(rows: list[dict[str, str]], as_json: bool) -> None:
    show(rows, as_json=as_json)


def _is_wanted(dry_run: bool, yes: bool) -> bool:
    if dry_run:
        return False
    if not yes:
        typer.confirm("Remove?", abort=True, err=True)
    return True


def _drop(lake: Lake, stream: Stream, in_lake: LakeParts) -> None:
    drop_tables(lake, stream, in_lake, run_id_of("remove-stream"))
    say(f"{counted(len(in_lake.tables), 'table')} dropped")


def _remove(parts: StreamParts) -> None:
    remove_files(parts)
    say(f"{counted(len(parts.files), 'file')} of the project deleted")
    say("next: lotus-lake validate")


def _short(path: Path, settings: Settings) -> str:
    inside = path.is_relative_to(settings.project_dir)
    return str(path.relative_to(settings.project_dir) if inside else path)
