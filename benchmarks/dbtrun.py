"""Run dbt inside a measured process, over the benchmarks' models or this project's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
DBT_DIR = PROJECT / "include" / "dbt"


def write_project(folder: Path) -> Path:
    """A dbt project with this project's settings and macros, and the benchmarks' models."""
    target = folder / "dbt"
    own = shutil.ignore_patterns("models", "tests", "target", "logs")
    shutil.copytree(DBT_DIR, target, ignore=own)
    return Path(shutil.copytree(Path(__file__).with_name("dbt"), target, dirs_exist_ok=True))


def run_dbt(dbt_dir: str, *arguments: str) -> dict[str, float]:
    """Run dbt in this process; returns the seconds of each node.

    Raises:
        RuntimeError: It failed.
    """
    from dbt.cli.main import dbtRunner

    result = dbtRunner().invoke(
        ["--quiet", "--no-use-colors", *arguments, "--project-dir", dbt_dir,
         "--profiles-dir", dbt_dir, "--target-path", f"{dbt_dir}/target",
         "--log-path", f"{dbt_dir}/logs"]
    )  # fmt: skip
    if not result.success:
        raise RuntimeError(f"dbt {' '.join(arguments)} failed: {_messages(result)}")
    nodes: Any = result.result or ()
    return {node.node.name: node.execution_time for node in nodes}


def import_dbt() -> None:
    """Import what dbt needs, so that it is not part of what is measured."""
    import dbt.adapters.duckdb
    import dbt.cli.main  # noqa: F401


def _messages(result: Any) -> str:
    if result.exception:
        return str(result.exception)
    return "; ".join(str(node.message) for node in result.result if node.status == "error")
