"""The SQL of models, from the manifest and without dbt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lotus_lake.project.manifest import ensure_manifest
from lotus_lake.project.rendering import UnrenderedModelError, render_model

PROJECT = Path(__file__).resolve().parents[3]


def _manifest(folder: Path, code: str) -> Path:
    """A manifest of this project whose sales model has other code."""
    document = json.loads(ensure_manifest(PROJECT).read_text(encoding="utf-8"))
    document["nodes"]["model.lotus_lake.fct_sales"]["raw_code"] = code
    file = folder / "manifest.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def test_macros_of_the_project_are_those_of_the_manifest() -> None:
    sql = render_model(ensure_manifest(PROJECT), "int_shopify__orders")
    assert 'from "lakehouse"."staging"."stg_shopify__orders"' in sql
    assert "try_cast(gross_sales as decimal(18, 4))" in sql
    assert "coalesce(updated_at, 'epoch'::timestamptz) as _source_updated_at" in sql
    assert "{" not in sql.replace("'{}'", "")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("{% if is_incremental() %}a{% else %}b{% endif %}", "b"),
        ("{{ config(tags=['x']) }}select * from {{ this }}",
         'select * from "lakehouse"."main"."fct_sales"'),
        ("{{ ref('lotus_lake', 'int_shopify__orders') }}",
         '"lakehouse"."main"."int_shopify__orders"'),
        ("{% set x = var('days', 3) %}{{ x }}", "3"),
    ],
)  # fmt: skip
def test_what_dbt_gives_is_given(tmp_path: Path, code: str, expected: str) -> None:
    assert render_model(_manifest(tmp_path, code), "fct_sales") == expected


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("{{ run_query('select 1') }}", "'run_query' is undefined"),
        ("{{ dbt_utils.star(ref('int_shopify__orders')) }}", "'dbt_utils' is undefined"),
        ("{{ ref('nothing') }}", "nothing"),
        ("{{ source('shopify', 'nothing') }}", "nothing"),
        ("{{ has_text_key() }}", "'adapter' is undefined"),
        ("{% if %}", "Expected an expression"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    ],
)
def test_what_only_dbt_knows_is_said_by_name(tmp_path: Path, code: str, said: str) -> None:
    manifest = _manifest(tmp_path, code)
    with pytest.raises(UnrenderedModelError, match=f"fct_sales cannot be rendered .*{said}"):
        render_model(manifest, "fct_sales")
