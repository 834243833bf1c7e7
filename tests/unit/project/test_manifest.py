"""The manifest that an image bakes in, and the one that Dags go on with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lotus_lake.errors import DbtProjectError
from lotus_lake.project.manifest import Manifest, ensure_manifest, last_good_manifest
from tests.projects import copy_project

PROJECT = Path(__file__).resolve().parents[3]


def test_a_manifest_outlives_the_rounding_of_times_by_an_images_layers(tmp_path: Path) -> None:
    shutil.copytree(
        PROJECT / "include" / "dbt",
        tmp_path / "include" / "dbt",
        ignore=shutil.ignore_patterns("target", "logs"),
    )
    (tmp_path / "plugins").symlink_to(PROJECT / "plugins")
    files = [path for path in (tmp_path / "include").rglob("*") if path.is_file()]
    assert files
    for path in files:
        os.utime(path, ns=(1_700_000_000_987_654_321,) * 2)
    made = ensure_manifest(tmp_path).stat().st_mtime_ns

    for path in files:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert ensure_manifest(tmp_path).stat().st_mtime_ns == made

    os.utime(files[0], (1_700_000_009, 1_700_000_009))
    assert ensure_manifest(tmp_path).stat().st_mtime_ns > made


BROKEN = {
    "ref to nothing": "select * from {{ ref('int_shopify__nothing') }}",
    "open expression": "select {{ 1",
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
def test_a_project_that_does_not_parse_keeps_its_last_good_manifest(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_project(tmp_path)
    good = ensure_manifest(tmp_path)
    kept = {path: path.read_bytes() for path in good.parent.rglob("*.json")}
    assert len(kept) > 10
    model = tmp_path / "include/dbt/models/enriched/sales/fct_broken.sql"
    model.write_text(code)

    with pytest.raises(DbtProjectError, match="fct_broken"):
        ensure_manifest(tmp_path)

    assert {path: path.read_bytes() for path in kept} == kept
    monkeypatch.setattr("subprocess.run", None)  # nothing parses it again
    with pytest.raises(DbtProjectError, match="fct_broken"):
        ensure_manifest(tmp_path)
    found = last_good_manifest(tmp_path)
    assert found == Manifest(good, False, good.with_name("last_good"))
    monkeypatch.undo()
    copied = {path.relative_to(found.dbt_dir) for path in found.dbt_dir.rglob("*.sql")}
    model.unlink()
    dbt_dir = tmp_path / "include" / "dbt"
    assert copied == {
        path.relative_to(dbt_dir)
        for folder in ("models", "macros", "tests")
        for path in (dbt_dir / folder).rglob("*.sql")
    }
    assert last_good_manifest(tmp_path) == Manifest(good, True, dbt_dir)


def test_without_a_good_manifest_there_is_none(tmp_path: Path) -> None:
    copy_project(tmp_path)
    shutil.rmtree(tmp_path / "include" / "dbt" / "target")
    (tmp_path / "include/dbt/models/enriched/sales/fct_sales.yml").write_text("models: [")
    assert last_good_manifest(tmp_path) is None


def test_a_group_whose_models_are_gone_has_no_manifest(tmp_path: Path) -> None:
    copy_project(tmp_path)
    groups = ensure_manifest(tmp_path).parent / "groups" / "enriched"
    assert {path.name for path in groups.iterdir()} == {"marketing.json", "sales.json"}
    for path in (tmp_path / "include/dbt/models/enriched/sales").iterdir():
        path.unlink()
    ensure_manifest(tmp_path)
    assert [path.name for path in groups.iterdir()] == ["marketing.json"]
