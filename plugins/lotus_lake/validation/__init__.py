"""What does not fit together among the files of a project; needs no Airflow, dbt or lake.

To add a check, write a function that takes the `Project` and yields `Problem`s, and add it to
`CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lotus_lake.config.settings import Settings
from lotus_lake.validation import models, streams
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project, read_project

Check = Callable[[Project], Iterable[Problem]]

CHECKS: list[Check] = [
    streams.readable,
    streams.distinct,
    streams.discovered,
    streams.column_names,
    streams.landing_current,
    streams.schema_current,
    models.every_stream_has_a_model,
    models.every_model_has_a_stream,
    models.keys,
    models.overwritten,
    models.sources,
]

__all__ = ["CHECKS", "Check", "Problem", "Project", "find_problems", "read_project"]


def find_problems(settings: Settings) -> list[Problem]:
    """All problems of a project, by file and line."""
    return check(read_project(settings))


def check(project: Project) -> list[Problem]:
    """All problems of a project that is read already, by file and line."""
    found = {problem for look in CHECKS for problem in look(project)}
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.message))
