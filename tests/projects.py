"""Copies of this project's files, to change at will."""

from __future__ import annotations

import shutil
from pathlib import Path

from lotus_lake.config.settings import Settings
from lotus_lake.project.manifest import ensure_manifest

PROJECT = Path(__file__).resolve().parents[1]


def copy_project(folder: Path) -> Settings:
    """Copy `include` with its manifest, so that dbt parses again only after a change of models."""
    ensure_manifest(PROJECT)
    ignored = shutil.ignore_patterns("logs", "partial_parse.msgpack")
    shutil.copytree(PROJECT / "include", folder / "include", ignore=ignored)
    return Settings.from_env({"LAKE_PROJECT_DIR": str(folder)})
