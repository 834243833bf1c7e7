"""`lotus-lake validate`: everything that can be wrong with the files of the project."""

from __future__ import annotations

import json

import typer

from lotus_lake.cli.arguments import CONFIGURE
from lotus_lake.cli.output import AsJson, say
from lotus_lake.config.settings import Settings
from lotus_lake.quantities import counted
from lotus_lake.validation import Problem, Project, check, read_project


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=CONFIGURE)(validate)


def validate(as_json: AsJson = False) -> None:
    """Check stream JSONs, landing DDL, dbt sources and processed models against each other.

    Lists every problem at once, each with its file, its line and a fix. No Airflow, no lake and no
    network are needed. Models and sources come from dbt's manifest: when a file of the dbt project
    has changed, `dbt parse` renews it first, which takes a few seconds.

    For example:

    ```bash
    lotus-lake validate
    lotus-lake validate --json | jq -r '.[] | .file'
    ```

    Advice is about what works and could be better.

    Exit code 1: there are problems, not only advice.
    """
    settings = Settings.from_env()
    project = read_project(settings)
    found = check(project)
    if as_json:
        typer.echo(json.dumps([_as_json(problem, project) for problem in found], indent=2))
    else:
        for problem in found:
            typer.echo(_as_text(problem, project))
    problems = [problem for problem in found if not problem.is_advice]
    checked = f"{counted(len(problems), 'problem')} in {counted(len(project.files), 'stream')}"
    models = f" and {counted(len(project.models), 'processed model')}"
    say(checked + (models if project.is_parsed else "; dbt models and sources were not checked"))
    raise typer.Exit(1 if problems else 0)


def _as_text(problem: Problem, project: Project) -> str:
    place = project.short(problem.file) + (f":{problem.line}" if problem.line else "")
    hint = f"\n    hint: {problem.hint}" if problem.hint else ""
    return f"{place}: {'advice: ' if problem.is_advice else ''}{problem.message}{hint}"


def _as_json(problem: Problem, project: Project) -> dict[str, str | int | bool | None]:
    return {
        "file": project.short(problem.file),
        "line": problem.line or None,
        "message": problem.message,
        "hint": problem.hint or None,
        "is_advice": problem.is_advice,
    }
