"""The command `diff`: what differs between two versions of the lake."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lotus_lake.cli.arguments import LOOK
from lotus_lake.cli.output import AsJson, printable, say, show, telling
from lotus_lake.config.settings import Settings
from lotus_lake.errors import DbtProjectError, SettingsError
from lotus_lake.observe.diff import MAIN, Example, TableDiff, compare, open_sides
from lotus_lake.observe.impact import Breakage, find_breakages
from lotus_lake.project.manifest import Model, built_models, ensure_manifest, load_models
from lotus_lake.quantities import counted

_LONGEST = 60


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=LOOK)(diff)


def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="main, a branch, or one of them as of a snapshot.")
    ],
    after: Annotated[
        str, typer.Argument(metavar="B", help="What to compare it with; main by default.")
    ] = MAIN,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this table; can be given several times."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Compare rows by these columns, such as id,day."),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=100, help="Show so many rows of each kind of change.")
    ] = 5,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    since: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A checkout of the project as it was, with dbt's manifest: also say which columns "
            "of models a change of stream configs breaks.",
        ),
    ] = None,
    refuse_destructive: Annotated[
        bool,
        typer.Option("--refuse-destructive", help="Exit with 3 if something is lost."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the processed and enriched tables of two versions of the lake.

    Says for each table which columns differ, how many rows were added, removed and changed from A
    to B, in which columns, and shows some of them. Rows are compared by the key that the dbt model
    merges by, or that its data tests find unique; columns whose names begin with `_lake_` are left
    out. Exits with 0 whether or not something differs, unless --refuse-destructive is given and a
    table, a column or rows are gone, or a type holds less than before.

    Example: lotus-lake diff main new_sales --table fct_sales

    Example: lotus-lake diff main@120 main@150 --markdown
    """
    if as_json and markdown:
        raise SettingsError("--json and --markdown cannot be combined", hint="choose one")
    settings = Settings.from_env({**os.environ, "LAKE_BRANCH": ""})
    keys = {name: model.key for name, model in _models(settings).items()}
    if key is not None:
        if not table:
            raise SettingsError("--key needs --table", hint="name the table that has this key")
        keys |= dict.fromkeys(table, tuple(part.strip() for part in key.split(",")))
    with (
        open_sides(settings, before, after) as (lake, first, second),
        telling("comparing tables"),
    ):
        found = list(compare(lake, first, second, table or (), keys, examples))
    broken = find_breakages(since, settings) if since else []
    lost = [f"{each.table}: {text}" for each in found for text in each.destroys]
    lost += [_told(each) for each in broken]
    if as_json:
        show([asdict(each) | {"destroys": each.destroys} for each in found], as_json=True)
    elif markdown:
        for line in (*_markdown(before, after, found), *_lost(lost)):
            typer.echo(line)
    else:
        _print(found)
    if lost and not markdown:
        say("\n".join(["this is lost:", *lost]))
    if lost and refuse_destructive:
        raise typer.Exit(3)


def _told(broken: Breakage) -> str:
    breaks = f"; breaks {', '.join(broken.breaks)}" if broken.breaks else ""
    return f"{broken.name}: {broken.change}{breaks}"


def _lost(lost: Sequence[str]) -> Iterator[str]:
    if lost:
        yield "\n**This change is destructive:**\n"
        yield from (f"* {_text(line)}" for line in lost)


def _models(settings: Settings) -> dict[str, Model]:
    try:
        return load_models(ensure_manifest(settings.project_dir))
    except DbtProjectError:  # tables can be compared whatever the project is like
        return built_models(settings.project_dir)


def _print(found: Sequence[TableDiff]) -> None:
    different = [each for each in found if each.state != "same"]
    show([_row(each) for each in different], as_json=False)
    for each in different:
        for line in (*each.schema, *([each.remark] if each.remark else [])):
            say(f"{each.table}: {line}")
        if each.cells:
            typer.echo(f"\n{each.table}: rows in which a column differs")
            show(
                [{"column": name, "rows": rows} for name, rows in each.cells.items()], as_json=False
            )
        if each.examples:
            typer.echo(f"\n{each.table}: examples")
            show([row for example in each.examples for row in _cells(example)], as_json=False)
    say(f"{counted(len(different), 'table')} of {len(found)} differ")


def _row(each: TableDiff) -> dict[str, Any]:
    return {
        "table": each.table,
        "state": each.state,
        "rows before": each.rows_before,
        "rows after": each.rows_after,
        "added": each.added,
        "removed": each.removed,
        "changed": each.changed,
    }


def _cells(example: Example) -> Iterator[dict[str, Any]]:
    """A line for each cell that changed; one for a row that only one side has."""
    key = ", ".join(f"{name}={_short(value)}" for name, value in example.key.items())
    for column, (old, new) in example.cells.items() or [("", ("", ""))]:
        yield {
            "change": example.change,
            "row": key,
            "column": column,
            "before": _short(old),
            "after": _short(new),
        }


def _short(value: str | None) -> str:
    text = "NULL" if value is None else printable(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _markdown(before: str, after: str, found: Sequence[TableDiff]) -> Iterator[str]:
    different = [each for each in found if each.state != "same"]
    yield f"### `{before}` → `{after}`: {counted(len(different), 'table')} of {len(found)} differ"
    if different:
        yield ""
        yield from _table([_row(each) for each in different])
    for each in different:
        yield from (f"\n* `{each.table}`: {_text(line)}" for line in each.schema)
        if each.remark:
            yield f"\n* `{each.table}`: {_text(each.remark)}"
        if each.cells:
            yield f"\n`{each.table}`: rows in which a column differs\n"
            yield from _table([{"column": c, "rows": n} for c, n in each.cells.items()])
        if each.examples:
            yield f"\n`{each.table}`: examples\n"
            yield from _table([row for example in each.examples for row in _cells(example)])


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{'---|' * len(rows[0])}"
    for row in rows:
        yield f"| {' | '.join(_text('' if v is None else str(v)) for v in row.values())} |"


def _text(value: str) -> str:
    """A value as text: nothing that it holds is markup."""
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()#+-!|<>~" else c for c in value)
    return " ".join(escaped.split())
