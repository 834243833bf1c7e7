"""A shop that Airbyte syncs every hour: new orders, changed ones, refunds; and what comes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pyarrow as pa

from lotus_lake.bucket.keys import partition_path
from tests.feeds import Shape, parquet
from tests.pipeline.driver import PROJECT

FIRST_DAY = date(2026, 3, 1)
STREAMS = ("orders", "order_refunds")
FEEDER = {"lookback_days": 2, "retention_days": 7}
NEW_ORDERS, CHANGED_ORDERS, REFUNDS = 4, 16, 12
# The connection of the refunds is run less often.
REFUND_HOURS = 6

_TIME = pa.timestamp("us", tz="UTC")
_AIRBYTE: Shape = {"_airbyte_raw_id": pa.string(), "_airbyte_extracted_at": _TIME}
_ORDER: Shape = {
    **_AIRBYTE,
    "id": pa.int64(),
    "created_at": _TIME,
    "updated_at": _TIME,
    "financial_status": pa.string(),
    "total_line_items_price": pa.float64(),
}
_REFUND: Shape = {
    **_AIRBYTE,
    "id": pa.int64(),
    "order_id": pa.int64(),
    "created_at": _TIME,
    "transactions": pa.list_(pa.struct({"amount": pa.string()})),
}


def write_streams(folder: Path) -> None:
    """The configs of this repository, with another `feeder`."""
    for name in STREAMS:
        own = PROJECT / "include" / "streams" / "shopify" / f"{name}.json"
        copy = folder / "shopify" / own.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(json.loads(own.read_text()) | {"feeder": FEEDER}))


@dataclass
class Shop:
    """Its records, and the files that a sync writes of them.

    Attributes:
        seed: Chooses what changes.
        history: Orders that the first sync finds.
        totals: Gross sales of every order, as its newest version says.
        returned: What was paid back of an order.
    """

    seed: int
    history: int
    totals: dict[int, int] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)
    _refunds: int = 0
    _rows: int = 0

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)

    def sync(self, hour: int) -> dict[str, bytes]:
        """The files of one sync, by key below the raw prefix; the first one is the backfill."""
        at = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(hours=hour)
        new = self.history if hour == 0 else NEW_ORDERS
        numbers = list(range(len(self.totals), len(self.totals) + new))
        # Most changes are of the last days, some of any time.
        known = len(self.totals)
        for _ in range(CHANGED_ORDERS if known else 0):
            recent = self._chance.random() < 0.7
            numbers.append(self._chance.randrange(max(0, known - 500) if recent else 0, known))
        orders = [self._order(number, at) for number in dict.fromkeys(numbers)]
        path = f"{partition_path(at.date())}/part_{hour % 24}.parquet"
        files = {f"shopify/orders/{path}": parquet(orders, _ORDER)}
        if hour % REFUND_HOURS == 0:
            refunds = [self._refund(at) for _ in range(REFUNDS)]
            files[f"shopify/order_refunds/{path}"] = parquet(refunds, _REFUND)
        return files

    def expected(self) -> list[tuple[int, int, int]]:
        """Order, gross sales and returns of every row of `fct_sales`, in order."""
        return [(key, self.totals[key], self.returned.get(key, 0)) for key in sorted(self.totals)]

    def _order(self, number: int, at: datetime) -> dict[str, Any]:
        self.totals[number] = self._chance.randrange(10, 500)
        return {
            **self._airbyte(at),
            "id": number,
            "created_at": at,
            "updated_at": at,
            "financial_status": self._chance.choice(["paid", "pending", "refunded"]),
            "total_line_items_price": float(self.totals[number]),
        }

    def _refund(self, at: datetime) -> dict[str, Any]:
        order, amount = self._chance.randrange(len(self.totals)), self._chance.randrange(1, 10)
        self.returned[order] = self.returned.get(order, 0) + amount
        self._refunds += 1
        return {
            **self._airbyte(at),
            "id": self._refunds,
            "order_id": order,
            "created_at": at,
            "transactions": [{"amount": str(amount)}],
        }

    def _airbyte(self, at: datetime) -> dict[str, Any]:
        self._rows += 1
        return {"_airbyte_raw_id": str(UUID(int=self._rows)), "_airbyte_extracted_at": at}
