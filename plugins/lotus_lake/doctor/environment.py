"""Checks of installed versions and of the settings."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import duckdb
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lotus_lake.config.project_dir import find_project_dir
from lotus_lake.config.settings import Settings
from lotus_lake.doctor.findings import Result, ok, problem, skipped, some_of

_EXTENSIONS = ("ducklake", "httpfs", "postgres-scanner", "sqlite-scanner")


def python_is_supported(env: Mapping[str, str]) -> Result:
    """The Python is one that the project is made for."""
    pyproject = _pyproject(env)
    if pyproject is None:
        return skipped("there is no pyproject.toml to compare with")
    wanted, version = str(pyproject["requires-python"]), platform.python_version()
    if version not in SpecifierSet(wanted):
        return problem(f"Python {version} is not {wanted}", hint=f"use Python {wanted}")
    return ok(f"Python {version}")


def installed_versions_are_the_pinned_ones(env: Mapping[str, str]) -> Result:
    """DuckDB, dbt, Airflow and the rest are of the versions that pyproject.toml asks for."""
    pyproject = _pyproject(env)
    if pyproject is None:
        return skipped("there is no pyproject.toml to compare with")
    wrong = []
    for line in pyproject["dependencies"]:
        wanted, version = Requirement(line), _version(Requirement(line).name)
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} is {version or 'missing'}, required is {wanted.specifier}")
    if wrong:
        return problem("; ".join(wrong), hint="pip install -r requirements.txt")
    return ok(f"{len(pyproject['dependencies'])} packages, DuckDB {duckdb.__version__}")


def extensions_are_those_of_duckdb(_: Mapping[str, str]) -> Result:
    """The extension wheels are there and of DuckDB's very own version."""
    names = [f"duckdb-extension-{name}" for name in _EXTENSIONS]
    wrong = {name: version for name in names if (version := _version(name)) != duckdb.__version__}
    if wrong:
        found = ", ".join(f"{name} is {version or 'missing'}" for name, version in wrong.items())
        return problem(
            f"DuckDB is {duckdb.__version__}, but {found}",
            hint="pip install " + " ".join(f"{name}=={duckdb.__version__}" for name in wrong),
        )
    return ok(f"{some_of(_EXTENSIONS)} of {duckdb.__version__}")


def settings_are_valid(env: Mapping[str, str]) -> Result:
    """The variables make sense, and the data path does not overlap the raw prefix."""
    settings = Settings.from_env(env)
    return ok(f"raw files in {settings.raw_uri}, the lake in {settings.data_path}")


def _pyproject(env: Mapping[str, str]) -> dict[str, Any] | None:
    path = Path(find_project_dir(env), "pyproject.toml")
    if not path.exists():
        return None
    project: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return project


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


CHECKS = (
    python_is_supported,
    installed_versions_are_the_pinned_ones,
    extensions_are_those_of_duckdb,
    settings_are_valid,
)
