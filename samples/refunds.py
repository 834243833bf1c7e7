"""Refunds of the sample Shopify shop."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from random import Random

from samples import words
from samples.money import cents, money_set, share
from samples.timeline import Record


def refund_record(
    rng: Random, refund_id: int, order: Record, refunded_at: datetime, amounts: Sequence[Decimal]
) -> Record:
    """Build one refund of an order.

    Args:
        rng: Draws the goods that come back.
        refund_id: The refund's id.
        order: The order as it was placed.
        refunded_at: When the money went back.
        amounts: One transaction each; none for goods that are taken back without a payment.
    """
    currency = order["total_shipping_price_set"]["presentment_money"]["currency_code"]
    lines = [_line(rng, refund_id + n, currency) for n in range(rng.randint(1, 2))]
    return {
        "id": refund_id,
        "order_id": order["id"],
        "created_at": refunded_at,
        "refund_line_items": lines,
        "transactions": [
            _transaction(rng, refund_id + n, order, refunded_at, amount)
            for n, amount in enumerate(amounts)
        ],
    }


def _line(rng: Random, line_id: int, currency: str) -> Record:
    product = rng.choice(words.PRODUCTS)
    price = cents(product.price_cents)
    tax = share(price, 19)
    return {
        "id": line_id + 500_000_000_000,
        "line_item_id": line_id + 600_000_000_000,
        "location_id": 70_001,
        "quantity": 1,
        "restock_type": rng.choice(("return", "no_restock", "cancel")),
        "subtotal": price,
        "subtotal_set": money_set(price, currency),
        "total_tax": tax,
        "total_tax_set": money_set(tax, currency),
        "line_item": {
            "id": line_id + 600_000_000_000,
            "sku": f"LL-{words.PRODUCTS.index(product):03}",
            "name": f"{product.title} - {product.variant}",
            "title": product.title,
            "vendor": product.vendor,
            "variant_title": product.variant,
            "grams": product.grams,
            "price": price,
            "price_set": money_set(price, currency),
            "quantity": rng.randint(1, 2),
            "taxable": True,
            "gift_card": False,
            "total_discount": Decimal(0),
            "total_discount_set": money_set(Decimal(0), currency),
            "fulfillment_status": rng.choice(("fulfilled", None)),
            "requires_shipping": True,
            "product_exists": True,
            "properties": rng.choice(([], ["gift wrap", None], ['note: "fragile"'])),
            "duties": [],
            "tax_lines": [
                {
                    "title": "MwSt. 19 %",
                    "rate": Decimal("0.19"),
                    "price": tax,
                    "price_set": money_set(tax, currency),
                    "channel_liable": None,
                }
            ],
            "discount_allocations": None,
        },
    }


def _transaction(
    rng: Random, transaction_id: int, order: Record, refunded_at: datetime, amount: Decimal
) -> Record:
    return {
        "id": transaction_id + 900_000_000_000,
        "order_id": order["id"],
        "parent_id": order["id"] + 1,
        "amount": str(amount),
        "currency": "EUR",
        "kind": "refund",
        "status": "success",
        "gateway": rng.choice(("shopify_payments", "paypal")),
        "message": rng.choice((None, "Transaction approved", "Remboursement accepté")),
        "test": order["test"],
        "created_at": refunded_at.isoformat(),
        "processed_at": refunded_at.isoformat(),
        "source_name": "1830279",
        "receipt": {"paid_amount": str(amount)},
        "payment_details": {
            "credit_card_company": "Visa",
            "credit_card_number": "•••• •••• •••• 4242",
            "credit_card_expiration_year": 2029,
            "credit_card_expiration_month": 4,
        },
    }
