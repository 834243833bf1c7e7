"""The dbt project's own tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_lake.project.manifest import ensure_manifest, last_good_manifest
from samples import History
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, DbtError, Pipeline
from tests.projects import copy_project

MODEL = "int_shopify__orders"


@on_sqlite
def test_dbts_unit_tests_pass_on_a_lake_that_has_only_landing_tables(pipeline: Pipeline) -> None:
    manifest = json.loads(ensure_manifest(PROJECT).read_text())
    count = len(manifest["unit_tests"])
    assert count >= len({test["model"] for test in manifest["unit_tests"].values()}) > 0
    assert len(pipeline.feed()) > 0  # finds no file, but creates the landing tables
    output = pipeline.dbt("test", "test_type:unit")
    assert f"PASS={count} WARN=0 ERROR=0 SKIP=0" in output


@on_sqlite
def test_models_are_built_from_the_project_as_it_last_parsed(
    pipeline: Pipeline, history: History, tmp_path: Path
) -> None:
    copy_project(tmp_path)
    ensure_manifest(tmp_path)
    broken = tmp_path / "include/dbt/models/processed/shopify/int_shopify__broken.sql"
    broken.write_text("select * from {{ ref('nothing') }}")
    found = last_good_manifest(tmp_path)
    assert found is not None
    pipeline.drop([file for file in history.files if file.stream == "orders"][:1])
    pipeline.feed("shopify__orders")

    with pytest.raises(DbtError, match="nothing"):
        replace(pipeline, dbt_dir=broken.parents[3]).dbt("build", MODEL)
    replace(pipeline, dbt_dir=found.dbt_dir).dbt("build", MODEL)

    assert pipeline.wrong_tables(history, [MODEL]) == {}
