"""Customers and orders of a sample Shopify shop, with everything that happens to them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

from samples import words
from samples.money import cents, money_set, share
from samples.refunds import refund_record
from samples.timeline import Change, Clock, Record, Timeline, Version, evolve

NULLED = Change("total_spent", "NULLED", "DESTINATION_SERIALIZATION_ERROR")
REFUNDED_AMOUNTS = (Decimal("113.49"), Decimal("98.94"))
# Orders and refunds of a history that starts later have numbers of their own, up to a scale of 80.
_FIRST_DAY = date(2026, 3, 1)
_NUMBERS_A_DAY = 10_000


@dataclass(slots=True)
class Shop:
    """A shop's records: what the regular connection syncs, and what only a catch-up reads."""

    first_number: int
    orders: list[Timeline] = field(default_factory=list)
    customers: list[Timeline] = field(default_factory=list)
    refunds: list[Timeline] = field(default_factory=list)
    archived_orders: list[Timeline] = field(default_factory=list)


@dataclass(slots=True)
class _Customer:
    created_at: datetime
    record: Record
    purchases: list[tuple[datetime, Decimal]] = field(default_factory=list)


def build_shop(seed: int, scale: int, clock: Clock) -> Shop:
    """Simulate a shop up to the end of the clock's days.

    The scripted records of the scenarios come first, with every seed: four orders (refunded twice,
    cancelled late, overtaken by its own update, shipped while it is read) and, per unit of scale,
    five customers whose data are erased.
    """
    rng = Random(f"{seed}/shopify")
    shop = Shop(first_number=_NUMBERS_A_DAY * (clock.start - _FIRST_DAY).days)
    customers = [_customer(rng, n, _long_ago(rng, clock)) for n in range(96 * scale)]
    quiet, buyers = customers[: 5 * scale + 2], customers[5 * scale + 2 :]
    desk = _Desk(rng, shop, buyers)
    desk.script(clock)
    moments = [clock.begin - timedelta(days=rng.uniform(0.02, 90)) for _ in range(300 * scale)]
    moments += [
        clock.begin + rng.random() * (clock.end - clock.begin)
        for _ in range(20 * scale * clock.days)
    ]
    for moment in sorted(moment.replace(microsecond=0) for moment in moments):
        if moment > clock.begin and rng.random() < 0.3:
            buyers.append(_customer(rng, len(quiet) + len(buyers), moment - timedelta(minutes=4)))
        desk.sell(moment)
    shop.archived_orders = [
        evolve(
            _order(rng, shop.first_number - 1 - n, clock.at(-200, minute=-n), None),
            "updated_at",
            [],
        )
        for n in range(8 * scale)
    ]
    shop.customers = [
        _quiet_timeline(customer, n, scale, clock) for n, customer in enumerate(quiet)
    ]
    shop.customers += [_buyer_timeline(customer) for customer in buyers]
    return shop


@dataclass(slots=True)
class _Desk:
    """Takes orders and decides what becomes of them."""

    rng: Random
    shop: Shop
    buyers: list[_Customer]

    def script(self, clock: Clock) -> None:
        """Add the orders that the scenarios speak of."""
        plain: Record = {"test": False, "financial_status": "paid"}
        goods = [words.PRODUCTS[n] for n in (2, 3, 4, 5)]
        twice = self._place(clock.at(-5, 9), goods) | plain
        steps = [self._refund(twice, clock.at(1, 10), REFUNDED_AMOUNTS[:1], "partially_refunded")]
        steps += [self._refund(twice, clock.at(3, 15), REFUNDED_AMOUNTS[1:], "partially_refunded")]
        self.shop.orders.append(evolve(twice, "updated_at", steps))
        cancelled = self._place(clock.at(0, 8), goods) | plain
        steps = [(clock.at(1, 9), {"fulfillment_status": "fulfilled"})]
        steps += [(clock.at(2, 14), self._cancellation(clock.at(2, 14), "customer"))]
        self.shop.orders.append(evolve(cancelled, "updated_at", steps))
        overtaken = self._place(clock.at(1, 20), goods) | plain
        steps = [(clock.at(2, 0, 3), {"fulfillment_status": "fulfilled"})]
        self.shop.orders.append(evolve(overtaken, "updated_at", steps))
        shipped = self._place(clock.at(3, 7), goods) | plain
        steps = [(clock.at(3, 11, 30), {"fulfillment_status": "fulfilled"})]
        self.shop.orders.append(evolve(shipped, "updated_at", steps))

    def sell(self, moment: datetime) -> None:
        """Take an order and add it with its later changes."""
        order = self._place(moment)
        self.shop.orders.append(evolve(order, "updated_at", self._steps(order)))

    def _place(self, moment: datetime, lines: Sequence[words.Product] | None = None) -> Record:
        guest = lines is None and self.rng.random() < 0.04
        buyer = None if guest else self.rng.choice(self.buyers)
        order = _order(
            self.rng,
            self.shop.first_number + 1000 + len(self.shop.orders),
            moment,
            buyer.record if buyer else None,
            lines,
        )
        if buyer is not None:
            buyer.purchases.append((moment, _total(order)))
        return order

    def _steps(self, order: Record) -> list[tuple[datetime, Record]]:
        rng, placed = self.rng, order["created_at"]
        steps: list[tuple[datetime, Record]] = []
        paid = placed
        if order["financial_status"] == "pending":
            paid = placed + timedelta(minutes=rng.randint(30, 900))
            steps.append((paid, {"financial_status": "paid"}))
        shipped = paid + timedelta(minutes=rng.randint(240, 2400))
        if rng.random() < 0.06:
            cancelled = paid + timedelta(minutes=rng.randint(20, 230))
            status = self._cancellation(cancelled, rng.choice(words.CANCEL_REASONS))
            steps.append((cancelled, status))
            steps.append(self._refund(order, cancelled, [_total(order)], "refunded"))
            return steps
        steps.append(
            (shipped, {"fulfillment_status": "fulfilled" if rng.random() < 0.94 else "partial"})
        )
        returned = shipped
        for _ in range(rng.choices((0, 1, 2), (81, 15, 4))[0]):
            returned += timedelta(minutes=rng.randint(600, 9000))
            amounts = [
                share(_total(order), rng.randint(10, 40))
                for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2)))
            ]
            steps.append(self._refund(order, returned, amounts, "partially_refunded"))
        return steps

    def _refund(
        self, order: Record, moment: datetime, amounts: Sequence[Decimal], status: str
    ) -> tuple[datetime, Record]:
        refund_id = 880_000_000_000 + 4_099 * (self.shop.first_number + len(self.shop.refunds))
        record = refund_record(self.rng, refund_id, order, moment, amounts)
        self.shop.refunds.append([Version(moment, record)])
        return moment + timedelta(seconds=2), {"financial_status": status}

    def _cancellation(self, moment: datetime, reason: str) -> Record:
        return {"cancelled_at": moment, "cancel_reason": reason, "fulfillment_status": None}


