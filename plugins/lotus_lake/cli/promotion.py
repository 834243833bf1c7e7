"""The commands `promote` and `rollback`: tables of models in other versions, in one commit."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from lotus_lake.cli.arguments import OPERATE, DryRun, Yes
from lotus_lake.cli.feed import run_id_of
from lotus_lake.cli.output import AsJson, say, show, telling, writing
from lotus_lake.config.settings import Settings
from lotus_lake.errors import PermanentError
from lotus_lake.ledger.model_events import last_promotion
from lotus_lake.project.manifest import Model, ensure_manifest, load_models
from lotus_lake.quantities import counted
from lotus_lake.repair.promotion import (
    Promotion,
    open_promotion,
    open_rollback,
    plan_promotion,
    promote,
    refuse_behind,
)
from lotus_lake.repair.staleness import Judge

Tables = Annotated[
    list[str] | None, typer.Argument(metavar="TABLES", help="Tables of models, such as fct_sales.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="promote", rich_help_panel=OPERATE)(promote_tables)
    app.command(name="rollback", rich_help_panel=OPERATE)(roll_back)


def promote_tables(
    branch: Annotated[str, typer.Argument(metavar="BRANCH", help="The branch.")],
    tables: Tables = None,
    behind: Annotated[
        bool,
        typer.Option(
            "--behind",
            help="Also if the lake's tables have read more: it is missing until the next build.",
        ),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put tables of a branch in the place of the lake's, all of them in one commit.

    Without TABLES, all tables of models that were built or changed on the branch. The store copies
    their files, so that the lake has its own. Watermarks come along: the next build of each model
    reads what has landed since the branch was made. Refused if rows would be lost.

    Example: lotus-lake promote new_sales fct_sales --dry-run
    """
    settings, models = _origin()
    with writing(settings) as lake, open_promotion(lake, branch, models) as (judge, changed):
        chosen = tables or changed
        if not chosen:
            raise PermanentError(
                f"no table of a model was built on branch {branch}",
                hint=f"LAKE_BRANCH={branch} dbt run --select ...",
            )
        found = _show(judge, chosen, as_json=as_json)
        if dry_run:
            return
        refuse_behind(found, may_be_behind=behind)
        if not yes:
            typer.confirm("Promote?", abort=True, err=True)
        with telling("copying files"):
            promote(judge, chosen, run_id_of("promote"), may_be_behind=behind)
    say(f"promoted {', '.join(chosen)}; `lotus-lake rollback` takes it back")


def roll_back(
    tables: Tables = None,
    to: Annotated[
        int | None,
        typer.Option(
            metavar="SNAPSHOT", help="Go back to this one; to that before the last promote if none."
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put tables back to what they were in a snapshot, all of them in one commit.

    Without TABLES, those that were promoted last. Watermarks go back, too: the next build of each
    model reads again what has landed since. Refused if rows would be lost.

    Example: lotus-lake rollback --dry-run

    Example: lotus-lake rollback fct_sales --to 120
    """
    settings, models = _origin()
    with writing(settings) as lake:
        chosen = tables or list(last_promotion(lake))
        if not chosen:
            raise PermanentError("no table was ever promoted", hint="name the tables")
        with open_rollback(lake, to, models) as judge:
            _show(judge, chosen, as_json=as_json)
            if dry_run:
                return
            if not yes:
                typer.confirm("Roll back?", abort=True, err=True)
            with telling("copying files"):
                promote(judge, chosen, run_id_of("rollback"))
            say(f"rolled {', '.join(chosen)} back to snapshot {judge.source.snapshot}")


def _origin() -> tuple[Settings, dict[str, Model]]:
    settings = Settings.from_env({**os.environ, "LAKE_BRANCH": ""})
    return settings, load_models(ensure_manifest(settings.project_dir))


def _show(judge: Judge, chosen: list[str], *, as_json: bool) -> Promotion:
    found = plan_promotion(judge, chosen)
    rows = [asdict(each) for each in found.replacements]
    if not as_json:
        rows = [{**row, "newer": ", ".join(row["newer"])} for row in rows]
    show(rows, as_json=as_json)
    if found.readers:
        say(
            f"{counted(len(found.readers), 'other model')} that read them stay as they are until "
            f"they are built again: {', '.join(found.readers)}"
        )
    return found
