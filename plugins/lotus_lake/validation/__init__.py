"""What does not fit together among the files of a project; needs no Airflow and no lake.

To add a check, write a function that takes the `Project` and yields `Problem`s, and add it to
`CHECKS`, or to `DBT_CHECKS` if it looks at models or sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lotus_lake.config.settings import Settings
from lotus_lake.validation import layout, models, streams
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project, read_project

Check = Callable[[Project], Iterable[Problem]]

CHECKS: list[Check] = [
    streams.readable,
    streams.distinct,
    streams.fields_exist,
    streams.column_names,
    streams.landing_current,
    streams.schema_current,
]
# What dbt's manifest has to be there for.
DBT_CHECKS: list[Check] = [
    models.every_stream_has_a_model,
    models.every_model_has_a_stream,
    models.keys,
    models.overwritten,
    models.deletes,
    models.sources,
    layout.built_by_a_dag,
    layout.domains,
    layout.one_name,
]

__all__ = ["CHECKS", "DBT_CHECKS", "Check", "Problem", "Project", "find_problems", "read_project"]


def find_problems(settings: Settings) -> list[Problem]:
    """All problems of a project, by file and line."""
    return check(read_project(settings))


def check(project: Project) -> list[Problem]:
    """All problems of a project that has been read, by file and line."""
    checks = [*CHECKS, *DBT_CHECKS] if project.is_parsed else CHECKS
    found = {problem for look in checks for problem in look(project)}
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.message))
