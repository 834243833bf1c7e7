"""Write, audit, publish: readers see a version of a table only when its tests have passed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.ledger.watermarks import has_unprocessed
from tests.catalogs import on_sqlite
from tests.feeds import Feed, some_rows
from tests.pipeline.driver import DBT_DIR, PROJECT, DbtError, Pipeline

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MODEL, FACTS = "int_shop__orders", "fct_orders"
SQL = """\
{{{{ config(materialized='{kind}', unique_key='order_id', tags=['shop__orders']) }}}}

with landed as not materialized (
    select * from {{{{ landed_rows('shop', 'orders') }}}}
),

renamed as not materialized (
    select
        id as order_id, status, amount::decimal(18, 4) as amount,
        _airbyte_extracted_at, _airbyte_raw_id, 'epoch'::timestamptz as _source_updated_at,
        _lake_snapshot_id, _lake_row_id
    from landed
),

newest as (
    {{{{ newest_wins('renamed', 'order_id') }}}}
)

select * from newest
"""
YAML = """\
sources:
  - name: shop
    database: lakehouse
    schema: staging
    tables: [{name: orders, identifier: stg_shop__orders}]
models:
  - name: int_shop__orders
    columns: [{name: order_id, data_tests: [unique, not_null]}]
"""
FACTS_YAML = """\
models:
  - name: fct_orders
    columns:
      - {name: order_id, data_type: bigint, data_tests: [unique]}
      - {name: status, data_type: varchar}
      - {name: amount, data_type: 'decimal(18, 4)'}
"""
FACTS_SQL = """\
with orders as (
    select * from {{ ref('int_shop__orders') }}
)

select order_id, status, amount from orders
"""
PARTITIONED = """\
{{ config(
    materialized='incremental', partitioned_by='status', on_schema_change='append_new_columns'
) }}
"""
PYTHON = """\
def model(dbt, session):
    dbt.config(materialized='table', contract={'enforced': False})
    return dbt.ref('int_shop__orders').project('order_id, status, amount')
"""
OTHER_FACTS = {"partitioned": (".sql", PARTITIONED + FACTS_SQL), "python": (".py", PYTHON)}
NONE_IS_BAD = "select * from {{ ref('%s') }} where status = 'BAD'"


@dataclass(frozen=True, slots=True)
class Shop:
    """A stream, its processed model and an enriched model, in a project of the test's own."""

    pipeline: Pipeline
    feed: Feed

    def land(self, name: str, *statuses: str, hour: int = 12) -> None:
        """Orders 0, 1, ... land in these states."""
        rows = [
            {
                **row,
                "status": status,
                "_airbyte_extracted_at": datetime(2026, 3, 10, hour, tzinfo=UTC),
            }
            for row, status in zip(some_rows(len(statuses)), statuses, strict=True)
        ]
        self.feed.put(name, rows)
        self.feed.run_afresh()

    def add_test(self, name: str, sql: str) -> Path:
        file = self.pipeline.dbt_dir / "tests" / f"{name}.sql"
        file.parent.mkdir(exist_ok=True)
        file.write_text(sql)
        return file

    def build(self, *models: str, **environment: str) -> str:
        """Returns what dbt says of a run that succeeds."""
        return self.pipeline.dbt("build", *models or (MODEL, FACTS), **environment)

    def refused(self, *models: str) -> str:
        """Returns what dbt says of a run that fails."""
        with pytest.raises(DbtError) as failed:
            self.build(*models)
        return str(failed.value)

    def statuses(self, model: str = MODEL) -> list[str] | None:
        """What readers see, by order; `None` without a table."""
        with open_lake(self.pipeline.settings) as lake:
            if model not in lake.tables("main"):
                return None
            found = lake.rows(f"SELECT status FROM lakehouse.main.{model} ORDER BY order_id")
        return [status for (status,) in found]

    def lags(self) -> bool:
        """Whether the watermark says that the model has still to read what has landed."""
        with open_lake(self.pipeline.settings) as lake:
            return has_unprocessed(lake, self.feed.stream, [MODEL])

    def failed_rows(self, model: str = MODEL) -> list[tuple[str, Any]]:
        """Rows that were kept: the test that they fail, and their columns."""
        with open_lake(self.pipeline.settings) as lake:
            if f"failed_rows_{model}" not in lake.tables("meta"):
                return []
            found = lake.rows(f"SELECT test, failed_row FROM lakehouse.meta.failed_rows_{model}")
        return [(test, json.loads(row)) for test, row in found]


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A lake fed by a stream of the test's own."""
    return environment | {
        "LAKE_PROJECT_DIR": str(PROJECT),
        "LAKE_STREAMS_DIR": str(tmp_path / "streams"),
    }


