"""Checks that the files of the project fit together; needs no Airflow and no lake.

To add a check, write a function that takes the `Project` and yields `Problem`s, and add it to
`CHECKS`, or to `DBT_CHECKS` if it reads models or sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lotus_lake.config.settings import Settings
from lotus_lake.validation import layout, processed_models, streams
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
# These need dbt's manifest.
DBT_CHECKS: list[Check] = [
    processed_models.every_stream_has_a_model,
    processed_models.every_model_has_a_stream,
    processed_models.keys,
    processed_models.overwritten,
    processed_models.deletes,
    processed_models.logs,
    processed_models.histories,
    processed_models.rescued_values,
    processed_models.sources,
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
    found = {problem for one in checks for problem in one(project)}
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.message))
