"""What is read from messages, and which streams they name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake.bucket.keys import is_of
from lotus_lake.bucket.notifications import Hints, Message, named_objects

KEY = "raw/shop/orders/year=2026/a b+c (Łódź).parquet"
ENCODED = "raw/shop/orders/year%3D2026/a+b%2Bc+%28%C5%81%C3%B3d%C5%BA%29.parquet"


def record(key: str = ENCODED, bucket: str = "landing") -> dict[str, Any]:
    """As S3 sends it, with what is not read."""
    return {
        "eventVersion": "2.1",
        "eventName": "ObjectCreated:CompleteMultipartUpload",
        "s3": {
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": 17, "eTag": "0f", "sequencer": "00"},
        },
    }


DIRECT = {"Records": [record()]}
BY_SNS = {"Type": "Notification", "TopicArn": "arn", "Message": json.dumps(DIRECT)}
BY_EVENTBRIDGE = {
    "version": "0",
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {"bucket": {"name": "landing"}, "object": {"key": KEY, "size": 17}},
}
BY_BOTH = {"Type": "Notification", "Message": json.dumps(BY_EVENTBRIDGE)}


@pytest.mark.parametrize("document", [DIRECT, BY_SNS, BY_EVENTBRIDGE, BY_BOTH])
def test_a_key_is_read_however_it_came(document: dict[str, Any]) -> None:
    assert named_objects(json.dumps(document)) == [("landing", KEY)]


def test_every_record_of_a_message_is_read() -> None:
    document = {"Records": [record("a"), record("b", "other")]}
    assert named_objects(json.dumps(document)) == [("landing", "a"), ("other", "b")]


def test_the_test_event_names_nothing() -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "landing"}
    assert named_objects(json.dumps(event)) == []
    assert named_objects(json.dumps({"Type": "Notification", "Message": json.dumps(event)})) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"Records": ' + "9" * 5000 + "}", "not JSON"),
        ('{"a": "' + "x" * 262_144 + '"}', "more than 262,144 characters"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "not an event notification of S3"),
        ('{"Records": {}}', "not an event notification of S3"),
        ('{"Records": [1]}', "not an event notification of S3"),
        ('{"Records": [{"s3": null}]}', "not an event notification of S3"),
        (json.dumps({"Records": [record(key=None)]}), "not an event notification"),  # type: ignore[arg-type]
        (json.dumps({"Records": [record(), {}]}), "not an event notification of S3"),
        ('{"detail": {"bucket": "landing", "object": "a"}}', "not an event notification of S3"),
        ('{"Type": "Notification", "Message": "hello"}', "not JSON"),
        ('{"Type": "SubscriptionConfirmation", "Token": "2336"}', "not an event notification"),
    ],
)
def test_of_any_other_message_it_is_said_why_and_how_it_begins(body: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        named_objects(body)
    assert str(caught.value).endswith(repr(body[:80]))
    assert len(str(caught.value)) < 200


def hints(*messages: list[str]) -> Hints:
    """Messages with these keys."""
    return Hints([Message(str(number), keys, 1) for number, keys in enumerate(messages)], 0.0)


def taken(some: Hints) -> list[bool]:
    return [message.is_taken for message in some.messages]


def own(_key: str) -> bool:
    return True


def test_a_message_wakes_every_stream_of_nested_prefixes() -> None:
    some = hints(["raw/shop/orders/old/1.parquet"])
    assert some.take("raw/shop/orders/", own)
    assert some.take("raw/shop/orders/old/", own)
    assert not some.take("raw/shop/order/", own)
    assert not some.take("raw/shop/orders/old/1.parquet/", own)


def test_of_streams_in_one_folder_it_wakes_the_one_whose_pattern_it_is() -> None:
    some = hints(["raw/flat/carts_old_2026_03_10_0.parquet"])
    carts, old = r"raw/flat/carts_\d{4}_.*", r"raw/flat/carts_old_\d{4}_.*"
    assert not some.take("raw/flat/carts_", lambda key: is_of(carts, key))
    assert taken(some) == [False]
    assert some.take("raw/flat/carts_old_", lambda key: is_of(old, key))
    assert taken(some) == [True]


names = st.text("ab/", max_size=5)


@given(st.lists(st.lists(names, max_size=4), max_size=6), names, names)
def test_a_message_is_taken_by_those_whose_keys_it_names(
    messages: list[list[str]], prefix: str, end: str
) -> None:
    some = hints(*messages)
    expected = [
        any(key.startswith(prefix) and key.endswith(end) for key in keys) for keys in messages
    ]
    assert some.take(prefix, lambda key: key.endswith(end)) is any(expected)
    assert taken(some) == expected
