"""A stream whose source has grown: what is added, and what somebody has edited stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.errors import ScaffoldError, StreamConfigError
from lotus_lake.project.source_schemas import write_source_schemas
from lotus_lake.scaffold.merging import merged
from lotus_lake.scaffold.stream_files import StreamFiles, plan_all, plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from lotus_lake.scaffold.stream_update import plan_update
from lotus_lake.validation import find_problems
from tests.projects import copy_project

TEXT: dict[str, Any] = {"type": "string"}
FIELDS: dict[str, Any] = {
    "id": {"type": "integer", "description": "Number of the deal, which never changes"},
    "title": TEXT,
    "amount": {"type": "number"},
    "owner": {"type": "object", "properties": {"name": TEXT}},
    "updated": {"type": "string", "format": "date-time"},
}
GROWN: dict[str, Any] = {
    **FIELDS,
    "owner": {"type": "object", "properties": {"name": TEXT, "email": TEXT}},
    "stage": {**TEXT, "description": "Where the deal stands"},
    "won": {"type": "boolean"},
}
MODELS = "include/dbt/models/processed/crm/int_crm__deals"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project with a stream whose source has grown since."""
    made = copy_project(tmp_path)
    discover(made, FIELDS)
    write_files(plan_files(made, "crm", "deals", Choices(money=("amount",))))
    discover(made, GROWN)
    return made


def discover(settings: Settings, fields: dict[str, Any], name: str = "deals", **words: Any) -> None:
    stream = {
        "name": name,
        "json_schema": {"properties": fields},
        "default_cursor_field": ["updated"],
        "source_defined_primary_key": [["id"]],
        **words,
    }
    write_source_schemas(settings, "crm", {"streams": [stream]})


def update(settings: Settings, **choices: Any) -> StreamFiles:
    return plan_update(settings, "crm", "deals", Choices(**choices))


def text(settings: Settings, name: str) -> str:
    return (settings.project_dir / name).read_text()


def edit(settings: Settings, name: str, old: str, new: str) -> None:
    assert old in text(settings, name)
    (settings.project_dir / name).write_text(text(settings, name).replace(old, new))


def test_an_updated_stream_is_as_if_it_had_been_added_today(settings: Settings) -> None:
    write_files(update(settings, money=("amount",)))
    assert find_problems(settings) == []
    again = plan_files(settings, "crm", "deals", Choices(money=("amount",)))
    assert {file.status for file in again.files} == {"unchanged"}
    assert "owner.email as owner_email" in text(settings, f"{MODELS}.sql")
    assert "Where the deal stands" in text(settings, f"{MODELS}.yml")
    assert {file.status for file in update(settings, money=("amount",)).files} == {"unchanged"}


def test_what_somebody_has_edited_stays(settings: Settings) -> None:
    sql, yml, config = f"{MODELS}.sql", f"{MODELS}.yml", "include/streams/crm/deals.json"
    edit(settings, sql, "        title,\n", "        upper(title) as deal_title,\n")
    edit(settings, yml, "name: title\n", "name: deal_title\n")
    edit(settings, yml, "Number of the deal, which never changes", "Ours")
    edit(settings, yml, "    columns:\n", "    meta: {owner: sales}\n    columns:\n")
    edit(settings, config, '"selected": true', '"selected": false')
    # Cast by hand, not by --money, which is not said again.
    planned = update(settings)
    assert planned.remarks == ()
    write_files(planned)
    for name, there in (
        (sql, "upper(title) as deal_title"), (sql, "'amount': 'decimal(18, 4)'"), (sql, "stage,"),
        (sql, "won as is_won"), (sql, "owner.email as owner_email"), (yml, "description: Ours"),
        (yml, "meta: {owner: sales}"), (yml, "name: is_won"), (config, '"selected": false'),
        (config, '"email"'), ("include/landing/crm/stg_crm__deals.sql", '"email" VARCHAR'),
    ):  # fmt: skip
        assert text(settings, name).count(there) == 1, (name, there)
    assert find_problems(settings) == []