@pytest.fixture
def shop(
    environment: dict[str, str], client: S3Client, feed: Feed, tmp_path: Path
) -> Callable[..., Shop]:
    """Deploy that shop; `kind` is how its processed model is built."""

    def deploy(kind: str = "incremental") -> Shop:
        own = shutil.ignore_patterns("models", "tests", "target", "logs")
        folder = Path(shutil.copytree(DBT_DIR, tmp_path / "dbt", ignore=own))
        shutil.copytree(DBT_DIR / "tests" / "generic", folder / "tests" / "generic")
        for place, text in (
            (f"processed/shop/{MODEL}.sql", SQL.format(kind=kind)),
            (f"enriched/shop/{FACTS}.sql", FACTS_SQL),
            ("shop.yml", YAML),
            ("facts.yml", FACTS_YAML),
        ):
            file = folder / "models" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        target = tmp_path / "target"
        target.mkdir()
        return Shop(Pipeline(environment, client, target, folder), feed)

    return deploy


@pytest.mark.parametrize("model", [MODEL, FACTS])
def test_a_version_whose_test_fails_is_seen_by_nobody_until_rule_or_data_is_mended(
    shop: Callable[..., Shop], model: str
) -> None:
    orders = shop()
    orders.land("part_0.parquet", "paid", "paid")
    orders.build()
    rule = orders.add_test("none_is_bad", NONE_IS_BAD % model)
    orders.land("part_1.parquet", "open", "BAD", hour=13)

    for _ in range(2):  # red in every run
        said = orders.refused()
        assert "none_is_bad: 1, such as {" in said
        assert orders.statuses(model) == ["paid", "paid"]
        assert orders.lags() == (model == MODEL)
        [(test, row)] = orders.failed_rows(model)
        assert (test, row["order_id"], row["status"]) == ("none_is_bad", 1, "BAD")

    orders.land("part_2.parquet", "open", "sent", hour=14)  # the data
    orders.build()
    assert orders.statuses(model) == ["open", "sent"]
    assert not orders.lags()
    assert orders.failed_rows(model) == []

    orders.land("part_3.parquet", "open", "BAD", hour=15)
    orders.refused()
    rule.unlink()  # the rule
    orders.build()
    assert orders.statuses(model) == ["open", "BAD"]


@on_sqlite
@pytest.mark.parametrize("kind", ["incremental", "table"])
def test_a_first_build_and_a_full_refresh_are_refused_as_well(
    shop: Callable[..., Shop], kind: str
) -> None:
    orders = shop(kind)
    rule = orders.add_test("none_is_bad", NONE_IS_BAD % MODEL)
    orders.land("part_0.parquet", "BAD")
    orders.refused(MODEL)
    assert orders.statuses() is None
    assert orders.lags()
    rule.unlink()
    orders.build(MODEL)
    assert orders.statuses() == ["BAD"]
    with open_lake(orders.pipeline.settings) as lake:
        mark = lake.rows(f"FROM lakehouse.meta.watermark_{MODEL}")

    orders.add_test("none_is_bad", NONE_IS_BAD % MODEL)
    orders.land("part_1.parquet", "BAD", "BAD", hour=13)
    with pytest.raises(DbtError):
        orders.pipeline.dbt("build", MODEL, DBT_FULL_REFRESH="true")
    assert orders.statuses() == ["BAD"]
    with open_lake(orders.pipeline.settings) as lake:
        assert lake.rows(f"FROM lakehouse.meta.watermark_{MODEL}") == mark
        assert lake.tables("main") == {MODEL}


KINDS = """\
models:
  - name: fct_orders
    data_tests:
      - unique_together: {arguments: {columns: [status, amount]}}
    columns:
      - {name: status, data_type: varchar}
      - {name: amount, data_type: 'decimal(18, 4)'}
      - name: order_id
        data_type: bigint
        data_tests:
          - unique
          - accepted_values:
              name: "small_isn't_it"
              arguments: {values: [0, 1], quote: false}
          - accepted_values:
              name: two_may_be_large
              arguments: {values: [0, 1], quote: false}
              config: {error_if: '> 2', warn_if: '> 2'}
          - accepted_values:
              name: all_but_the_last
              arguments: {values: [0, 1], quote: false}
              config: {where: order_id < 3}
          - relationships:
              name: parents_exist
              arguments: {to: ref('int_shop__orders'), field: order_id + 3}
          - dbt.not_null: {name: also_never}
"""
SINGULAR = """\
{{ config(severity='error', limit=1) }}
select facts.order_id from {{ ref('fct_orders') }} as facts
semi join {{ ref('int_shop__orders') }} using (order_id)
semi join {{ source('shop', 'orders') }} as landed on landed.id = facts.order_id
"""


