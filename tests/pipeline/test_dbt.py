"""The dbt project's own tests."""

from __future__ import annotations

import json

from lotus_lake.project.manifest import ensure_manifest
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, Pipeline


@on_sqlite
def test_dbts_unit_tests_pass_on_a_lake_that_has_only_landing_tables(pipeline: Pipeline) -> None:
    manifest = json.loads(ensure_manifest(PROJECT).read_text())
    count = len(manifest["unit_tests"])
    assert count >= len({test["model"] for test in manifest["unit_tests"].values()}) > 0
    assert len(pipeline.feed()) > 0  # finds no file, but creates the landing tables
    output = pipeline.dbt("test", "test_type:unit")
    assert f"PASS={count} WARN=0 ERROR=0 SKIP=0" in output
