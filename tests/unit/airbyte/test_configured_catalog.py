"""The catalogs that are derived from the stream configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lotus_lake.airbyte.configured_catalog import configured_catalog_files
from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    monkeypatch.delenv("LAKE_STREAMS_DIR", raising=False)
    write_stream(tmp_path, "shop", "orders", cursor_field=["updated_at"])
    write_stream(tmp_path, "shop", "customers")
    return tmp_path


def write_stream(project: Path, source: str, name: str, **fields: Any) -> Path:
    path = project / "include" / "streams" / source / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "stream": name,
        "primary_key": [["id"]],
        "fields": {
            "id": {"type": "integer"},
            "updated_at": {"type": "string", "format": "date-time"},
            "customer": {"type": "object", "properties": {"id": {"type": "integer"}}},
        },
        **fields,
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def file_of(project: Path, source: str = "shop") -> Path:
    return project / "include" / "streams" / source / "_catalog.json"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["airbyte-catalog", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def streams_in(project: Path) -> dict[str, Any]:
    document = json.loads(file_of(project).read_text(encoding="utf-8"))
    return {item["stream"]["name"]: item for item in document["streams"]}


def test_a_stream_is_described_in_airbytes_words(project: Path) -> None:
    assert run()[0] == 0
    streams = streams_in(project)
    assert list(streams) == ["customers", "orders"]
    assert streams["orders"] == {
        "stream": {
            "name": "orders",
            "json_schema": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer"},
                    "updated_at": {"type": "string", "format": "date-time"},
                    "customer": {"type": "object", "properties": {"id": {"type": "integer"}}},
                },
            },
            "supported_sync_modes": ["full_refresh", "incremental"],
        },
        "sync_mode": "incremental",
        "destination_sync_mode": "append",
        "cursor_field": ["updated_at"],
        "primary_key": [["id"]],
        "selected_fields": [
            {"field_path": ["id"]},
            {"field_path": ["updated_at"]},
            {"field_path": ["customer"]},
        ],
    }


def test_nested_fields_come_as_the_source_has_them_but_no_unselected_ones(project: Path) -> None:
    customer = {
        "type": ["null", "object"],
        "properties": {"id": {"type": "integer"}, "email": {"type": "string"}},
    }
    path = project / "include" / "sources" / "shop" / "orders.json"
    path.parent.mkdir(parents=True)
    schema = {"properties": {"customer": customer, "unselected": {"type": "string"}}}
    path.write_text(json.dumps({"name": "orders", "json_schema": schema}))
    run()
    properties = streams_in(project)["orders"]["stream"]["json_schema"]["properties"]
    assert properties["customer"] == customer
    assert list(properties) == ["id", "updated_at", "customer"]


def test_the_same_configs_give_the_same_bytes(project: Path) -> None:
    run()
    first = file_of(project).read_bytes()
    file_of(project).unlink()
    assert run()[1] == f"wrote {file_of(project)}\n"
    assert file_of(project).read_bytes() == first
    assert run() == (0, "", "1 of 1 files were current\n")


def test_an_unselected_stream_is_not_sent(project: Path) -> None:
    write_stream(project, "shop", "orders", selected=False)
    run()
    assert list(streams_in(project)) == ["customers"]


def test_the_name_of_earlier_releases_still_works(project: Path) -> None:
    result = CliRunner().invoke(app, ["catalog"], catch_exceptions=False)
    assert result.stdout == f"wrote {file_of(project)}\n"
    assert "\n│ catalog " not in CliRunner().invoke(app, ["--help"]).stdout


def test_drift_fails_the_check_and_names_the_file(project: Path) -> None:
    assert run("--check")[0] == 1
    run()
    assert run("--check")[0] == 0
    before = file_of(project).read_bytes()
    write_stream(project, "shop", "orders", primary_key=[["customer", "id"]])
    code, out, err = run("--check")
    assert (code, out) == (1, f"stale {file_of(project)}\n")
    assert "hint: lotus-lake airbyte-catalog" in err
    assert file_of(project).read_bytes() == before


def test_an_edited_catalog_fails_the_check(project: Path) -> None:
    run()
    file_of(project).write_text(file_of(project).read_text().replace("append", "overwrite"))
    assert run("--check")[:2] == (1, f"stale {file_of(project)}\n")


def test_a_broken_stream_leaves_its_sources_catalog_alone_and_no_other(project: Path) -> None:
    write_stream(project, "mail", "events")
    run()
    before = file_of(project).read_bytes()
    write_stream(project, "shop", "orders", sync_mode="sometimes")
    write_stream(project, "shop", "customers", primary_key=[["customer"]])
    write_stream(project, "mail", "lists")
    code, out, err = run()
    assert (code, out) == (1, f"wrote {file_of(project, 'mail')}\n")
    assert "orders.json" in err
    assert file_of(project).read_bytes() == before


def test_the_catalog_of_a_source_that_is_gone_goes_too(project: Path) -> None:
    run()
    for path in file_of(project).parent.glob("[!_]*.json"):
        path.unlink()
    assert run("--check")[:2] == (1, f"stale {file_of(project)}\n")
    assert run()[:2] == (0, f"removed {file_of(project)}\n")
    assert not file_of(project).exists()


def test_this_repositorys_catalogs_hold_every_stream() -> None:
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)})
    files, errors = configured_catalog_files(settings)
    streams, _ = load_streams(settings.streams_dir)
    assert not errors
    found = {
        (path.parent.name, item["stream"]["name"])
        for path, text in files.items()
        for item in json.loads(text or "{}")["streams"]
    }
    assert found == {(stream.source, stream.name) for stream in streams}
    assert len(found) == len(streams) > 0
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text
