"""`lotus-lake validate`: everything that can be wrong with the files of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.settings import Settings
from lotus_lake.validation import Problem, check, read_project


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(validate)


def validate(
    as_json: Annotated[bool, typer.Option("--json", help="Answer with JSON.")] = False,
) -> None:
    """Check stream JSONs, landing DDL, dbt sources and processed models against each other.

    Every problem is told at once, with its file and line and what to do about it. Nothing is run:
    no Airflow, no dbt, no lake, no network.

    For example:

    ```
    lotus-lake validate
    lotus-lake validate --json | jq -r '.[] | .file'
    ```

    Exit code 1: there are problems.
    """
    settings = Settings.from_env()
    project = read_project(settings)
    problems = check(project)
    if as_json:
        typer.echo(json.dumps([_as_json(problem, settings) for problem in problems], indent=2))
    else:
        for problem in problems:
            typer.echo(_as_text(problem, settings))
    typer.echo(
        f"{len(problems)} problems in {len(project.files)} streams and "
        f"{len(project.dbt.models)} processed models",
        err=True,
    )
    raise typer.Exit(1 if problems else 0)


def _as_text(problem: Problem, settings: Settings) -> str:
    place = _short(problem.file, settings) + (f":{problem.line}" if problem.line else "")
    hint = f"\n    hint: {problem.hint}" if problem.hint else ""
    return f"{place}: {problem.message}{hint}"


def _as_json(problem: Problem, settings: Settings) -> dict[str, str | int | None]:
    return {
        "file": _short(problem.file, settings),
        "line": problem.line or None,
        "message": problem.message,
        "hint": problem.hint or None,
    }


def _short(path: Path, settings: Settings) -> str:
    inside = path.is_relative_to(settings.project_dir)
    return str(path.relative_to(settings.project_dir) if inside else path)
