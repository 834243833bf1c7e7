"""What Airflow and dbt would make of a project's models, seeds and folders is told beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.project.domains import domain_problems
from lotus_lake.project.manifest import Model, ensure_manifest, load_models
from lotus_lake.validation import find_problems
from tests.projects import copy_project

DBT = Path("include/dbt")
LOOSE = "{{ config(contract={'enforced': false}) }}\n"
READS = LOOSE + "select * from {{ ref('int_shopify__orders') }}\n"

# What is added, and for each file that is told of a part of the message.
CASES: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "domains that read each other": (
        {
            "models/enriched/a/fct_a.sql": READS + "cross join {{ ref('dim_b') }} as b",
            "models/enriched/b/dim_b.sql": READS,
            "models/enriched/b/fct_b.sql": LOOSE + "select * from {{ ref('fct_a') }}",
        },
        {
            "models/enriched/a/fct_a.sql": "would start each other endlessly",
            "models/enriched/b/dim_b.sql": "would start each other endlessly",
            "models/enriched/b/fct_b.sql": "would start each other endlessly",
        },
    ),
    "a model in no folder": (
        {"models/enriched/fct_loose.sql": READS},
        {"models/enriched/fct_loose.sql": "is not in a folder"},
    ),
    "a folder with a blank": (
        {"models/enriched/sales ops/fct_ops.sql": READS},
        {"models/enriched/sales ops/fct_ops.sql": "'sales ops' is not a valid name of a Dag"},
    ),
    "a domain that nothing starts": (
        {"models/enriched/calendar/dim_day.sql": LOOSE + "select 1 as day"},
        {"models/enriched/calendar/dim_day.sql": ": nothing starts it"},
    ),
    "another layer": (
        {"models/marts/mart_orders.sql": READS},
        {"models/marts/mart_orders.sql": "is in no layer"},
    ),
    "a seed": (
        {
            "seeds/countries.csv": "id,name\n1,PL\n",
            "models/enriched/sales/fct_geo.sql": READS + "cross join {{ ref('countries') }} as c",
        },
        {"seeds/countries.csv": "is a seed"},
    ),
    "a snapshot": (
        {
            "snapshots/old_orders.sql": "{% snapshot old_orders %}{{ config(unique_key='order_id', "
            "strategy='check', check_cols='all') }}\n"
            "select * from {{ ref('int_shopify__orders') }}{% endsnapshot %}",
        },
        {"snapshots/old_orders.sql": "is a snapshot"},
    ),
    "a model that is switched off": (
        {"models/enriched/sales/fct_off.sql": "{{ config(enabled=false) }}\nselect 1 as one"},
        {"models/enriched/sales/fct_off.sql": "is disabled"},
    ),
    "an enriched model of a landing table": (
        {
            "models/enriched/sales/fct_raw.sql": READS
            + "cross join {{ source('shopify', 'orders') }} as raw",
        },
        {"models/enriched/sales/fct_raw.sql": "reads source shopify.orders"},
    ),
    "one alias in two schemas": (
        {
            "models/enriched/sales/fct_one.sql": READS.replace("config(", "config(alias='x', "),
            "models/enriched/sales/fct_two.sql": READS.replace("config(", "config(schema='y', "),
        },
        {
            "models/enriched/sales/fct_one.sql": "the alias 'x', which changes nothing",
            "models/enriched/sales/fct_two.sql": "the schema 'y', which changes nothing",
        },
    ),
    "names that differ in case": (
        {"models/enriched/sales/FCT_sales.sql": READS},
        {"models/enriched/sales/fct_sales.sql": "is called fct_sales, as"},
    ),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A copy of this project."""
    return copy_project(tmp_path)


def test_what_no_dag_or_a_wrong_one_would_build_is_told(settings: Settings) -> None:
    for added, _ in CASES.values():  # all at once: none hides another
        for name, text in added.items():
            path = settings.project_dir / DBT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    found = find_problems(settings)
    assert all(problem.hint for problem in found)
    texts = [
        (str(problem.file.relative_to(settings.project_dir / DBT)), problem.message)
        for problem in found
    ]
    for case, (_, told) in CASES.items():
        for name, message in told.items():
            of_file = [text for text in texts if text[0] == name]
            assert [text for text in of_file if message in text[1]] == of_file != [], (case, texts)
    assert {name for name, _ in texts} == {name for _, told in CASES.values() for name in told}


def test_a_stream_whose_dag_is_that_of_a_domain_is_told(settings: Settings) -> None:
    folder = settings.streams_dir / "enriched"
    folder.mkdir()
    text = (settings.streams_dir / "shopify" / "orders.json").read_text()
    (folder / "sales.json").write_text(text.replace('"stream": "orders"', '"stream": "sales"'))
    found = [problem.message for problem in find_problems(settings)]
    assert any("its Dag enriched__sales has the id of that of" in message for message in found)


def test_alias_and_schema_of_a_model_change_nothing(settings: Settings) -> None:
    """Watermarks, status and rebuild find the table by the name of its model."""
    dbt = settings.project_dir / DBT
    for name, config in (("orders", "alias='tags', "), ("customers", "schema='b', alias='tags', ")):
        path = dbt / f"models/processed/shopify/int_shopify__{name}.sql"
        path.write_text(path.read_text().replace("config(", f"config({config}", 1))
    manifest = ensure_manifest(settings.project_dir).read_text()
    for name in ("orders", "customers"):
        assert json.dumps(f'"lakehouse"."main"."int_shopify__{name}"') in manifest


def test_circles_are_told_and_what_only_reads_them_is_not() -> None:
    def model(name: str, folder: str, *parents: str) -> Model:
        layer = "processed" if folder == "shop" else "enriched"
        return Model(name, layer, folder, (), ("p", *parents) if name != "p" else (), "")

    models = [
        model("p", "shop"), model("a1", "a", "c1"), model("b1", "b", "a1"), model("c1", "c", "b1"),
        model("d1", "d", "a1"), model("e1", "e"), model("x1", "x", "y1"), model("y1", "y", "x1"),
    ]  # fmt: skip
    problems = domain_problems({model.name: model for model in models})
    assert set(problems) == {"a", "b", "c", "x", "y"}
    assert domain_problems(load_models(ensure_manifest(Path(__file__).parents[3]))) == {}
