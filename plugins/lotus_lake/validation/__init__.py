"""Everything that can be wrong with the files of a project, without Airflow, dbt or a lake.

To add a check, write a function that takes the `Project` and yields `Problem`s, and put it into
`CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lotus_lake.settings import Settings
from lotus_lake.validation import dbt_checks, stream_checks
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project, read_project

Check = Callable[[Project], Iterable[Problem]]

CHECKS: list[Check] = [
    stream_checks.readable,
    stream_checks.distinct,
    stream_checks.discovered,
    stream_checks.column_names,
    stream_checks.landing_current,
    stream_checks.schema_current,
    dbt_checks.every_stream_has_a_model,
    dbt_checks.every_model_has_a_stream,
    dbt_checks.keys,
    dbt_checks.overwritten,
    dbt_checks.sources,
]

__all__ = ["CHECKS", "Check", "Problem", "Project", "find_problems", "read_project"]


def find_problems(settings: Settings) -> list[Problem]:
    """All problems of a project, by file and line."""
    return check(read_project(settings))


def check(project: Project) -> list[Problem]:
    """All problems of a project that is read already, by file and line."""
    found = {problem for look in CHECKS for problem in look(project)}
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.message))
