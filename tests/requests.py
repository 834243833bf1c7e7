"""Counting the requests that a boto3 client makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@contextlib.contextmanager
def counted(client: S3Client, operation: str = "") -> Iterator[list[str]]:
    """The names of the operations that the client sends in the block, retries included.

    Args:
        client: S3 client.
        operation: Only this one, such as `ListObjectsV2`.
    """
    sent: list[str] = []

    def note(request: Any, event_name: str, **_: Any) -> None:
        sent.append(event_name.rsplit(".", 1)[-1])

    event = ".".join(["before-send.s3", operation]).rstrip(".")
    client.meta.events.register(event, note)
    try:
        yield sent
    finally:
        client.meta.events.unregister(event, note)