@on_sqlite
def test_every_kind_of_test_is_run_with_its_own_settings(shop: Callable[..., Shop]) -> None:
    orders = shop()
    (orders.pipeline.dbt_dir / "models" / "facts.yml").write_text(KINDS)
    orders.add_test("singular", SINGULAR)
    orders.add_test(
        "warning", "{{ config(severity='warn') }} select * from {{ ref('fct_orders') }}"
    )
    orders.land("part_0.parquet", "paid", "paid", "paid", "paid")

    said = orders.refused()

    found = dict(
        line.strip().split(", such as ")[0].rsplit(": ", 1)
        for line in said.splitlines()
        if ", such as " in line
    )
    assert found == {
        "unique_together_fct_orders_status__amount": "1",
        "small_isn't_it": "2",
        "all_but_the_last": "1",
        "parents_exist": "3",
        "singular": "1",
    }, said
    assert orders.statuses(FACTS) is None
    kept = [test for test, _ in orders.failed_rows(FACTS)]
    assert {test: kept.count(test) for test in kept} == {
        name: int(count) for name, count in found.items()
    }


@on_sqlite
def test_a_test_runs_once_and_dbt_reports_it_after_the_model(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.add_test("once", NONE_IS_BAD % MODEL + " and 17 = 17")
    orders.land("part_0.parquet", "paid")

    said = orders.build(MODEL)

    assert "PASS once" in said
    log = (orders.pipeline.target / "logs" / "dbt.log").read_text()
    assert log.count("and 17 = 17") == 1
    assert "PASS=1 " in orders.pipeline.dbt("test", "once")
    assert (orders.pipeline.target / "logs" / "dbt.log").read_text().count("and 17 = 17") > 1


@on_sqlite
def test_at_most_a_hundred_rows_of_a_test_are_kept(shop: Callable[..., Shop]) -> None:
    orders = shop()
    orders.add_test("none_is_bad", NONE_IS_BAD % MODEL)
    orders.land("part_0.parquet", *["BAD"] * 250)
    assert "none_is_bad: 250, such as" in orders.refused(MODEL)
    assert len(orders.failed_rows()) == 100


@on_sqlite
@pytest.mark.parametrize(("suffix", "code"), OTHER_FACTS.values(), ids=OTHER_FACTS)
def test_a_model_that_dbt_would_commit_at_once_is_tested_before_it_is_seen(
    shop: Callable[..., Shop], suffix: str, code: str
) -> None:
    orders = shop()
    file = orders.pipeline.dbt_dir / "models" / "enriched" / "shop" / f"{FACTS}.sql"
    file.unlink()
    file.with_suffix(suffix).write_text(code)
    orders.add_test("none_is_bad", NONE_IS_BAD % FACTS)
    orders.land("part_0.parquet", "BAD")

    assert "none_is_bad: 1, such as" in orders.refused()

    assert orders.statuses(FACTS) is None
    assert orders.statuses() == ["BAD"]


def test_a_kill_between_model_test_and_commit_loses_and_doubles_nothing(
    shop: Callable[..., Shop], tmp_path: Path
) -> None:
    orders = shop()
    orders.land("part_0.parquet", "paid", "paid")
    orders.build()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    rule = orders.add_test(
        "slow",
        f"select * from read_csv('{pipe}', columns = {{'number': 'bigint'}}) "
        f"semi join {{{{ ref('{MODEL}') }}}} on number = order_id",
    )
    orders.land("part_1.parquet", "open", "sent", "new", hour=13)

    child = orders.pipeline.start_dbt("build", MODEL)
    with pipe.open("w"):  # once the test reads it
        assert orders.statuses() == ["paid", "paid"]
        child.process.kill()
        assert child.wait() == -signal.SIGKILL

    assert orders.statuses() == ["paid", "paid"]
    assert orders.lags()
    rule.unlink()
    orders.build()
    assert orders.statuses() == orders.statuses(FACTS) == ["open", "sent", "new"]
