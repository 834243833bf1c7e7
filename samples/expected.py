"""What the processed and enriched tables must hold, computed from the records themselves.

No SQL and no Parquet is involved, so that the answer is independent of everything it is compared
with.

Of all rows of one primary key the newest wins: the greatest `_airbyte_extracted_at`, then the
greatest value of the stream's cursor field (`updated_at`, `updated`, `created_at` or `datetime`),
then the greatest `_airbyte_raw_id`.

Money is a `Decimal` with four places, a moment an aware datetime in UTC, `properties` the JSON text
of the file.

* `int_shopify__orders`: `order_date` is `created_at`, `is_test_order` is `test`, `gross_sales` is
  `total_line_items_price`, `discounts` is `total_discounts`, `shipping` is the shop's amount in
  `total_shipping_price_set`, `taxes` is `total_tax`. A guest's `customer_id` is null.
* `int_shopify__customers`: `customer_state` is `state`; an erased customer has only nulls beside
  the id and `customer_updated_at`.
* `int_shopify__order_refunds`: one row per refund; `returns` is the sum of its transactions'
  amounts, 0 without any.
* `int_klaviyo__profiles`: `created_at` and `updated_at` are the attributes' `created` and
  `updated`, `postal_code` is the location's `zip`, `historic_orders` is
  `historic_number_of_orders`; the other predictions are floats.
* `int_klaviyo__events`: `event_datetime`, `event_timestamp` (epoch seconds), `event_uuid` and
  `properties` are the attributes' `datetime`, `timestamp`, `uuid` and `event_properties`.
* `int_klaviyo__campaigns`, `__flows`, `__lists`, `__metrics`: everything from `attributes`;
  `is_archived` is `archived`.
* `fct_campaign_touches`, `fct_campaign_performance`: see `samples.expected_marketing`.
* `fct_sales`: one row per order, test orders included; `returns` sums the order's refunds, 0
  without any; `net_sales` = `gross_sales` - `discounts` - `returns`; `total_sales` = `net_sales` +
  `shipping` + `taxes`.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from samples.expected_marketing import INPUTS, performance, touches
from samples.parts import Part, Row
from samples.schemas import json_text
from samples.timeline import Record

ENRICHED = ("fct_sales", "fct_campaign_touches", "fct_campaign_performance")
"""The enriched models."""

_PLACES = Decimal("0.0001")
_MARKETING = {"fct_campaign_touches": touches, "fct_campaign_performance": performance}


def expected_rows(model: str, parts: Iterable[Part]) -> list[Record]:
    """Return a model's rows once `parts` have landed, sorted by the key, its first column.

    Raises:
        ValueError: The model is not one of the nine processed ones or of `ENRICHED`.
    """
    landed = list(parts)
    if model == "fct_sales":
        return _sales(
            expected_rows("int_shopify__orders", landed),
            expected_rows("int_shopify__order_refunds", landed),
        )
    if model in _MARKETING:
        return _MARKETING[model]({name: expected_rows(name, landed) for name in INPUTS})
    if model not in _PROJECTIONS:
        known = ", ".join([*_PROJECTIONS, *ENRICHED])
        raise ValueError(f"no expected rows for {model!r}; hint: one of {known}")
    source, stream = model.removeprefix("int_").split("__")
    rows = (
        row
        for part in landed
        if (part.source, part.stream) == (source, stream)
        for row in part.rows
    )
    records = [_PROJECTIONS[model](row.version.record) for row in _newest(rows)]
    return sorted(records, key=lambda record: next(iter(record.values())))


def _newest(rows: Iterable[Row]) -> Iterable[Row]:
    winners: dict[Any, Row] = {}
    for row in rows:
        record_id = row.version.record["id"]
        if record_id not in winners or _age(row) > _age(winners[record_id]):
            winners[record_id] = row
    return winners.values()


def _age(row: Row) -> tuple[Any, ...]:
    return row.extracted_at, row.version.at, row.raw_id


def _sales(orders: list[Record], refunds: list[Record]) -> list[Record]:
    returned: dict[int, Decimal] = {}
    for refund in refunds:
        order_id = refund["order_id"]
        returned[order_id] = returned.get(order_id, Decimal(0)) + refund["returns"]
    return [_sale(order, returned.get(order["order_id"], Decimal(0))) for order in orders]


def _sale(order: Record, returns: Decimal) -> Record:
    net_sales = order["gross_sales"] - order["discounts"] - returns
    return {
        "order_id": order["order_id"],
        "order_date": order["order_date"],
        "cancelled_at": order["cancelled_at"],
        "is_test_order": order["is_test_order"],
        "financial_status": order["financial_status"],
        "fulfillment_status": order["fulfillment_status"],
        "cancel_reason": order["cancel_reason"],
        "gross_sales": order["gross_sales"],
        "discounts": order["discounts"],
        "returns": returns.quantize(_PLACES),
        "net_sales": net_sales,
        "shipping": order["shipping"],
        "taxes": order["taxes"],
        "total_sales": net_sales + order["shipping"] + order["taxes"],
    }


def _money(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else Decimal(amount).quantize(_PLACES)


def _at(record: Mapping[str, Any] | None, *path: str) -> Any:
    value: Any = record
    for name in path:
        value = None if value is None else value.get(name)
    return value


def _order(record: Record) -> Record:
    return {
        "order_id": record["id"],
        "customer_id": _at(record, "customer", "id"),
        "order_date": _at(record, "created_at"),
        "order_updated_at": _at(record, "updated_at"),
        "cancelled_at": _at(record, "cancelled_at"),
        "is_test_order": _at(record, "test"),
        "financial_status": _at(record, "financial_status"),
        "fulfillment_status": _at(record, "fulfillment_status"),
        "cancel_reason": _at(record, "cancel_reason"),
        "gross_sales": _money(_at(record, "total_line_items_price")),
        "discounts": _money(_at(record, "total_discounts")),
        "shipping": _money(_at(record, "total_shipping_price_set", "shop_money", "amount")),
        "taxes": _money(_at(record, "total_tax")),
    }


def _customer(record: Record) -> Record:
    return {
        "customer_id": record["id"],
        "email": _at(record, "email"),
        "first_name": _at(record, "first_name"),
        "last_name": _at(record, "last_name"),
        "customer_created_at": _at(record, "created_at"),
        "customer_updated_at": _at(record, "updated_at"),
        "orders_count": _at(record, "orders_count"),
        "total_spent": _money(_at(record, "total_spent")),
        "tags": _at(record, "tags"),
        "customer_state": _at(record, "state"),
    }


def _refund(record: Record) -> Record:
    amounts = [Decimal(payment["amount"]) for payment in _at(record, "transactions") or []]
    return {
        "refund_id": record["id"],
        "order_id": _at(record, "order_id"),
        "refunded_at": _at(record, "created_at"),
        "returns": _money(sum(amounts, Decimal(0))),
    }


def _profile(record: Record) -> Record:
    attributes = _at(record, "attributes")
    predicted = _at(attributes, "predictive_analytics")
    names = (
        "total_clv",
        "historic_clv",
        "predicted_clv",
        "churn_probability",
        "average_order_value",
    )
    return {
        "profile_id": record["id"],
        "email": _at(attributes, "email"),
        "phone_number": _at(attributes, "phone_number"),
        "first_name": _at(attributes, "first_name"),
        "last_name": _at(attributes, "last_name"),
        "city": _at(attributes, "location", "city"),
        "region": _at(attributes, "location", "region"),
        "country": _at(attributes, "location", "country"),
        "postal_code": _at(attributes, "location", "zip"),
        "created_at": _at(attributes, "created"),
        "updated_at": _at(attributes, "updated"),
        "last_event_date": _at(attributes, "last_event_date"),
        **{name: _at(predicted, name) for name in names},
        "historic_orders": _at(predicted, "historic_number_of_orders"),
    }


def _event(record: Record) -> Record:
    attributes, relations = _at(record, "attributes"), _at(record, "relationships")
    return {
        "event_id": record["id"],
        "profile_id": _at(relations, "profile", "data", "id"),
        "metric_id": _at(relations, "metric", "data", "id"),
        "event_datetime": _at(attributes, "datetime"),
        "event_timestamp": _at(attributes, "timestamp"),
        "event_uuid": _at(attributes, "uuid"),
        "properties": json_text(_at(attributes, "event_properties")),
    }


def _named(kind: str, *columns: tuple[str, str]) -> Callable[[Record], Record]:
    def project(record: Record) -> Record:
        attributes = _at(record, "attributes")
        named = {f"{kind}_id": record["id"], f"{kind}_name": _at(attributes, "name")}
        return named | {column: _at(attributes, name) for column, name in columns}

    return project


_CREATED = (("created_at", "created"), ("updated_at", "updated"))
_PROJECTIONS: dict[str, Callable[[Record], Record]] = {
    "int_shopify__orders": _order,
    "int_shopify__customers": _customer,
    "int_shopify__order_refunds": _refund,
    "int_klaviyo__profiles": _profile,
    "int_klaviyo__events": _event,
    "int_klaviyo__campaigns": _named(
        "campaign",
        ("status", "status"),
        ("channel", "channel"),
        ("is_archived", "archived"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
        ("scheduled_at", "scheduled_at"),
        ("send_time", "send_time"),
    ),
    "int_klaviyo__flows": _named(
        "flow",
        ("status", "status"),
        ("trigger_type", "trigger_type"),
        ("is_archived", "archived"),
        *_CREATED,
    ),
    "int_klaviyo__lists": _named("list", ("opt_in_process", "opt_in_process"), *_CREATED),
    "int_klaviyo__metrics": _named("metric", *_CREATED),
}
