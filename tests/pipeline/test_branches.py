"""A change of a model, tried on a branch of the lake while production goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.observe.diff import TableDiff, compare, open_sides
from lotus_lake.project.manifest import ensure_manifest, load_models
from lotus_lake.repair.branches import create_branch, drop_branch
from lotus_lake.repair.promotion import open_promotion, open_rollback, promote
from samples import History
from tests.catalogs import on_sqlite
from tests.pipeline.driver import DBT_DIR, PROJECT, Pipeline

STREAMS = ("shopify__orders", "shopify__order_refunds")
TABLES = ("int_shopify__orders", "int_shopify__order_refunds", "fct_sales")


def change_sales(dbt_dir: Path) -> None:
    """Change a project so that its sales have no discounts."""
    model = dbt_dir / "models" / "enriched" / "sales" / "fct_sales.sql"
    text = model.read_text()
    changed = text.replace("coalesce(orders.discounts, 0) as", "0::decimal(18, 4) as")
    assert changed != text
    model.write_text(changed)


def copy_checkout(folder: Path) -> Path:
    """A repository with the tracked files of this one as its only commit."""
    git = ["git", "-C", str(PROJECT)]
    names = subprocess.run(
        [*git, "ls-files", "-zco", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    for name in filter(None, names.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    person = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], [*person, "commit", "--quiet", "-m", "base"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def on_branch(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    """The branch `new_sales`, and a checkout in which sales have no discounts."""
    ignored = shutil.ignore_patterns("target")
    folder = Path(shutil.copytree(DBT_DIR, tmp_path / "changed", ignore=ignored))
    change_sales(folder)
    return replace(
        pipeline,
        environment=pipeline.environment | {"LAKE_BRANCH": "new_sales"},
        target=tmp_path / "branch_target",
        dbt_dir=folder,
        arrived=pipeline.arrived,
    )


def sales(pipeline: Pipeline) -> TableDiff:
    with open_sides(pipeline.settings, "main", "new_sales") as (lake, before, after):
        keys = {"fct_sales": ("order_id",)}
        [found] = compare(lake, before, after, ["fct_sales"], keys)
    return found


def test_a_change_is_tried_on_a_branch_while_production_goes_on(
    pipeline: Pipeline, on_branch: Pipeline, history: History
) -> None:
    files = [file for file in history.files if f"{file.source}__{file.stream}" in STREAMS]
    pipeline.drop(files[::2])
    pipeline.feed(*STREAMS)
    pipeline.dbt("build", *TABLES)
    with open_lake(pipeline.settings) as lake:
        create_branch(lake, "new_sales")
    before = pipeline.value("SELECT id FROM lakehouse.current_snapshot()")
    on_branch.dbt("run", "fct_sales")
    discounted = pipeline.value(
        "SELECT count(*) FROM lakehouse.main.fct_sales WHERE discounts <> 0"
    )
    found = sales(pipeline)
    assert discounted
    assert (found.added, found.removed, found.changed) == (0, 0, discounted)
    assert found.cells == dict.fromkeys(("discounts", "net_sales", "total_sales"), discounted)
    # Nothing has happened in the lake.
    assert pipeline.value("SELECT id FROM lakehouse.current_snapshot()") == before
    assert pipeline.wrong_tables(history, TABLES) == {}

    pipeline.drop(files[1::2])
    for each in (on_branch, pipeline):  # each finds and processes the new files by itself
        each.feed(*STREAMS)
        each.dbt("run", *TABLES)
        assert each.wrong_tables(history, TABLES[:2]) == {}
    assert pipeline.wrong_tables(history, TABLES) == {}
    found = sales(pipeline)
    assert (found.added, found.removed) == (0, 0)
    assert found.changed > discounted

    with open_lake(pipeline.settings) as lake:
        assert drop_branch(lake, "new_sales") > 0
    assert pipeline.wrong_tables(history, TABLES) == {}


def compare_models(
    pipeline: Pipeline, checkout: Path, labels: str = ""
) -> subprocess.CompletedProcess[str]:
    """What the job of a pull request does."""
    commands = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = pipeline.environment | {
        "PATH": commands, "HOME": str(checkout.parent), "LAKE_PROJECT_DIR": str(checkout),
        "LAKE_STREAMS_DIR": str(checkout / "include" / "streams"), "LABELS": labels,
    }  # fmt: skip
    return subprocess.run(
        [checkout / "deploy" / "compare-models.sh", "HEAD", "pull_7"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def checkout(pipeline: Pipeline, history: History, tmp_path: Path) -> Path:
    """A checkout of the project that the tables are built from."""
    files = [file for file in history.files if f"{file.source}__{file.stream}" in STREAMS]
    pipeline.drop(files)
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", *TABLES)
    return copy_checkout(tmp_path / "checkout")


@on_sqlite
def test_a_pull_request_is_told_what_it_does_to_the_tables(
    pipeline: Pipeline, history: History, checkout: Path
) -> None:
    change_sales(checkout / "include" / "dbt")
    done = compare_models(pipeline, checkout)
    assert done.returncode == 0, done.stderr
    discounted = pipeline.value(
        "SELECT count(*) FROM lakehouse.main.fct_sales WHERE discounts <> 0"
    )
    rows = pipeline.value("SELECT count(*) FROM lakehouse.main.fct_sales")
    assert f"| fct\\_sales | changed | {rows} | {rows} | 0 | 0 | {discounted} |" in done.stdout
    assert "1 table of 3 differ" in done.stdout
    assert "destructive" not in done.stdout
    # Only what the change touches was built.
    assert "int_shopify__orders" not in done.stderr
    assert pipeline.wrong_tables(history, TABLES) == {}


@on_sqlite
def test_a_destructive_pull_request_needs_a_label(
    pipeline: Pipeline, history: History, checkout: Path
) -> None:
    sales = checkout / "include" / "dbt" / "models" / "enriched" / "sales"
    for name, text in (
        ("fct_sales.sql", "orders.cancelled_at"), ("fct_sales.sql", "cancelled_at"),
        ("fct_sales.yml", "- name: cancelled_at"),
    ):  # fmt: skip
        lines = (sales / name).read_text().splitlines()
        at = [number for number, line in enumerate(lines) if line.strip() == text]
        assert len(at) == 1
        end = at[0] + (3 if name.endswith("yml") else 1)
        if name.endswith("sql"):  # the line before ends in a comma
            lines[at[0] - 1] = lines[at[0] - 1].removesuffix(",")
        (sales / name).write_text("\n".join(lines[: at[0]] + lines[end:]) + "\n")
    config = checkout / "include" / "streams" / "shopify" / "orders.json"
    document = json.loads(config.read_text())
    del document["fields"]["total_tax"]
    config.write_text(json.dumps(document))

    refused = compare_models(pipeline, checkout)
    assert refused.returncode == 3, refused.stderr
    told = refused.stdout.replace("\\", "")
    assert "* fct_sales: column cancelled_at is gone or narrower" in told
    assert (
        "* stg_shopify__orders.total_tax: removed; breaks int_shopify__orders.taxes, "
        "int_shopify__orders._lake_bad_values, fct_sales.taxes, fct_sales.total_sales"
    ) in told
    with open_lake(pipeline.settings) as lake:
        drop_branch(lake, "pull_7")
    allowed = compare_models(pipeline, checkout, "documentation,destructive-change")
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stdout == refused.stdout
    assert pipeline.wrong_tables(history, TABLES) == {}


def test_promoted_tables_go_on_from_what_they_hold(
    pipeline: Pipeline, on_branch: Pipeline, history: History
) -> None:
    """Everything is built from scratch on a branch while production goes on, and promoted."""
    third = len(history.files) // 3
    pipeline.drop(history.files[:third])
    pipeline.feed()
    pipeline.dbt("run")
    with open_lake(pipeline.settings) as lake:
        create_branch(lake, "new_sales")
        models = load_models(ensure_manifest(PROJECT))
    same = replace(on_branch, dbt_dir=pipeline.dbt_dir)
    same.dbt("run", "*", "--full-refresh")
    pipeline.drop(history.files[third : 2 * third])
    pipeline.feed()
    with open_lake(pipeline.settings) as lake:
        with open_promotion(lake, "new_sales", models) as (judge, changed):
            done = promote(judge, changed, "run")
        assert {each.model for each in done.replacements} == {
            name for name in models if name in lake.tables("main")
        }
    pipeline.dbt("run")
    assert pipeline.wrong_tables(history, models) == {}

    pipeline.drop(history.files[2 * third :])
    pipeline.feed()
    pipeline.dbt("run")
    assert pipeline.wrong_tables(history, models) == {}
    with open_lake(pipeline.settings) as lake, open_rollback(lake, None, models) as judge:
        promote(judge, changed, "back")
    pipeline.dbt("run")
    assert pipeline.wrong_tables(history, models) == {}
