"""What messages say of objects: S3's event notifications, direct or through SNS or EventBridge.

A message is a hint that a listing may have changed, whoever has sent it. Only names are read from
it: sizes and ETags come from the listing alone.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urlsplit

# Above what SQS took until 2025; those of S3 have a thousand.
_MAX_CHARACTERS = 262_144
_SHOWN_CHARACTERS = 80
_REGION = re.compile(r"(?:^|\.)([a-z]{2}(?:-[a-z]+)+-\d+)\.")


def queue_address(url: str) -> tuple[str, str | None]:
    """Endpoint and region of a queue, by its URL; no region if the URL names none.

    The endpoint of the connection is that of the object store, which may be of another vendor.
    """
    parts = urlsplit(url)
    region = _REGION.search(parts.hostname or "")
    return f"{parts.scheme}://{parts.netloc}", region[1] if region else None


def named_objects(body: str) -> list[tuple[str, str]]:
    """Bucket and key of each object that a message names; none if it is S3's test event.

    Raises:
        ValueError: It is no such message; the text says why, and how the message begins.
    """
    try:
        return _objects_of(_document(body))
    except ValueError as error:
        raise ValueError(f"{error}: {body[:_SHOWN_CHARACTERS]!r}") from error


def _document(text: str) -> dict[str, Any]:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"more than {_MAX_CHARACTERS:,} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _objects_of(document: dict[str, Any]) -> list[tuple[str, str]]:
    match document:
        case {"Type": "Notification", "Message": str(message)}:  # SNS
            return _objects_of(_document(message))
        case {"Records": [*records]}:
            return [_object_of(record) for record in records]
        case {"detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            return [(bucket, key)]  # EventBridge does not encode keys
        case {"Event": "s3:TestEvent"}:
            return []
    raise ValueError("not an event notification of S3")


def _object_of(record: Any) -> tuple[str, str]:
    match record:
        case {"s3": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            return bucket, unquote_plus(key)
    raise ValueError("not an event notification of S3")


@dataclass(slots=True)
class Message:
    """A message that was received.

    Attributes:
        handle: What it is deleted by.
        keys: The keys of the bucket that it names.
        receive_count: How often it has been received.
        is_taken: Whether a stream that waits has a key of it.
    """

    handle: str
    keys: Sequence[str]
    receive_count: int
    is_taken: bool = False


class Hints:
    """The keys that some messages name, in order, so that a stream finds its own quickly.

    Args:
        messages: The messages.
        received_at: When the last of them came, by the monotonic clock of this process.
    """

    def __init__(self, messages: Sequence[Message], received_at: float) -> None:
        self.messages = messages
        self.received_at = received_at
        self._named = sorted(
            (key, number) for number, message in enumerate(messages) for key in message.keys
        )

    def take(self, prefix: str, is_own: Callable[[str], bool]) -> bool:
        """Whether a key below a prefix is a stream's own; messages with such a key are taken."""
        found = False
        for at in range(bisect_left(self._named, (prefix,)), len(self._named)):
            key, number = self._named[at]
            if not key.startswith(prefix):
                break
            if is_own(key):
                self.messages[number].is_taken = found = True
        return found
