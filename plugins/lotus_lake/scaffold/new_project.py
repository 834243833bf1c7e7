"""A project without streams, to begin with: the mechanism of this one, without what it feeds."""

from __future__ import annotations

import shutil
from pathlib import Path

from lotus_lake.config.settings import Settings
from lotus_lake.errors import ScaffoldError

# What makes a project and names no stream. Terraform files name the sources of the demo.
_COPIED = (
    "dags",
    "plugins",
    "include/dbt/dbt_project.yml",
    "include/dbt/profiles.yml",
    "include/dbt/macros",
    "include/dbt/tests/generic",
    "include/dbt/models/processed/processed.md",
    "include/streams/_stream.schema.json",
    "deploy",
    "docker-compose.yml",
    "Dockerfile",
    "LICENSE",
    "pyproject.toml",
    "requirements.txt",
    "requirements-production.txt",
    ".dockerignore",
    ".gitignore",
    ".sqlfluff",
)
# Secrets of a deployment are not for another one.
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".env", "*.secrets.env")
_README = """\
# {name}

A lake fed by [Lotus Lake](plugins/lotus_lake): Airbyte's Parquet files, landed exactly once.

```bash
python3 -m venv .venv && source .venv/bin/activate
pip install --require-hashes --no-deps -r requirements.txt
pip install --no-deps --editable .

lotus-lake discover shop catalog.json   # what the connector says it has
lotus-lake add-stream shop orders       # config, landing DDL, model and tests
lotus-lake validate
```

Each stream is a Dag: set `AIRFLOW_HOME` to this folder and run `airflow standalone`.
`LAKE_RAW_URI`, `LAKE_CATALOG` and `LAKE_DATA_PATH` say where bucket and lake are.
"""


def make_project(settings: Settings, folder: Path) -> list[str]:
    """Make a project that has the mechanism of this one, and no streams.

    Args:
        settings: Where this project is.
        folder: The new one's; made if it is missing.

    Returns:
        What was copied or written, from that folder on.

    Raises:
        ScaffoldError: The folder is not empty, or lies in this project.
    """
    folder = folder.absolute()
    if folder.is_relative_to(settings.project_dir):
        raise ScaffoldError(
            f"{folder} lies in {settings.project_dir}", hint="choose a folder outside this project"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ScaffoldError(f"{folder} is not empty", hint="choose a new folder")
    made = [name for name in _COPIED if _copy(settings.project_dir / name, folder / name)]
    (folder / "README.md").write_text(_README.format(name=folder.name), encoding="utf-8")
    return [*made, "README.md"]


def _copy(source: Path, target: Path) -> bool:
    """Copy a file or a folder; an image does not have all of them."""
    if not source.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=_IGNORED)
    else:
        shutil.copy2(source, target)
    return True
