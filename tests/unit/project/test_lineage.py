"""Which columns a model computes its columns from, and which it carries unchanged."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams, source_schema
from lotus_lake.landing.tables import landing_columns
from lotus_lake.project.lineage import (
    Input,
    ModelLineage,
    UnresolvedLineageError,
    read_query,
)
from lotus_lake.project.manifest import ensure_manifest, load_models
from lotus_lake.project.rendering import render_model

PROJECT = Path(__file__).resolve().parents[3]
TABLES = {
    "main": {
        "orders": ["order_id", "customer_id", "amount", "placed_at"],
        "lines": ["order_id", "sku", "price", "tags"],
        "customers": ["customer_id", "email"],
    },
    "staging": {"stg_shop__orders": ["id", "customer", "lines"]},
}


def _lineage(sql: str) -> ModelLineage:
    return ModelLineage("fct_x", sql, TABLES)


def _origins(sql: str, column: str) -> list[str]:
    return [str(origin) for origin in _lineage(sql).origins(column)]


@pytest.fixture(scope="module")
def own() -> dict[str, ModelLineage]:
    """The lineage of each model of this project."""
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)})
    streams, _ = load_streams(settings.streams_dir)
    tables: dict[str, dict[str, list[str]]] = {
        "staging": {
            stream.landing_table: [
                *landing_columns(stream, source_schema(settings.sources_dir, stream))
            ]
            for stream in streams
        },
        "main": {},
    }
    manifest = ensure_manifest(PROJECT)
    found = {}
    models = load_models(manifest)
    order = TopologicalSorter({name: model.parents for name, model in models.items()})
    for model in map(models.__getitem__, order.static_order()):
        found[model.name] = ModelLineage(model.name, render_model(manifest, model.name), tables)
        tables["main"][model.name] = found[model.name].columns
    return found


def test_every_column_of_every_own_model_is_resolved(own: dict[str, ModelLineage]) -> None:
    assert len(own) == 12
    assert sum(len(lineage.columns) for lineage in own.values()) > 120
    # Nothing but literals: what kind of row it is.
    assert [
        (name, column)
        for name, lineage in own.items()
        for column in lineage.columns
        if not lineage.origins(column)
    ] == [("fct_campaign_touches", "touch_type")]


def test_total_sales_reaches_refunds_and_orders(own: dict[str, ModelLineage]) -> None:
    assert [str(origin) for origin in own["fct_sales"].origins("total_sales")] == [
        "int_shopify__order_refunds.returns",
        "int_shopify__orders.discounts",
        "int_shopify__orders.gross_sales",
        "int_shopify__orders.shipping",
        "int_shopify__orders.taxes",
    ]
    (returns,) = own["int_shopify__order_refunds"].origins("returns")
    assert str(returns) == "stg_shopify__order_refunds.transactions"
    (shipping,) = own["int_shopify__orders"].origins("shipping")
    assert str(shipping) == "stg_shopify__orders.total_shipping_price_set.shop_money.amount"


def test_a_mart_carries_the_key_of_what_it_joins(own: dict[str, ModelLineage]) -> None:
    orders, refunds = own["fct_sales"].inputs()
    assert refunds == Input("int_shopify__order_refunds", {"order_id": ("order_id",)})
    assert orders.carried["order_id"] == ("order_id",)
    assert "gross_sales" not in orders.carried  # coalesced
    (landed,) = own["int_shopify__orders"].inputs()  # the anti join of newest_wins only chooses
    assert landed.table == "stg_shopify__orders"
    assert landed.carried["customer_id"] == ("customer", "id")
    assert "taxes" not in landed.carried  # converted


def test_the_cte_with_all_versions_is_found_and_the_query_behind_it_cut_off(
    own: dict[str, ModelLineage],
) -> None:
    sql = render_model(ensure_manifest(PROJECT), "int_shopify__orders")
    query = read_query("int_shopify__orders", sql)
    assert own["int_shopify__orders"].holder({"_lake_row_id", "order_id"}) == "converted"
    assert own["int_shopify__orders"].holder({"nothing"}) is None
    assert ("staging", "stg_shopify__orders") in query.tables
    assert sql.split() == [*query.ctes.split(), "select", "*", "from", "newest"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select amount * 2 as x from main.orders", ["orders.amount"]),
        ("select 1 as x", []),
        ("select o.amount + l.price as x from main.orders o join main.lines l using (order_id)",
         ["lines.price", "orders.amount"]),
        ("with a as (select * from main.orders), b as (select *, amount as x from a) "
         "select * from b", ["orders.amount"]),
        ("select amount as x from main.orders union all select price from main.lines",
         ["lines.price", "orders.amount"]),
        ("(select amount as x from main.orders) union (select price from main.lines)",
         ["lines.price", "orders.amount"]),
        ("select sku as s, price as x from main.lines union by name "
         "select amount as x, 'a' as s from main.orders",
         ["lines.price", "orders.amount"]),
        ("select amount as x from main.orders except select price from main.lines",
         ["orders.amount"]),
        ("select lag(amount) over (partition by customer_id order by placed_at) as x "
         "from main.orders", ["orders.amount", "orders.customer_id", "orders.placed_at"]),
        ("select (select max(price) from main.lines l where l.order_id = o.order_id) as x "
         "from main.orders o", ["lines.price"]),
        ("select customer.address.city as x from staging.stg_shop__orders",
         ["stg_shop__orders.customer.address.city"]),
        ("with l as (select customer as c from staging.stg_shop__orders) select c.id as x from l",
         ["stg_shop__orders.customer.id"]),
        ("select line.price as x from staging.stg_shop__orders o, unnest(o.lines) as u(line)",
         ["stg_shop__orders.lines"]),
        ("select list_sum(list_transform(lines, lambda l: l.price)) as x "
         "from staging.stg_shop__orders", ["stg_shop__orders.lines"]),
        ("select rowid as x from staging.stg_shop__orders", ["stg_shop__orders.rowid"]),
        ("select * replace (amount / 2 as amount) rename (amount as x) from main.orders",
         ["orders.amount"]),
        ("select AMOUNT as X from MAIN.ORDERS", ["orders.amount"]),
        ("select case when c.email is null then 0 else o.amount end as x "
         "from main.orders o left join main.customers c on c.customer_id = o.customer_id",
         ["customers.email", "orders.amount"]),
    ],
)  # fmt: skip
def test_what_a_column_is_computed_from(sql: str, expected: list[str]) -> None:
    assert _origins(sql, "x") == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select order_id, amount + 1 as amount from main.orders",
         [("orders", {"order_id": "order_id"})]),
        ("select o.order_id as id, max(l.sku) as sku from main.orders o "
         "left join main.lines l on o.order_id = l.order_id group by o.order_id",
         [("orders", {"id": "order_id"}), ("lines", {"id": "order_id"})]),
        ("select coalesce(o.order_id, l.order_id) as id from main.orders o "
         "full join main.lines l on o.order_id = l.order_id",
         [("orders", {"id": "order_id"}), ("lines", {"id": "order_id"})]),
        ("select o.order_id from main.orders o, main.lines l where o.order_id = l.order_id",
         [("orders", {"order_id": "order_id"}), ("lines", {"order_id": "order_id"})]),
        ("select o.order_id from main.orders o semi join main.lines l on o.order_id = l.order_id",
         [("orders", {"order_id": "order_id"})]),
        ("select o.order_id, c.email from main.orders o join main.customers c "
         "on c.customer_id = o.customer_id and c.email <> ''",
         [("orders", {"order_id": "order_id"}), ("customers", {"email": "email"})]),
        ("select order_id as a from main.orders union all select order_id from main.lines",
         [("orders", {"a": "order_id"}), ("lines", {"a": "order_id"})]),
        ("select order_id, (select max(price) from main.lines) as x from main.orders",
         [("orders", {"order_id": "order_id"}), ("lines", {})]),
        ("select a.order_id, b.order_id as later from main.orders a join main.orders b "
         "on a.customer_id = b.customer_id",
         [("orders", {"order_id": "order_id"}), ("orders", {"later": "order_id"})]),
        ("select order_id::varchar as order_id from main.orders", [("orders", {})]),
    ],
)  # fmt: skip
def test_what_a_model_carries_unchanged(
    sql: str, expected: list[tuple[str, dict[str, str]]]
) -> None:
    found = [
        (read.table, {name: ".".join(path) for name, path in read.carried.items()})
        for read in _lineage(sql).inputs()
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select * from main.unknown_table", "columns are not known"),
        ("select a.x from main.orders a", "Unknown column: x"),
        ("select x from main.orders o join main.lines l using (order_id)", "which table has x"),
        ("select * from read_parquet('x.parquet')", "columns are not known"),
        ("select x from read_parquet('x.parquet')", "which is not a table"),
        ("with recursive r as (select 1 as x union all select x + 1 from r) select x from r",
         "recursive"),
        ("select * from (pivot main.lines on sku using sum(price))", "pivot"),
        ("drop table x", "not a query"),
        ("select from where", "cannot be analysed"),
        ("select 1 as y", "no column x"),
    ],
)  # fmt: skip
def test_what_is_not_resolved_is_said_by_name(sql: str, said: str) -> None:
    with pytest.raises(UnresolvedLineageError, match=f"^fct_x: .*{said}"):
        _resolve_all(sql)


def _resolve_all(sql: str) -> None:
    lineage = _lineage(sql)
    assert lineage.columns
    lineage.origins("x")