def _order(
    rng: Random,
    number: int,
    placed: datetime,
    customer: Record | None,
    lines: Sequence[words.Product] | None = None,
) -> Record:
    products = lines or [rng.choice(words.PRODUCTS) for _ in range(rng.randint(1, 4))]
    gross = sum((cents(product.price_cents) for product in products), Decimal(0))
    discounts = cents(int(gross * 100 * Decimal(rng.choice(words.DISCOUNT_RATES))))
    currency = rng.choice(("EUR", "EUR", "EUR", "GBP", "USD"))
    return {
        "id": 5_500_000_000_000 + 32_771 * number,
        "created_at": placed,
        "updated_at": placed,
        "test": rng.random() < 0.03,
        "total_line_items_price": gross,
        "total_discounts": discounts,
        "total_shipping_price_set": money_set(cents(rng.choice(words.SHIPPING_CENTS)), currency),
        "total_tax": cents(int((gross - discounts) * 100 * Decimal(rng.choice(words.TAX_RATES)))),
        "financial_status": rng.choices(("paid", "pending", "authorized"), (85, 12, 3))[0],
        "fulfillment_status": None,
        "cancelled_at": None,
        "cancel_reason": None,
        "customer": customer,
        "currency": "EUR",
    }


def _total(order: Record) -> Decimal:
    shipping: Decimal = order["total_shipping_price_set"]["shop_money"]["amount"]
    goods: Decimal = order["total_line_items_price"] - order["total_discounts"]
    return goods + shipping + Decimal(order["total_tax"])


def _long_ago(rng: Random, clock: Clock) -> datetime:
    moment = clock.at(-120) - timedelta(minutes=rng.randint(0, 400_000))
    return moment.replace(microsecond=0)


def _customer(rng: Random, number: int, created_at: datetime) -> _Customer:
    first, last = rng.choice(words.FIRST_NAMES), rng.choice(words.LAST_NAMES)
    place = rng.choice(words.PLACES)
    record: Record = {
        "id": 6_800_000_000_000 + 16_411 * number,
        "email": f"customer.{number}@example.com",
        "first_name": first,
        "last_name": last if rng.random() < 0.95 else None,
        "created_at": created_at,
        "updated_at": created_at,
        "orders_count": 0,
        "total_spent": Decimal(0),
        "tags": rng.choice(words.CUSTOMER_TAGS),
        "state": rng.choice(("enabled", "disabled", "invited")),
        "currency": "EUR",
        "verified_email": True,
        "default_address": {
            "id": 7_100_000_000_000 + number,
            "customer_id": 6_800_000_000_000 + 16_411 * number,
            "name": f"{first} {last}",
            "address1": f"{rng.choice(words.STREETS)} {rng.randint(1, 180)}",
            "city": place.city,
            "country": place.country,
            "country_code": place.country_code,
            "zip": place.zip_code,
            "default": True,
        },
    }
    return _Customer(created_at, record)


def _buyer_timeline(customer: _Customer) -> Timeline:
    spent = Decimal(0)
    steps: list[tuple[datetime, Record]] = []
    for count, (moment, total) in enumerate(sorted(customer.purchases), start=1):
        spent += total
        patch: Record = {"orders_count": count, "total_spent": spent}
        steps.append((moment + timedelta(seconds=1), patch))
    return evolve(customer.record, "updated_at", steps)


def _quiet_timeline(customer: _Customer, position: int, scale: int, clock: Clock) -> Timeline:
    """Customers who buy nothing: the erased, one with a bad number, one with a twin update."""
    if position < 5 * scale:
        erased = {name: None for name in customer.record if name not in ("id", "updated_at")}
        return evolve(customer.record, "updated_at", [(clock.at(3, 5, position % 60), erased)])
    if position == 5 * scale:
        patch: Record = {"total_spent": None, "tags": "imported"}
        before, after = evolve(customer.record, "updated_at", [(clock.at(2, 9), patch)])
        return [before, Version(after.at, after.record, (NULLED,))]
    return evolve(customer.record, "updated_at", [(clock.at(2, 17), {"tags": "first of two"})])
