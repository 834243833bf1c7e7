"""Amounts of money in the sample sources: exact decimals, until Airbyte makes floats of them."""

from decimal import ROUND_HALF_UP, Decimal

from samples.timeline import Record

_CENT = Decimal("0.01")
_RATES = {"EUR": Decimal(1), "GBP": Decimal("0.86"), "USD": Decimal("1.08")}


def cents(amount: int) -> Decimal:
    """Return a whole number of cents as an amount with two places."""
    return (Decimal(amount) / 100).quantize(_CENT)


def share(amount: Decimal, percent: int) -> Decimal:
    """Return some percent of an amount, rounded half up to the cent."""
    return (amount * percent / 100).quantize(_CENT, ROUND_HALF_UP)


def money_set(amount: Decimal, currency: str) -> Record:
    """Return Shopify's pair of amounts: in the shop's euros, and in the buyer's currency."""
    shown = (amount * _RATES[currency]).quantize(_CENT, ROUND_HALF_UP)
    return {
        "shop_money": {"amount": amount, "currency_code": "EUR"},
        "presentment_money": {"amount": shown, "currency_code": currency},
    }
