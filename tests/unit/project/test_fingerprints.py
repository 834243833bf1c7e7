"""The fingerprint of a model changes with whatever may change its table, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lotus_lake.project.fingerprints import fingerprint
from lotus_lake.project.manifest import ensure_manifest

PROJECT = Path(__file__).resolve().parents[3]
MODEL = "fct_sales"
NODE = f"model.lotus_lake.{MODEL}"
Fingerprint = Callable[[Callable[[dict[str, Any]], None]], str | None]


@pytest.fixture(scope="module")
def document() -> str:
    return ensure_manifest(PROJECT).read_text()


@pytest.fixture
def of(document: str, tmp_path: Path) -> Fingerprint:
    """The fingerprint of the model in a manifest that was changed."""

    def make(change: Callable[[dict[str, Any]], None]) -> str | None:
        changed = json.loads(document)
        change(changed)
        file = tmp_path / "target" / f"{len(list(tmp_path.rglob('*.json')))}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(changed))
        return fingerprint(file, MODEL)

    return make


def code(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    """A change of the model's SQL."""

    def apply(document: dict[str, Any]) -> None:
        node = document["nodes"][NODE]
        before = node["raw_code"]
        node["raw_code"] = change(before)
        assert node["raw_code"] != before

    return apply


def plus(column: str) -> Callable[[dict[str, Any]], None]:
    return code(lambda sql: sql.replace("        orders.order_id,", f"orders.order_id, {column},"))


def test_comments_and_white_space_change_nothing(of: Fingerprint) -> None:
    before = of(lambda _: None)
    assert before is not None
    assert before.startswith("fct_sales:")
    assert of(code(lambda sql: "-- what we sold\n" + sql.replace("\n", "\n\n"))) == before
    assert of(code(lambda sql: sql.replace("select", "SELECT"))) == before
    assert of(lambda d: d["nodes"][NODE].update(created_at=1, checksum={})) == before
    assert of(lambda d: d["nodes"]["model.lotus_lake.int_shopify__orders"].update(raw_code="")) == (
        before
    )


def test_whatever_may_change_the_table_changes_it(of: Fingerprint) -> None:
    def drop_test(document: dict[str, Any]) -> None:
        key = next(
            key
            for key, node in document["nodes"].items()
            if node["resource_type"] == "test" and NODE in node["depends_on"]["nodes"]
        )
        del document["nodes"][key]

    def change_macro(document: dict[str, Any]) -> None:
        document["macros"]["macro.lotus_lake.audited_sql"]["macro_sql"] += " "

    changes: list[Callable[[dict[str, Any]], None]] = [
        plus("1 AS one"),
        code(lambda sql: sql.replace("coalesce(orders.discounts, 0)", "orders.discounts")),
        lambda d: d["nodes"][NODE]["config"].update(materialized="incremental"),
        lambda d: d["nodes"][NODE]["columns"]["taxes"].update(data_type="double"),
        lambda d: d["nodes"][NODE].update(description="Another one."),
        lambda d: d["metadata"].update(dbt_version="9"),
        drop_test,
        change_macro,
    ]
    found = [of(change) for change in [lambda _: None, *changes]]
    assert None not in found
    assert len(set(found)) == len(changes) + 1


@pytest.mark.parametrize(
    "column",
    [
        "now() AS x", "current_date AS x", "CURRENT_TIMESTAMP AS x", "random() AS x",
        "uuid() AS x", "age(orders.order_date) AS x", "nextval('s') AS x",
        "(SELECT count(*) FROM read_text('/etc/hostname')) AS x",
        "(SELECT count(*) FROM lakehouse.main.int_shopify__customers) AS x",
        "(SELECT count(*) FROM orders USING SAMPLE 10%) AS x",
        "{{ run_started_at }} AS x", "'{{ env_var('HOME') }}' AS x", "{{ unknown('a') }} AS x",
        "{{ 1 if execute else 2 }} AS x", "'{{ var('x') }}' AS x",
    ],
)  # fmt: skip
def test_a_model_that_may_differ_every_time_has_none(of: Fingerprint, column: str) -> None:
    assert of(plus(column)) is None


def test_a_model_that_asks_for_it_has_none(of: Fingerprint) -> None:
    assert of(lambda d: d["nodes"][NODE]["config"].update(meta={"always_build": True})) is None
