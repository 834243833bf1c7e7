"""The command `query`: SQL on the lake."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.arguments import LOOK
from lotus_lake.cli.output import AsJson, reading, say, show
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.observe.query import Answer, run_query
from lotus_lake.quantities import counted


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=LOOK)(query)


def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="SQL; read from stdin if omitted.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", exists=True, dir_okay=False, help="Read the SQL from this file."
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Allow the SQL to write.")] = False,
    external_access: Annotated[
        bool,
        typer.Option("--external-access", help="Allow queries to read other files and hosts."),
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of rows; 0 prints all.")] = 1000,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run SQL on the lake, read-only unless --write is given.

    Without --write, only queries run, and they read only the lake and the raw prefix.

    `staging` holds the landing tables, `main` what dbt builds, `meta` the ledger. Of several
    statements, the rows of the last one are printed. Rows that are wider than the terminal are
    printed with one column a line.

    Example: lotus-lake query "SELECT status, count(*) FROM staging.stg_shopify__orders GROUP BY 1"

    Example: lotus-lake query --csv --limit 0 < report.sql > report.csv
    """
    if as_csv and as_json:
        raise SettingsError("--csv and --json cannot be combined", hint="choose one")
    if sql is not None and file is not None:
        raise SettingsError(
            "SQL was given twice, as an argument and by --file", hint="leave one out"
        )
    if sql is None:
        sql = file.read_text(encoding="utf-8") if file else sys.stdin.read()
    settings = Settings.from_env()
    with open_lake(settings) if write else reading(settings) as lake:
        answer = run_query(lake, sql, limit=limit, write=write, external_access=external_access)
    print_answer(answer, as_json=as_json, as_csv=as_csv)
    if answer.is_cut:
        say(f"only the first {limit} rows: --limit 0 prints all")


def print_answer(answer: Answer, *, as_json: bool, as_csv: bool) -> None:
    """Print rows as a table, JSON or CSV."""
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
        return
    names = _distinct(answer.columns)
    rows = [dict(zip(names, row, strict=True)) for row in answer.rows]
    show(rows, as_json=as_json)
    if not as_json:
        say(counted(len(rows), "row"))


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of columns, numbered where two are the same."""
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        names.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return names