def test_only_the_fields_that_are_named_are_added(settings: Settings) -> None:
    write_files(update(settings, fields=("won",)))
    assert "stage" not in json.loads(text(settings, "include/streams/crm/deals.json"))["fields"]
    assert "stage" not in text(settings, f"{MODELS}.sql")
    assert "won as is_won" in text(settings, f"{MODELS}.sql")


def test_what_cannot_be_updated_is_told(settings: Settings) -> None:
    with pytest.raises(ScaffoldError, match="has no field stagge") as caught:
        update(settings, fields=("stagge",))
    assert "did you mean stage?" in str(caught.value)
    with pytest.raises(StreamConfigError, match="unknown stream 'leads'"):
        plan_update(settings, "crm", "leads", Choices())
    (settings.sources_dir / "crm" / "deals.json").unlink()
    with pytest.raises(ScaffoldError, match="no source schema"):
        update(settings)


def test_a_line_without_a_place_is_told(settings: Settings) -> None:
    (settings.project_dir / f"{MODELS}.sql").write_text("select 1\n")
    planned = update(settings)
    assert any("no place was found for: stage," in remark for remark in planned.remarks)
    write_files(planned)
    assert text(settings, f"{MODELS}.sql") == "select 1\n"


def test_all_streams_that_can_be_added_are_and_the_others_are_told(settings: Settings) -> None:
    discover(settings, FIELDS, "leads")
    discover(settings, FIELDS, "notes", default_cursor_field=[])

    def add(name: str) -> StreamFiles:
        return plan_files(settings, "crm", name, Choices())

    plans, problems = plan_all(settings, "crm", add, existing=False)
    assert [plan.stream.name for plan in plans] == ["leads"]
    assert list(problems) == ["notes"]
    assert "no cursor field" in str(problems["notes"])
    (there,), _ = plan_all(settings, "crm", add, existing=True)
    assert there.stream.name == "deals"
    with pytest.raises(ScaffoldError, match="has no source schemas"):
        plan_all(settings, "erp", add, existing=False)


def test_the_command_adds_and_updates_all_streams(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(settings.project_dir))
    discover(settings, FIELDS, "leads")
    discover(settings, FIELDS, "notes", default_cursor_field=[])
    discover(settings, FIELDS, "tasks")
    model = settings.project_dir / "include/dbt/models/processed/crm/int_crm__tasks.sql"
    model.write_text("select 1")

    def add(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["add-stream", "crm", *arguments])

    run = add("--all")
    assert run.exit_code == 1
    assert "wrote include/streams/crm/leads.json" in run.stdout
    assert "error: crm/notes: " in run.stderr
    assert "error: crm/tasks: include/dbt/models/processed/crm/int_crm__tasks.sql exists" in (
        run.stderr
    )
    assert "deals" not in run.output
    shown = add("--all", "--update", "--diff")
    assert shown.exit_code == 0
    assert "+        stage," in shown.stdout
    assert "stage" not in text(settings, f"{MODELS}.sql")
    updated = add("deals", "--update")
    assert f"updated {MODELS}.sql" in updated.stdout
    for wrong in (["--all", "deals"], [], ["deals", "--update", "--from-parquet", "x"]):
        assert add(*wrong).exit_code == 2


@pytest.mark.parametrize(
    ("base", "new", "edited", "result", "lost"),
    [
        ("abd", "abcd", "abd", "abcd", ""),
        ("abd", "abcd", "xbd", "xbcd", ""),
        ("abd", "abcd", "abxd", "abxcd", ""),
        ("abd", "abcd", "ab", "ab", "c"),
        ("abd", "abcd", "abdd", "abdd", "c"),
        ("abc", "axc", "abc", "axc", ""),
        ("abc", "axc", "ayc", "ayc", "x"),
        ("abc", "ac", "zabc", "zac", ""),
        ("abc", "axbyc", "aqbc", "aqxbyc", ""),
        ("abc", "abc", "z", "z", ""),
    ],
)
def test_changes_are_applied_where_they_have_a_place(
    base: str, new: str, edited: str, result: str, lost: str
) -> None:
    texts = ("".join(f"{line}\n" for line in word) for word in (base, new, edited))
    text_made, left = merged(*texts)
    assert (text_made.split(), left) == (list(result), list(lost))
