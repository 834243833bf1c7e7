"""`lotus-lake rename-stream`: another name for a stream, in the project and in the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.arguments import CONFIGURE, DryRun, Name, Source, Yes
from lotus_lake.cli.output import AsJson, say, show, writing
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.renames import forget_rename, new_name
from lotus_lake.quantities import counted
from lotus_lake.repair.renaming import Renames, plan_renames, rename_in_lake
from lotus_lake.scaffold.stream_renaming import Renaming, plan_renaming, rename_files


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="rename-stream", rich_help_panel=CONFIGURE)(rename_stream)


def rename_stream(
    source: Source,
    stream: Name,
    new_stream: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Rename a stream: config, models, tests and what reads them; tables, ledger and watermarks.

    Shows what will change, and asks. Objects keep their keys, data files stay where they are, and
    nothing is fed again: `stream_name` in the config says what Airbyte calls the stream. Pause its
    Dag before. The Dag gets another id: its runs so far stay under the old one, and the first new
    run looks through the models once. If it is interrupted, run it again; until then nothing can be
    fed under the old name.

    Refused on a branch, and while the lake has live branches, which would keep the old name.

    Example: lotus-lake rename-stream shopify order_refunds refunds --dry-run

    Next: lotus-lake validate, and lotus-lake airbyte-catalog if you use Terraform.
    """
    settings = Settings.from_env()
    with writing(settings) as lake:
        if _is_last_step(lake, settings, source, stream, new_stream):
            _finish(lake, source, stream)
            return
        planned = plan_renaming(
            settings, find_stream(settings.streams_dir, source, stream), new_stream
        )
        in_lake = plan_renames(lake, planned.stream, planned.renamed, planned.models)
        show(_plan(settings, planned, in_lake), as_json=as_json)
        if dry_run:
            return
        if not yes:
            typer.confirm("Rename?", abort=True, err=True)
        rename_in_lake(lake, planned.stream, planned.renamed, planned.models)
        say(f"{counted(len(in_lake.tables), 'table')} renamed")
        rename_files(planned)
        say(f"{counted(len(planned.files), 'file')} of the project changed")
        _finish(lake, source, stream)


def _is_last_step(lake: Lake, settings: Settings, source: str, name: str, new: str) -> bool:
    """Whether only the note that the stream is being renamed is left."""
    folder = settings.streams_dir / source
    if (folder / f"{name}.json").exists() or not (folder / f"{new}.json").exists():
        return False
    return new_name(lake, source, name) == new


def _finish(lake: Lake, source: str, name: str) -> None:
    if new_name(lake, source, name):
        forget_rename(lake, source, name)
    say("next: lotus-lake validate")


def _plan(settings: Settings, planned: Renaming, in_lake: Renames) -> list[dict[str, str]]:
    rows = [
        {"what": f"{schema}.{old}", "then": f"{schema}.{new}"}
        for (schema, old), new in in_lake.tables.items()
    ]
    if in_lake.events:
        ledger = f"ledger, {counted(in_lake.events, 'event')}"
        rows.append({"what": ledger, "then": planned.renamed.id})
    rows += [
        {
            "what": _short(file.old, settings),
            "then": "changed" if file.old == file.new else _short(file.new, settings),
        }
        for file in planned.files
    ]
    rows.append({"what": f"Dag {planned.stream.id}", "then": f"{planned.renamed.id}, without runs"})
    return [*rows, {"what": "objects and data files", "then": "stay where they are"}]


def _short(path: Path, settings: Settings) -> str:
    inside = path.is_relative_to(settings.project_dir)
    return str(path.relative_to(settings.project_dir) if inside else path)
