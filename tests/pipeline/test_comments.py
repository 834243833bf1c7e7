"""Descriptions of models are comments in the lake, and cost a commit only when they change."""

from __future__ import annotations

from typing import Any

from lotus_lake.lake.connection import open_lake
from samples import History
from tests.catalogs import on_sqlite
from tests.pipeline.driver import Pipeline

STREAMS = ("shopify__orders", "shopify__order_refunds")
MODELS = ("int_shopify__orders", "int_shopify__order_refunds", "fct_sales")
# What DuckLake notes of a commit that writes a comment.
ALTERED = (
    "SELECT count(*) FROM lakehouse.snapshots() WHERE snapshot_id > {} "
    "AND list_contains(map_keys(changes), 'tables_altered')"
)


@on_sqlite
def test_descriptions_are_comments_that_are_written_only_when_they_change(
    pipeline: Pipeline, history: History
) -> None:
    files = [f for f in history.files if f"{f.source}__{f.stream}" in STREAMS]
    pipeline.drop(files[::2])
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", *MODELS)
    for table in ("int_shopify__orders", "fct_sales"):
        assert _comment(pipeline, table, "order_id") == "Shopify's id of the order."
        assert pipeline.value(f"SELECT comment FROM duckdb_tables() WHERE table_name = '{table}'")
    count = "SELECT count(comment) FROM duckdb_columns() WHERE table_name = 'int_shopify__orders'"
    described = pipeline.value(count)
    assert described == 19

    before = int(pipeline.value("SELECT id FROM lakehouse.current_snapshot()"))
    pipeline.drop(files[1::2])
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", "int_shopify__orders")
    assert pipeline.value(ALTERED.format(before)) == 0
    assert pipeline.value(count) == described
    pipeline.dbt("run", "fct_sales", "--full-refresh")
    for table in MODELS:  # those that are rebuilt, too
        assert pipeline.value(f"SELECT comment FROM duckdb_tables() WHERE table_name = '{table}'")
    before = int(pipeline.value("SELECT id FROM lakehouse.current_snapshot()"))

    with open_lake(pipeline.settings) as lake:
        lake.con.execute("COMMENT ON COLUMN lakehouse.main.int_shopify__orders.order_id IS 'other'")
    assert pipeline.value(ALTERED.format(before)) == 1
    pipeline.dbt("run", "int_shopify__orders")
    assert _comment(pipeline, "int_shopify__orders", "order_id") == "Shopify's id of the order."
    assert pipeline.value(ALTERED.format(before)) == 2


def _comment(pipeline: Pipeline, table: str, column: str) -> Any:
    with open_lake(pipeline.settings) as lake:
        return lake.value(
            "SELECT comment FROM duckdb_columns() WHERE table_name = ? AND column_name = ?",
            [table, column],
        )
