"""What is behind a number of this project's models: columns, rows, landed versions, files.

The tables are built by the models' own SQL, without dbt: what dbt adds is tested elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.errors import PermanentError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.observe.why import Why, explain
from lotus_lake.project.manifest import manifest_file
from lotus_lake.project.rendering import render_model
from tests.catalogs import on_sqlite
from tests.commands import told
from tests.consuming import consume
from tests.feeds import DAY, Feed, Shape, some_rows
from tests.projects import copy_project

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = on_sqlite

ORDERS, REFUNDS, SALES = "int_shopify__orders", "int_shopify__order_refunds", "fct_sales"
OLD = DAY - timedelta(days=9)
_TIME = pa.timestamp("ms", tz="UTC")
_LANDED: Shape = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": _TIME,
    "_airbyte_meta": pa.struct({"sync_id": pa.int64()}),
    "id": pa.int64(),
    "created_at": _TIME,
}
ORDER: Shape = {
    **_LANDED,
    "updated_at": _TIME,
    "total_line_items_price": pa.float64(),
    "financial_status": pa.string(),
}
REFUND: Shape = {
    **_LANDED,
    "order_id": pa.int64(),
    "transactions": pa.list_(pa.struct({"amount": pa.string()})),
}


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def row(number: int, raw_id: str, sync: int, day: date = DAY, **values: Any) -> dict[str, Any]:
    """A row that a sync sent on a day."""
    return {
        "_airbyte_raw_id": raw_id,
        "_airbyte_extracted_at": at(day),
        "_airbyte_meta": {"sync_id": sync},
        "id": number,
        "created_at": at(OLD),
        "updated_at": at(day, 6),
        **values,
    }


@dataclass(frozen=True, slots=True)
class Shop:
    """The orders and refunds of a lake."""

    settings: Settings
    orders: Feed
    refunds: Feed

    def build(self, lake: Lake, *models: str) -> None:
        """Make tables of models anew from what has landed."""
        for model in models:
            sql = render_model(manifest_file(self.settings.project_dir), model)
            lake.con.execute(f"CREATE OR REPLACE TABLE {LAKE}.main.{model} AS {sql}")
        consume(self.orders, lake, ORDERS)
        consume(self.refunds, lake, REFUNDS)

    def why(self, table: str, where: str, column: str | None = None, limit: int = 20) -> Why:
        with open_to_read(self.settings) as lake:
            manifest = manifest_file(self.settings.project_dir)
            return explain(lake, manifest, table, where, column, limit=limit)


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A lake with this project's models; orders keep their files for four days."""
    copy_project(tmp_path)
    streams = tmp_path / "include" / "streams"
    config = streams / "shopify" / "orders.json"
    document = json.loads(config.read_text(encoding="utf-8"))
    document["feeder"] = document.get("feeder", {}) | {"retention_days": 4}
    config.write_text(json.dumps(document), encoding="utf-8")
    return environment | {"LAKE_STREAMS_DIR": str(streams)}


@pytest.fixture
def shop(settings: Settings, client: S3Client, lake: Lake) -> Shop:
    """Order 1 has two versions and two refunds in files of their own; order 2 is old."""
    orders, refunds = (
        Feed(settings, find_stream(settings.streams_dir, "shopify", name), client)
        for name in ("orders", "order_refunds")
    )
    shop = Shop(settings, orders, refunds)
    orders.put(
        "old.parquet",
        [row(2, "second", 40, OLD, total_line_items_price=7.0)],
        day=OLD, shape=ORDER,
    )  # fmt: skip
    orders.run(lake, "run of orders 0")
    before = DAY - timedelta(days=1)
    versions = [(before, "first", 41, 100.0), (DAY, "newer", 42, 120.0)]
    for day, raw_id, sync, price in versions:
        orders.put(
            f"{raw_id}.parquet",
            [row(1, raw_id, sync, day, total_line_items_price=price, financial_status="paid")],
            day=day, shape=ORDER,
        )  # fmt: skip
    orders.run(lake, "run of orders 1")
    for number, amount in ((11, "5.50"), (12, "4.50")):
        refund = row(number, f"refund-{number}", 43, order_id=1, transactions=[{"amount": amount}])
        refunds.put(f"{number}.parquet", [refund], shape=REFUND)
    refunds.run(lake, "run of refunds")
    shop.build(lake, ORDERS, REFUNDS, SALES)
    return shop


