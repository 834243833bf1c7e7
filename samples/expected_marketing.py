"""What the enriched tables of marketing must hold, computed from the rows of the processed ones.

* `fct_campaign_touches`: one row per event and per order. It belongs to the sent campaign with the
  latest `send_time` up to it, if that is less than seven days ago; of two with the same time, to
  the one with the smaller id. The profile of an order is the smallest id of those with the
  customer's address, whatever its case. `revenue` is gross sales minus discounts; 0 for an event, a
  test order and a cancelled order.
* `fct_campaign_performance`: sums of these per campaign and day in UTC, for days with a touch.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from samples.timeline import Record

INPUTS = (
    "int_klaviyo__campaigns",
    "int_klaviyo__events",
    "int_klaviyo__profiles",
    "int_shopify__customers",
    "int_shopify__orders",
)
_WEEK = timedelta(days=7)
_PLACES = Decimal("0.0001")
Tables = Mapping[str, Sequence[Record]]


def touches(tables: Tables) -> list[Record]:
    """Return the rows of `fct_campaign_touches`, in the order of their key."""
    sent = [
        (campaign["send_time"], campaign["campaign_id"])
        for campaign in tables["int_klaviyo__campaigns"]
        if campaign["status"] == "Sent" and campaign["send_time"]
    ]
    profiles = _profiles(tables)
    rows = [
        _touch("event", event["event_id"], event["event_datetime"], event["profile_id"], sent)
        for event in tables["int_klaviyo__events"]
    ]
    for order in tables["int_shopify__orders"]:
        profile = profiles.get(order["customer_id"])
        row = _touch("order", order["order_id"], order["order_date"], profile, sent)
        rows.append(row | {"order_id": order["order_id"], "revenue": _revenue(order)})
    return sorted(rows, key=lambda row: str(row["touch_id"]))


def performance(tables: Tables) -> list[Record]:
    """Return the rows of `fct_campaign_performance`, in the order of all their columns."""
    campaigns = {row["campaign_id"]: row for row in tables["int_klaviyo__campaigns"]}
    days: dict[tuple[str, object], list[Record]] = {}
    for touch in touches(tables):
        if touch["campaign_id"] is not None:
            days.setdefault((touch["campaign_id"], touch["touched_date"]), []).append(touch)
    rows = [
        {
            "campaign_id": campaign_id,
            "campaign_name": campaigns[campaign_id]["campaign_name"],
            "channel": campaigns[campaign_id]["channel"],
            "events_count": sum(touch["touch_type"] == "event" for touch in day),
            "active_profiles_count": len({touch["profile_id"] for touch in day} - {None}),
            "orders_count": sum(touch["touch_type"] == "order" for touch in day),
            "revenue": sum((touch["revenue"] for touch in day), Decimal(0)),
            "performance_date": date,
        }
        for (campaign_id, date), day in days.items()
    ]
    return sorted(rows, key=lambda row: tuple(row.values()))


def _profiles(tables: Tables) -> dict[int, str]:
    """Profile of each customer that Klaviyo knows."""
    by_email: dict[str, str] = {}
    for profile in tables["int_klaviyo__profiles"]:
        if profile["email"]:
            email = profile["email"].lower()
            by_email[email] = min(profile["profile_id"], by_email.get(email, "~"))
    return {
        customer["customer_id"]: by_email[customer["email"].lower()]
        for customer in tables["int_shopify__customers"]
        if customer["email"] and customer["email"].lower() in by_email
    }


def _touch(
    kind: str,
    number: object,
    moment: datetime,
    profile_id: str | None,
    sent: Sequence[tuple[datetime, str]],
) -> Record:
    before = [time for time, _ in sent if time <= moment]
    latest = max(before, default=None)
    is_recent = latest is not None and moment < latest + _WEEK
    return {
        "touch_id": f"{kind} {number}",
        "campaign_id": min(c for time, c in sent if time == latest) if is_recent else None,
        "profile_id": profile_id,
        "order_id": None,
        "touch_type": kind,
        "revenue": Decimal(0).quantize(_PLACES),
        "touched_date": moment.astimezone(UTC).date(),
        "touched_at": moment,
    }


def _revenue(order: Record) -> Decimal:
    if order["is_test_order"] or order["cancelled_at"]:
        return Decimal(0).quantize(_PLACES)
    revenue: Decimal = order["gross_sales"] - order["discounts"]
    return revenue.quantize(_PLACES)
