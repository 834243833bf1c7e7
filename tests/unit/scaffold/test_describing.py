"""What a column is said to be, where its source does not say it."""

from __future__ import annotations

from typing import Any

import pytest

from lotus_lake.config.stream_config import StreamConfig
from lotus_lake.config.streams import Stream
from lotus_lake.scaffold.columns import model_columns
from lotus_lake.scaffold.describing import described

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
FLAG: dict[str, Any] = {"type": "boolean"}
MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
DAY: dict[str, Any] = {"type": "string", "format": "date"}


def inside(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}}


@pytest.mark.parametrize(
    ("name", "schema", "words"),
    [
        ("id", {"type": "integer"}, "The gift card's id in shop."),
        ("customer_id", {"type": "integer"}, "Id of the customer."),
        ("currency", TEXT, "Currency of the gift card."),
        ("htmlUrl", TEXT, "HTML URL of the gift card."),
        ("balance", NUMBER, "Balance of the gift card."),
        ("line_items_count", NUMBER, "Number of line items of the gift card."),
        ("number_of_uses", NUMBER, "Number of uses of the gift card."),
        ("archived", FLAG, "Whether the gift card is archived."),
        ("has_pin", FLAG, "Whether the gift card has pin."),
        ("created", MOMENT, "When the gift card was created."),
        ("updated_at", MOMENT, "When the gift card was last updated."),
        ("sent_time", MOMENT, "When the gift card was sent."),
        ("expiry_date", MOMENT, "Time of expiry of the gift card."),
        ("due_on", DAY, "Due date of the gift card."),
        ("birthday", DAY, "Birthday of the gift card."),
        ("owner", inside("id", TEXT), "Id of the owner of the gift card."),
        ("owner", inside("email", TEXT), "Email of the owner of the gift card."),
        ("owner", inside("created_at", MOMENT), "When the owner was created."),
        ("owner", inside("verified", FLAG), "Whether the owner is verified."),
        (
            "lines",
            {"type": "array", "items": inside("sku", TEXT)},
            "Lines of the gift card, as JSON text.",
        ),
    ],
)
def test_a_name_and_a_kind_give_a_sentence(name: str, schema: dict[str, Any], words: str) -> None:
    fields = {"uid": TEXT, name: schema}
    config = {"stream": "gift_cards", "primary_key": [["uid"]], "fields": fields}
    columns = model_columns(Stream("shop", "gift_cards", StreamConfig.model_validate(config)), {})
    (column,) = [column for column in columns.columns if column.path[0] == name]
    assert described(column, "gift card", "shop") == words