def found_rows(why: Why) -> dict[str, Sequence[Mapping[str, Any]]]:
    return {
        rows.table: [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
        for rows in why.rows
    }


def test_a_number_is_followed_to_the_files_of_its_rows(shop: Shop) -> None:
    why = shop.why(SALES, "order_id = 1", "total_sales")
    origins = {source.column: source.origins for source in why.sources}
    assert f"{REFUNDS}.returns" in origins["fct_sales.total_sales"]
    assert origins[f"{REFUNDS}.returns"] == ("stg_shopify__order_refunds.transactions",)
    rows = found_rows(why)
    assert [str(row["total_sales"]) for row in rows[SALES]] == ["110.0000"]
    assert [str(row["gross_sales"]) for row in rows[ORDERS]] == ["120.0000"]
    assert [(row["refund_id"], str(row["returns"])) for row in rows[REFUNDS]] == [
        (11, "5.5000"), (12, "4.5000"),
    ]  # fmt: skip
    orders, refunds = why.landed
    assert [(v.raw_id, v.outcome, v.sync_id, v.dag_run_id) for v in orders.versions] == [
        ("newer", "won", 42, "run of orders 1"), ("first", "lost", 41, "run of orders 1"),
    ]  # fmt: skip
    newer, first = orders.versions
    assert first.because == f"that of 2026-03-10 12:00:00 from {newer.key} is newer"
    assert newer.key == shop.orders.key("newer.parquet")
    assert newer.extracted_at == at(DAY)
    assert [v.key for v in refunds.versions] == [
        shop.refunds.key("11.parquet"), shop.refunds.key("12.parquet"),
    ]  # fmt: skip
    assert {v.outcome for v in refunds.versions} == {"won"}
    assert why.remarks == ()
    with open_to_read(shop.settings) as lake:
        ledger = lake.rows(f"SELECT key, etag, snapshot_id FROM {META}.feeder_files")
    versions = (*orders.versions, *refunds.versions)
    assert {(v.key, v.etag, v.snapshot_id) for v in versions} <= set(ledger)


def test_a_row_whose_file_is_retired_names_the_file(shop: Shop, lake: Lake) -> None:
    assert retire_files(lake, shop.orders.stream, [ORDERS], "night").files == 1
    why = shop.why(SALES, "order_id = 2")
    orders, refunds = why.landed
    assert orders.versions == ()
    (gone,) = orders.gone
    assert (gone.key, gone.event) == (shop.orders.key("old.parquet", OLD), "retired")
    assert (gone.record, gone.dag_run_id, gone.row_count) == (
        {"order_id": 2}, "run of orders 0", 1,
    )  # fmt: skip
    assert (orders.gone_files, refunds.gone_files) == (1, 0)
    assert shop.why(SALES, "order_id = 1").landed[0].gone == ()


def test_a_late_version_of_a_retired_record_lost_against_it(shop: Shop, lake: Lake) -> None:
    retire_files(lake, shop.orders.stream, [ORDERS], "night")
    late = row(2, "late", 44, OLD - timedelta(days=1), total_line_items_price=6.0)
    shop.orders.put("late.parquet", [late], shape=ORDER)
    shop.orders.run(lake, "run of late")
    (version,) = shop.why(ORDERS, "order_id = 2").landed[0].versions
    assert (version.raw_id, version.outcome) == ("late", "waits")
    consume(shop.orders, lake, ORDERS)
    found = shop.why(ORDERS, "order_id = 2").landed[0]
    (version,) = found.versions
    assert version.outcome == "lost"
    assert version.because == "that of 2026-03-01 12:00:00 from a file that is gone is newer"
    assert [file.key for file in found.gone] == [shop.orders.key("old.parquet", OLD)]


def test_a_record_that_the_table_lacks_is_found_where_it_landed(shop: Shop, lake: Lake) -> None:
    lake.con.execute(f"DELETE FROM {LAKE}.main.fct_sales; DELETE FROM {LAKE}.main.{ORDERS}")
    why = shop.why(SALES, "order_id = 1")
    assert found_rows(why)[ORDERS] == []
    newer, first = why.landed[0].versions
    assert (newer.raw_id, newer.outcome) == ("newer", "not merged")
    assert newer.because == "the table has no row of this record"

    lake.con.execute(
        f"CREATE TABLE {META}.kept_out_{ORDERS} AS SELECT 1::BIGINT AS order_id, "
        "_airbyte_extracted_at, updated_at AS _source_updated_at, _airbyte_raw_id, "
        "snapshot_id AS _lake_snapshot_id, 'deleted' AS _lake_reason "
        f"FROM {LAKE}.staging.stg_shopify__orders WHERE _airbyte_raw_id = 'newer'"
    )
    newer, first = shop.why(SALES, "order_id = 1").landed[0].versions
    assert (newer.outcome, newer.because) == ("kept out", "deleted")
    assert first.outcome == "lost"


def test_a_condition_that_does_not_reach_a_table_is_said_by_name(shop: Shop) -> None:
    why = shop.why(SALES, "total_sales < 0")
    assert why.rows[0].total == 0
    assert why.landed == ()
    assert [remark.split(":")[0] for remark in why.remarks] == [ORDERS, REFUNDS]
    assert all("does not carry total_sales from it unchanged" in said for said in why.remarks)

    linked = shop.why(SALES, "total_sales > 0 and financial_status is null", "total_sales")
    assert [row["order_id"] for row in found_rows(linked)[ORDERS]] == [2]
    assert linked.rows[1].matched == "order_id of fct_sales"


def test_a_model_that_only_dbt_can_tell_is_said_by_name(shop: Shop) -> None:
    manifest = manifest_file(shop.settings.project_dir)
    document = json.loads(manifest.read_text(encoding="utf-8"))
    document["nodes"][f"model.lotus_lake.{REFUNDS}"]["raw_code"] = "{{ run_query('x') }}"
    manifest.write_text(json.dumps(document), encoding="utf-8")
    why = shop.why(SALES, "order_id = 1", "returns")
    assert [row["refund_id"] for row in found_rows(why)[REFUNDS]] == [11, 12]
    assert [landed.model for landed in why.landed] == [ORDERS]
    (said,) = why.remarks
    assert f"{REFUNDS} cannot be rendered without dbt" in said
    assert {s.column: s.problem for s in why.sources if s.problem} == {f"{REFUNDS}.returns": said}


def test_records_of_several_columns_and_any_text_are_told_apart(
    settings: Settings, make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed()
    texts = ("a\0b", "a\0b", "paid", "it's")
    rows = [
        {**one, "id": number // 3, "status": text}
        for number, (one, text) in enumerate(zip(some_rows(4), texts, strict=True))
    ]
    feed.put(rows=rows)
    feed.run(lake)
    manifest = manifest_file(settings.project_dir)
    document = json.loads(manifest.read_text(encoding="utf-8"))
    of_orders = document["sources"]["source.lotus_lake.shopify.orders"]
    document["sources"]["source.shop"] = of_orders | {
        "source_name": "shop", "identifier": feed.stream.landing_table,
    }  # fmt: skip
    node = document["nodes"][f"model.lotus_lake.{ORDERS}"]
    name = "int_shop__orders"
    document["nodes"][f"model.lotus_lake.{name}"] = node | {
        "name": name,
        "alias": name,
        "config": node["config"] | {"unique_key": ["id", "status"]},
        "raw_code": """
            with renamed as not materialized (
                select
                    id, status, amount, _airbyte_extracted_at, _airbyte_raw_id,
                    'epoch'::timestamptz as _source_updated_at, _lake_snapshot_id, _lake_row_id
                from {{ landed_rows('shop', 'orders') }}
            )
            {{ newest_wins('renamed', 'id, status') }}
        """,
    }
    manifest.write_text(json.dumps(document), encoding="utf-8")
    lake.con.execute("SET disabled_optimizers = 'join_filter_pushdown'")  # as dbt's pre-hook does
    lake.con.execute(f"CREATE TABLE {LAKE}.main.{name} AS {render_model(manifest, name)}")
    with open_to_read(settings) as opened:
        why = explain(opened, manifest, name, "id = 0")
    found = [(version.record["status"], version.outcome) for version in why.landed[0].versions]
    assert found == [("a\0b", "won"), ("a\0b", "lost"), ("paid", "won")]
    assert why.remarks == ()


def test_rows_are_bounded_and_counted(shop: Shop) -> None:
    why = shop.why(SALES, "order_id > 0", limit=1)
    assert [(len(found.rows), found.total) for found in why.rows] == [(1, 2), (1, 1), (1, 2)]
    assert [(len(landed.versions), landed.total) for landed in why.landed] == [(1, 2), (1, 1)]


def test_what_is_wrong_is_said(shop: Shop) -> None:
    for table, where, column, said in (
        ("fct_sale", "order_id = 1", None, "did you mean fct_sales"),
        ("stg_shopify__orders", "id = 1", None, "is not the table of a model"),
        ("int_klaviyo__lists", "true", None, "was not built yet"),
        (SALES, "orderid = 1", None, "did you mean order_id"),
        (SALES, "order_id = 1", "total", "did you mean total_sales"),
        (SALES, "order_id = 'x'", None, "is not valid for fct_sales"),
        (SALES, "order_id in (select 1)", None, "contains a query"),
        (SALES, "read_text('/etc/passwd') = ''", None, "calls read_text"),
        (SALES, "true; drop table fct_sales", None, "several statements"),
    ):
        with pytest.raises(PermanentError, match=said):
            shop.why(table, where, column)


def test_the_command_prints_text_and_json(shop: Shop, environment: dict[str, str]) -> None:
    words = ["why", SALES, "--where", "order_id = 1", "--column", "total_sales"]
    result = CliRunner().invoke(app, words, env={**environment, "COLUMNS": "400"})
    assert (result.exit_code, told(result)) == (0, [])
    for text in (
        "int_shopify__order_refunds: 2 rows by order_id of fct_sales",
        "stg_shopify__orders, read by int_shopify__orders: 2 landed versions",
        shop.orders.key("newer.parquet"),
    ):
        assert text in result.stdout
    assert environment["AWS_SECRET_ACCESS_KEY"] not in result.output

    result = CliRunner().invoke(app, [*words, "--json"], env=environment)
    (answer,) = json.loads(result.stdout)
    assert [landed["model"] for landed in answer["landed"]] == [ORDERS, REFUNDS]
    assert answer["landed"][0]["versions"][1]["outcome"] == "lost"


def test_without_a_manifest_the_command_says_how_to_make_one(
    shop: Shop, environment: dict[str, str]
) -> None:
    manifest_file(shop.settings.project_dir).unlink()
    result = CliRunner().invoke(app, ["why", SALES, "--where", "true"], env=environment)
    assert "dbt parse" in str(result.exception)


def test_nothing_is_written(shop: Shop) -> None:
    with open_lake(shop.settings) as lake:
        before = lake.current_snapshot()
    shop.why(SALES, "order_id = 1")
    with open_lake(shop.settings) as lake:
        assert lake.current_snapshot() == before
