"""What the demo's lake holds: totals, tables, and their comparison with the generator's records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import typer
from rich.table import Table

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.lake.session import META, Lake
from samples import History
from samples.demo_airflow import console

MODELS = (
    "int_klaviyo__campaigns",
    "int_klaviyo__events",
    "int_klaviyo__flows",
    "int_klaviyo__lists",
    "int_klaviyo__metrics",
    "int_klaviyo__profiles",
    "int_shopify__customers",
    "int_shopify__order_refunds",
    "int_shopify__orders",
    "fct_sales",
    "fct_campaign_touches",
    "fct_campaign_performance",
)


@dataclass(frozen=True, slots=True)
class Totals:
    """What the lake holds."""

    files: int
    rows: int
    orders: int
    sales: Decimal

    def cells(self) -> list[str]:
        """As text, for a table."""
        return [str(self.files), str(self.rows), str(self.orders), f"{self.sales:,.2f}"]


def read_totals(settings: Settings) -> tuple[Totals, set[int]]:
    """What has landed, and the orders of `fct_sales`."""
    with open_to_read(settings) as lake:
        files, rows = lake.rows(
            f"SELECT count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.feeder_files "
            "WHERE event IN ('registered', 'copied', 'retired', 'empty')"
        )[0]
        if "fct_sales" not in lake.tables("main"):
            return Totals(files, rows, 0, Decimal(0)), set()
        sales = lake.rows("SELECT order_id, total_sales FROM lakehouse.main.fct_sales")
    total = sum((amount for _, amount in sales), Decimal(0))
    return Totals(files, rows, len(sales), total), {order_id for order_id, _ in sales}


def snapshot_id(settings: Settings) -> int:
    """The lake's newest snapshot."""
    with open_lake(settings) as lake:
        return int(lake.value("SELECT id FROM lakehouse.current_snapshot()"))


def summarise(lake: Lake, history: History) -> None:
    """Print files per stream, rows per table, and `fct_sales`."""
    _print_files(lake)
    _print_tables(lake)
    _print_sales(lake)
    for line in compare(lake, history):
        console.print(line)


def compare(lake: Lake, history: History) -> Iterator[str]:
    """Compare every table with what the generator says it must hold."""
    landed = [
        key.removeprefix(lake.settings.raw_prefix)
        for (key,) in lake.rows(
            f"SELECT key FROM {META}.feeder_files WHERE event IN ('registered', 'retired', 'empty')"
        )
    ]
    if set(landed) - {file.key for file in history.files}:
        yield "Other files than those of this history have landed: tables are not compared."
        return
    wrong = [
        model for model in MODELS if table_rows(lake, model) != history.expected(model, landed)
    ]
    if wrong:
        console.print(f"NOT as the records say: {', '.join(wrong)}", style="bold red")
        raise typer.Exit(1)
    yield (
        f"All {len(MODELS)} tables equal, row by row and cent by cent, what the generator computes "
        "from its records."
    )


def table_rows(lake: Lake, model: str) -> list[dict[str, Any]]:
    """Rows of a model, in key order, without the columns that only the increment needs."""
    cursor = lake.con.execute(
        f"SELECT COLUMNS(name -> name[1] <> '_') FROM lakehouse.main.{model} ORDER BY ALL"
    )
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _print_files(lake: Lake) -> None:
    table = Table("stream", "seen", "registered", "empty", "quarantined", "rows", title="Files")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in lake.rows(
        "SELECT source || '/' || stream, count(*), "
        "count(*) FILTER (event IN ('registered', 'retired')), count(*) FILTER (event = 'empty'), "
        "count(*) FILTER (event = 'quarantined'), "
        "coalesce(sum(row_count) FILTER (event IN ('registered', 'retired')), 0)::BIGINT "
        f"FROM {META}.feeder_files GROUP BY source, stream ORDER BY source, stream"
    ):
        table.add_row(*map(str, row))
    console.print(table)


def _print_tables(lake: Lake) -> None:
    table = Table("table", "rows", title="Tables")
    table.columns[1].justify = "right"
    for model in MODELS:
        rows = lake.value(f"SELECT count(*) FROM lakehouse.main.{model}")
        table.add_row(f"lakehouse.main.{model}", str(rows))
    console.print(table)


def _print_sales(lake: Lake) -> None:
    columns = "gross_sales, discounts, returns, net_sales, shipping, taxes, total_sales"
    table = Table("order_id", "order_date", *columns.split(", "), title="fct_sales, first orders")
    for column in table.columns[2:]:
        column.justify = "right"
    sums = ", ".join(f"sum({name})" for name in columns.split(", "))
    for row in lake.rows(
        f"SELECT order_id, order_date::DATE, {columns} FROM lakehouse.main.fct_sales "
        "ORDER BY order_date, order_id LIMIT 5"
    ):
        table.add_row(str(row[0]), str(row[1]), *(f"{value:,.2f}" for value in row[2:]))
    table.add_section()
    count, *totals = lake.rows(f"SELECT count(*), {sums} FROM lakehouse.main.fct_sales")[0]
    table.add_row("all", f"{count} orders", *(f"{value:,.2f}" for value in totals))
    console.print(table)
