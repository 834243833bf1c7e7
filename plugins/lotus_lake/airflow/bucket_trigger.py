"""The wait of a stream in the triggerer: the bucket is listed until its window has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from lotus_lake.airflow.connections import AWS_CONN_ID, use_embedded_s3
from lotus_lake.bucket.keys import is_of
from lotus_lake.bucket.objects import (
    ANSWER_SECONDS,
    Fingerprint,
    client_errors,
    list_request,
    listing_error,
    page_objects,
    read_listings_fast,
)
from lotus_lake.errors import StorageUnavailableError

_CLIENT_SECONDS = 600
# How often a waiting run asks whether another run of its Dag is queued behind it; all runs that
# wait in a triggerer ask this often in a second, at most: each question is one to Airflow's server.
_QUEUE_SECONDS = 20
_QUESTIONS_A_SECOND = 5
QUEUED = "another run of the Dag is queued and takes over"

log = logging.getLogger(__name__)
_waiting: set[BucketChangedTrigger] = set()


class BucketChangedTrigger(BaseTrigger):
    """Fires when the listing of a window differs from the one that a sensor saw.

    It runs in the triggerer with thousands of others, so it does not open the lake.

    Args:
        bucket: Bucket of the raw files.
        prefix: Prefix of the stream.
        start_after: Exclusive lower bound of the window.
        fingerprint: What the sensor saw, see `lotus_lake.bucket.objects.Fingerprint`.
        poke_interval: Seconds between two listings.
        aws_conn_id: Airflow connection; `None` for boto3's own chain.
        region_name: Region, if not that of the connection.
        verify: As in boto3.
        wake_at: When to fire even without a change, in seconds since 1970.
        dag_id: Dag of which a queued run ends the wait; `None` to wait whatever is queued.
        pattern: Regular expression of the stream's keys, where others lie below its prefix.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        start_after: str | None,
        fingerprint: str,
        poke_interval: float,
        aws_conn_id: str | None = AWS_CONN_ID,
        region_name: str | None = None,
        verify: bool | str | None = None,
        wake_at: float | None = None,
        dag_id: str | None = None,
        pattern: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "bucket": bucket,
            "prefix": prefix,
            "start_after": start_after,
            "fingerprint": fingerprint,
            "poke_interval": poke_interval,
            "aws_conn_id": aws_conn_id,
            "region_name": region_name,
            "verify": verify,
            "wake_at": wake_at,
            "dag_id": dag_id,
            "pattern": pattern,
        }
        self._asks_at = time.monotonic() + _QUEUE_SECONDS if dag_id else float("inf")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: strings and numbers only."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, list, compare; a listing that fails is an event of its own."""
        yield await self._event_after(self._poll())

    async def _event_after(self, wait: Awaitable[None]) -> TriggerEvent:
        """What a wait that ends is reported as."""
        event = {"status": "changed"}
        _waiting.add(self)
        try:
            await wait
        except AirflowSkipException:
            event = {"status": "queued"}
        except StorageUnavailableError as error:
            event = {"status": "error", "message": str(error)}
        except client_errors(OSError) as error:
            message = str(listing_error(self.arguments["bucket"], self.arguments["prefix"], error))
            event = {"status": "error", "message": message}
        finally:
            _waiting.discard(self)
        return TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _poll(self) -> None:
        """Wait until a listing differs, or `wake_at` has come.

        Raises:
            AirflowSkipException: Another run of the Dag is queued.
        """
        while True:
            # A client for each listing would cost CPU; one for good would miss new keys.
            async with await self._client() as client:
                renewed_at = time.monotonic() + _CLIENT_SECONDS
                while time.monotonic() < renewed_at:
                    await self._pause(float(self.arguments["poke_interval"] or 0))
                    if self._has_to_wake() or await self._differs(client):
                        return

    async def _pause(self, seconds: float, unless: asyncio.Future[Any] | None = None) -> None:
        """Sleep until the next listing, or until a future is done.

        Raises:
            AirflowSkipException: Another run of the Dag is queued.
        """
        until, early = time.monotonic() + seconds, unless or asyncio.Future[None]()
        while (now := time.monotonic()) < until and not early.done():
            await asyncio.wait([early], timeout=max(min(until, self._asks_at) - now, 0))
            if self.arguments["dag_id"] and time.monotonic() >= self._asks_at:
                await sync_to_async(skip_if_queued)(self.arguments["dag_id"])
                self._asks_at = time.monotonic() + question_seconds(len(_waiting))

    async def _client(self) -> Any:
        use_embedded_s3()
        hook = S3Hook(
            aws_conn_id=self.arguments["aws_conn_id"],
            region_name=self.arguments["region_name"],
            verify=self.arguments["verify"],
        )
        return await hook.get_async_conn()  # type: ignore[no-untyped-call]

    def _has_to_wake(self) -> bool:
        return time.time() >= (self.arguments["wake_at"] or float("inf"))

    async def _differs(self, client: Any) -> bool:
        """Whether the listing is another than the one that the sensor saw."""
        read_listings_fast(client)
        digest = Fingerprint()
        request = list_request(
            *(self.arguments[name] for name in ("bucket", "prefix", "start_after"))
        )
        pages = aiter(client.get_paginator("list_objects_v2").paginate(**request))
        page: Any = {}
        while page is not None:
            digest.update(item for item in page_objects(page) if self._is_own(item.key))
            # Not `wait_for`: that of Python 3.11 may swallow the end of the trigger.
            async with asyncio.timeout(ANSWER_SECONDS):
                page = await anext(pages, None)
        return digest.text() != str(self.arguments["fingerprint"])

    def _is_own(self, key: str) -> bool:
        """Whether a key below the prefix is the stream's."""
        pattern = self.arguments["pattern"]
        return not pattern or is_of(pattern, key)


def question_seconds(waiting: int) -> float:
    """Seconds between two questions of a run for queued ones, when so many wait in a triggerer."""
    return max(_QUEUE_SECONDS, waiting / _QUESTIONS_A_SECOND)


def skip_if_queued(dag_id: str) -> None:
    """End a wait in favour of a run that waits for this one to end.

    Raises:
        AirflowSkipException: A run of the Dag is queued.
    """
    try:
        queued = RuntimeTaskInstance.get_dr_count(dag_id, states=["queued"])
    except AirflowRuntimeError as error:
        log.warning("cannot ask whether a run of %s is queued: %s", dag_id, error)
        return
    if queued:
        raise AirflowSkipException(QUEUED)
