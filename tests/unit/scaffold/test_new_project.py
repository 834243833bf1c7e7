"""A project of one's own: complete, and without any stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import known_streams
from lotus_lake.errors import ScaffoldError
from lotus_lake.scaffold.new_project import make_project
from lotus_lake.validation import find_problems
from tests.projects import PROJECT

HERE = Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)})


def test_a_new_project_has_no_stream_and_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    made = make_project(HERE, folder)
    assert "dags" in made
    assert all((folder / name).exists() for name in made)
    new = Settings.from_env({"LAKE_PROJECT_DIR": str(folder)})
    assert find_problems(new) == []
    assert known_streams(new.streams_dir) == set()
    models = {path.name for path in (folder / "include").rglob("*") if path.is_file()}
    assert models.isdisjoint(path.name for path in (PROJECT / "include/dbt/models").rglob("*.sql"))
    # What the image is made of.
    dockerfile = (folder / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY ")]
    assert copied
    assert all((folder / name).exists() for names in copied for name in names)


def test_a_new_project_takes_no_folder_of_anybody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ScaffoldError, match="is not empty"):
        make_project(HERE, tmp_path)
    with pytest.raises(ScaffoldError, match="lies in"):
        make_project(HERE, PROJECT / "include" / "other")
    assert not (PROJECT / "include" / "other").exists()
