"""The command `why`: where a number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lotus_lake.cli.arguments import LOOK
from lotus_lake.cli.output import AsJson, minute, printable, reading, say, show, telling
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.observe.versions import LandedRows
from lotus_lake.observe.why import GREATEST_LIMIT, FoundRows, Why, explain
from lotus_lake.project.manifest import manifest_file
from lotus_lake.quantities import counted


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=LOOK)(why)


def why(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="An enriched or processed table: fct_sales.")
    ],
    where: Annotated[
        str,
        typer.Option(
            metavar="CONDITION", help="Which of its rows: one condition over its columns."
        ),
    ],
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column in question; all by default.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=GREATEST_LIMIT, help="Maximum number of rows of each table.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Show where a number comes from: its columns, the rows behind it, and their files.

    First it shows what the columns are computed from, down to the landing tables; then the rows of
    the table and of the tables that it is built from; then every landed version of those records:
    its file, Airbyte's sync, the run and the snapshot in which it landed, and whether it won.

    The condition compares columns of the table. Queries, and functions that reach beyond them, are
    refused.

    Example: lotus-lake why fct_sales --where "order_id = 1001" --column total_sales
    """
    settings = Settings.from_env()
    manifest = manifest_file(settings.project_dir)
    if not manifest.exists():
        raise SettingsError(
            f"there is no manifest of the dbt project: {manifest}",
            hint="cd include/dbt && dbt parse",
        )
    with reading(settings) as lake, telling("tracing the rows"):
        found = explain(lake, manifest, table, where, column, limit=limit)
    if as_json:
        show([asdict(found)], as_json=True)
    else:
        _show(found)
    for remark in found.remarks:
        say(f"not known: {remark}")


def _show(found: Why) -> None:
    show(
        [
            {
                "column": source.column,
                "computed from": ", ".join(source.origins)
                or ("not known" if source.problem else "a constant"),
            }
            for source in found.sources
        ],
        as_json=False,
    )
    for rows in found.rows:
        _show_rows(rows)
    for landed in found.landed:
        _show_landed(landed)


def _show_rows(found: FoundRows) -> None:
    _section(f"{found.table}: {counted(found.total, 'row')} by {found.matched}")
    show([dict(zip(found.columns, row, strict=True)) for row in found.rows], as_json=False)
    _say_more(found.rows, found.total)


def _show_landed(found: LandedRows) -> None:
    _section(f"{found.table}, read by {found.model}: {counted(found.total, 'landed version')}")
    rows = [
        {
            **version.record,
            "outcome": version.outcome,
            "because": version.because,
            "extracted": version.extracted_at,
            "sync": version.sync_id,
            "key": version.key or version.data_file,
            "etag": version.etag,
            "snapshot": version.snapshot_id,
            "by": version.dag_run_id,
        }
        for version in found.versions
    ]
    show(rows, as_json=False)
    _say_more(rows, found.total)
    for file in found.gone:
        typer.echo(
            printable(
                f"{_record(file.record)} came with snapshot {file.snapshot_id} in {file.key} "
                f"(ETag {file.etag}, landed by {file.dag_run_id}), which was {file.event} at "
                f"{minute(file.gone_at)}: its rows cannot be read any more"
            )
        )
    if found.gone_files:
        files = counted(found.gone_files, "file")
        say(f"{found.table}: the rows of {files} are gone; versions that lost may have been there")


def _record(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _section(title: str) -> None:
    typer.echo(printable(f"\n{title}"))


def _say_more(rows: Sequence[object], total: int) -> None:
    if total > len(rows):
        say(f"{counted(total - len(rows), 'more row')} not shown: --limit")
