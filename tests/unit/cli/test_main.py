"""The process of the command line: what it shows when a folder, a name or a terminal is odd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lotus_lake
from lotus_lake.cli.output import printable
from lotus_lake.config.settings import Settings
from tests.consuming import write_manifest
from tests.feeds import write_stream

PLUGINS = str(Path(lotus_lake.__file__).parents[1])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one stream."""
    write_stream(tmp_path / "include" / "streams", "orders")
    return tmp_path


def run(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `lotus-lake` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lotus_lake.cli", *words],
        env={**os.environ, "PYTHONPATH": PLUGINS, "LAKE_PROJECT_DIR": str(project), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "in_the_way"),
    [
        (["landing"], "include/landing"),
        (["airbyte-catalog"], "include/streams/shop/_catalog.json"),
        (["add-stream", "shop", "orders"], "include/dbt"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_written_to_is_named(
    project: Path, words: list[str], in_the_way: str
) -> None:
    place = project / in_the_way
    if place.suffix:
        place.mkdir(parents=True)
    else:
        place.write_text("a file")
    result = run(project, *words)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert in_the_way.rsplit("/", 1)[-1] in result.stderr
    assert "hint: " in result.stderr


def test_a_name_that_the_terminal_cannot_show_ends_nothing(project: Path) -> None:
    result = run(project, "query", "SELECT 'zażółć' AS word", PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "za\\u017c" in result.stdout


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert printable("a\x1b[31mb\x07\u202ec\td\n") == "a\\x1b[31mb\\x07\\u202ec\td\n"


def test_a_dry_run_on_no_lake_makes_none(project: Path) -> None:
    catalog = project / "lake" / "catalog.sqlite"
    write_manifest(Settings.from_env({"LAKE_PROJECT_DIR": str(project)}))
    result = run(project, "rewind", "shop", "orders", "--dry-run", LAKE_CATALOG=f"sqlite:{catalog}")
    assert "never fed" in result.stderr
    assert not catalog.exists()


def test_the_lake_is_not_for_other_users_of_the_machine(project: Path) -> None:
    catalog, data = project / "lake" / "catalog.sqlite", project / "data"
    run(project, "init", LAKE_CATALOG=f"sqlite:{catalog}", LAKE_DATA_PATH=str(data))
    for folder in (catalog.parent, data):
        assert folder.stat().st_mode & 0o007 == 0
