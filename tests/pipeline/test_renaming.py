"""A stream is renamed by the command, in project and lake, and its models go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lotus_lake.cli import app, rename_stream
from lotus_lake.lake.connection import open_lake
from lotus_lake.project.manifest import dbt_project_dir
from samples import History
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, Pipeline

ARGUMENTS = ["rename-stream", "shopify", "order_refunds", "refunds"]
ROWS = "SELECT * FROM lakehouse.main.{} ORDER BY ALL"


class StopError(Exception):
    """Where a process is killed."""


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same with a copy of the project, to rename a stream of."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("target", "logs")
    shutil.copytree(PROJECT / "include", copy / "include", ignore=ignored)
    (copy / "plugins").symlink_to(PROJECT / "plugins")
    return environment | {
        "LAKE_PROJECT_DIR": str(copy),
        "LAKE_STREAMS_DIR": str(copy / "include" / "streams"),
    }


@on_sqlite
def test_a_renamed_stream_goes_on_in_project_lake_and_models(
    pipeline: Pipeline, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = replace(pipeline, dbt_dir=dbt_project_dir(pipeline.settings.project_dir))
    files = [f for f in history.files if f.stream in ("orders", "order_refunds")]
    pipeline.drop(files[::2])
    pipeline.feed("shopify__orders", "shopify__order_refunds")
    pipeline.dbt("run", "int_shopify__order_refunds", "int_shopify__orders", "fct_sales")
    before = rows(pipeline, "int_shopify__order_refunds")
    assert before

    def rename(*options: str, code: int = 0) -> Any:
        run = CliRunner().invoke(app, [*ARGUMENTS, *options], env=pipeline.environment)
        assert run.exit_code == code, run.output
        return run

    planned = {row["what"]: row["then"] for row in json.loads(rename("--dry-run", "--json").stdout)}
    assert planned["staging.stg_shopify__order_refunds"] == "staging.stg_shopify__refunds"
    assert planned["main.int_shopify__order_refunds"] == "main.int_shopify__refunds"
    assert planned["Dag shopify__order_refunds"] == "shopify__refunds, without runs"
    assert planned["include/dbt/models/enriched/sales/fct_sales.sql"] == "changed"
    assert rows(pipeline, "int_shopify__order_refunds") == before

    def stop(*_: Any) -> None:
        raise StopError

    for step in ("rename_files", "_finish"):
        with monkeypatch.context() as patch:
            patch.setattr(rename_stream, step, stop)
            assert isinstance(rename("--yes", code=1).exception, StopError)
    rename("--yes")
    assert rows(pipeline, "int_shopify__refunds") == before
    assert pipeline.value("SELECT count(*) FROM lakehouse.meta.renames") == 0
    refused = rename("--yes", code=1)
    assert "unknown stream 'order_refunds'" in str(refused.exception)

    pipeline.drop(files[1::2])
    state = pipeline.feed("shopify__refunds")["shopify__refunds"]
    pipeline.feed("shopify__orders")
    assert state.registered + state.empty == len([f for f in files if f.stream == "order_refunds"])
    output = pipeline.dbt("build", "int_shopify__refunds", "int_shopify__orders", "fct_sales")
    assert "ERROR=0" in output
    assert pipeline.wrong_tables(history, ["fct_sales"]) == {}


def rows(pipeline: Pipeline, table: str) -> list[Any]:
    with open_lake(pipeline.settings) as lake:
        return lake.rows(ROWS.format(table))
