"""The files of a stream that is removed: all of them, unless somebody needs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.errors import ScaffoldError
from lotus_lake.scaffold.stream_files import plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from lotus_lake.scaffold.stream_removal import remove_files, stream_parts
from lotus_lake.validation import find_problems
from tests.projects import copy_project
from tests.unit.scaffold.test_stream_update import FIELDS, discover


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project with a stream that nobody reads."""
    made = copy_project(tmp_path)
    discover(made, FIELDS)
    write_files(plan_files(made, "crm", "deals", Choices()))
    return made


def files(settings: Settings) -> set[str]:
    found = (settings.project_dir / "include").rglob("*")
    return {
        str(path.relative_to(settings.project_dir))
        for path in found
        if path.is_file() and "target" not in path.parts
    }


def test_a_removed_stream_leaves_its_source_schema_and_no_problem(settings: Settings) -> None:
    before = files(settings)
    parts = stream_parts(settings, find_stream(settings.streams_dir, "crm", "deals"))
    assert parts.models == ("int_crm__deals",)
    assert parts.files[-1] == settings.streams_dir / "crm" / "deals.json"
    remove_files(parts)
    gone = before - files(settings)
    assert len(gone) == len(parts.files) == 5
    assert all("deals" in name for name in gone)
    assert (settings.sources_dir / "crm" / "deals.json").exists()
    assert not (settings.streams_dir / "crm").exists()
    assert find_problems(settings) == []


def test_a_stream_that_others_read_stays(settings: Settings) -> None:
    refunds = find_stream(settings.streams_dir, "shopify", "order_refunds")
    with pytest.raises(ScaffoldError, match="cannot be removed") as caught:
        stream_parts(settings, refunds)
    assert "models/enriched/sales/fct_sales.sql" in str(caught.value)
    assert "tests/refunds_belong_to_a_known_order.sql" in str(caught.value)


def test_a_source_that_is_declared_beside_others_stays(settings: Settings) -> None:
    folder = settings.project_dir / "include/dbt/models/processed/crm"
    own = folder / "_crm__deals__source.yml"
    own.rename(folder / "_crm__sources.yml")
    with pytest.raises(ScaffoldError, match=r"_crm__sources.yml declares crm.deals"):
        stream_parts(settings, find_stream(settings.streams_dir, "crm", "deals"))


def test_the_command_shows_the_plan_and_asks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(settings.project_dir))
    before = files(settings)

    def remove(*options: str, answer: str = "") -> tuple[int, str]:
        run = CliRunner().invoke(app, ["remove-stream", "crm", "deals", *options], input=answer)
        return run.exit_code, run.output

    for options, answer, code in ((["--dry-run"], "", 0), ([], "n\n", 1)):
        exit_code, output = remove(*options, answer=answer)
        assert (exit_code, files(settings)) == (code, before)
        assert "include/streams/crm/deals.json" in output
        assert "tables and objects" in output
    code, output = remove("--delete-objects")
    assert code == 2
    assert "--drop-tables" in output
    assert remove(answer="y\n")[0] == 0
    assert len(before - files(settings)) == 5
