"""The wait of a stream to which S3's event notifications come, through a queue of SQS.

An event is a hint to list now: it lands nothing by itself, and the poll goes on at a long interval.
One reader of the queue serves all streams of a triggerer. It begins to read after a stream has
subscribed to it, and each wait lists once after that: what comes before is in this listing, what
comes later is in the queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from typing import Any

from airflow.providers.amazon.aws.hooks.sqs import SqsHook
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer
from asgiref.sync import sync_to_async
from botocore.config import Config
from structlog.contextvars import clear_contextvars

from lotus_lake.airflow.bucket_trigger import BucketChangedTrigger
from lotus_lake.bucket.notifications import Hints, Message, named_objects, queue_address
from lotus_lake.quantities import counted

# SQS answers at once if it has messages, and to one receive with ten of them at most.
_LONG_POLL_SECONDS = 20
_RECEIVED = 10
# Streams are woken at most this often, each time for all messages that have come.
_PACE_SECONDS = 0.5
_MESSAGES = 1000
# After this time a message that was not deleted comes back.
_HIDDEN_SECONDS = 30
# A message that no stream of this triggerer waits for may be for one of another triggerer.
_OFFERS = 8
_OFFERED_AGAIN_SECONDS = 1
# Streams hear this often that the queue answers; without it, they poll as if there were no events.
_SIGN_OF_LIFE_SECONDS = 60
_SILENCE_SECONDS = 180
_RETRY_SECONDS = 15
_ANSWER_SECONDS = 60
_REPORT_SECONDS = 600
_READ, _DELETED = "read", "deleted"

log = logging.getLogger(__name__)


class BucketEventsTrigger(BucketChangedTrigger, BaseEventTrigger):
    """Fires like `BucketChangedTrigger`, and lists as soon as a message names a key of the stream.

    Args:
        queue_url: Queue to which the bucket's notifications go.
        poll_seconds: Seconds between two listings while the queue is read.
        arguments: As of `BucketChangedTrigger`; `poke_interval` counts while it is not.
    """

    supports_triggerer_queue = True  # it belongs to a task, as BucketChangedTrigger does

    def __init__(self, queue_url: str, poll_seconds: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.arguments |= {"queue_url": queue_url, "poll_seconds": poll_seconds}
        self._hint: asyncio.Future[Hints] | None = None
        self._is_late = False
        self._began_at = self._heard_at = 0.0

    def shared_stream_key(self) -> Hashable:
        """Streams with the same key share a reader."""
        names = ("queue_url", "bucket", "aws_conn_id", "verify")
        return ("lotus_lake", *(self.arguments[name] for name in names))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> QueueReader:
        """The reader, which deletes a message after the events that it led to are stored."""
        # Otherwise Airflow would write the reader's log into that of the first stream.
        clear_contextvars()
        return QueueReader(
            kwargs["queue_url"], kwargs["bucket"], kwargs["aws_conn_id"], kwargs["verify"]
        )

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Hints]
    ) -> AsyncIterator[TriggerEvent]:
        """List at once, at each hint, and at long intervals."""
        yield await self._event_after(self._listen(shared_stream))

    async def _listen(self, stream: AsyncIterator[Hints]) -> None:
        """Wait until a listing differs, or `wake_at` has come.

        Raises:
            AirflowSkipException: Another run of the Dag is queued.
        """
        self._began_at = self._heard_at = time.monotonic()
        try:
            while True:
                listed_at = time.monotonic()
                if await self._differs_now():
                    if self._is_late:
                        log.warning("the poll found a change that no notification has told of")
                    return
                if not await self._has_to_list(stream, listed_at):
                    return
        finally:
            if self._hint:
                self._hint.cancel()

    async def _has_to_list(self, stream: AsyncIterator[Hints], listed_at: float) -> bool:
        """Wait for a hint, or for the time of a listing; `False` if there is a reason to fire."""
        while True:
            # To pull the next hint is to be done with the last one, so never before the listing.
            self._hint = self._hint or asyncio.ensure_future(anext(stream))
            await self._pause(self._due_at(listed_at) - time.monotonic(), self._hint)
            if not self._hint.done():
                self._is_late = True
                return not self._has_to_wake()
            pulled, self._hint, self._heard_at = self._hint, None, time.monotonic()
            try:
                hints = pulled.result()
            except Exception as error:  # noqa: BLE001  no failure of the reader is the stream's
                log.warning("no notifications come any more, the bucket is polled: %r", error)
                await self._poll()
                return False
            is_named = hints.take(self.arguments["prefix"], self._is_own)
            # A listing that began after the message came has seen what it tells of.
            if is_named and hints.received_at > listed_at:
                self._is_late = False
                return True

    async def _differs_now(self) -> bool:
        async with await self._client() as client:
            return await self._differs(client)

    def _due_at(self, listed_at: float) -> float:
        """When to list, or to fire, without a hint; by the monotonic clock, as the argument."""
        seconds = float(self.arguments["poke_interval"])
        due_at = min(
            listed_at + max(seconds, float(self.arguments["poll_seconds"])),
            max(listed_at + seconds, self._heard_at + _SILENCE_SECONDS),
        )
        if self.arguments["wake_at"] is None:
            return due_at
        # Not at once if this clock is ahead of the worker's: the worker would send it back at once.
        wake_at = time.monotonic() + float(self.arguments["wake_at"]) - time.time()
        return min(due_at, max(wake_at, self._began_at + seconds))


class QueueReader(SharedStreamProducer):
    """Receives messages for all streams, and deletes those of which the events are stored.

    Whatever happens to the queue is logged, and ends nothing.

    Args:
        queue_url: The queue.
        bucket: Bucket of the keys that streams wait for.
        aws_conn_id: Airflow connection; `None` for boto3's own chain.
        verify: As in boto3.
    """

    def __init__(
        self, queue_url: str, bucket: str, aws_conn_id: str | None, verify: bool | str | None
    ) -> None:
        self._queue_url = queue_url
        self._bucket = bucket
        self._aws_conn_id = aws_conn_id
        self._verify = verify
        self._client: Any = None
        self._told: set[Hints] = set()
        self._problems: dict[str, str] = {}
        self._ignored = self._malformed = 0
        self._last_malformed = ""
        self._reports_at = 0.0

    async def open_stream(self) -> AsyncIterator[tuple[Hints, Hints]]:
        """What comes, and now and then that nothing has come."""
        told_at = 0.0
        while True:
            try:
                hints = await self._receive()
            except Exception as error:  # noqa: BLE001  it would end the reader for all streams
                self._log_change(_READ, error)
                await self._close()  # the next client has the keys of then
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._log_change(_READ)
            self._log_removed()
            if hints.messages or time.monotonic() >= told_at + _SIGN_OF_LIFE_SECONDS:
                told_at = time.monotonic()
                self._told.add(hints)
                yield hints, hints
                await asyncio.sleep(_PACE_SECONDS)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Delete messages that are done with; offer others again, perhaps to another triggerer."""
        done: list[Message] = []
        offered: list[Message] = []
        for item in batch:
            self._told.discard(item.broker_payload)
            for message in item.broker_payload.messages:
                was_offered = message.receive_count >= _OFFERS
                if item.outcome.is_clean and (message.is_taken or not message.keys or was_offered):
                    self._ignored += bool(message.keys) and not message.is_taken
                    done.append(message)
                elif not was_offered:
                    offered.append(message)
        await self._settle(done, offered)

    async def aclose(self) -> None:
        """Leave what no stream has taken to others."""
        left = [message for hints in self._told for message in hints.messages]
        try:
            await self._settle([], [message for message in left if not message.is_taken])
        finally:
            await self._close()

    def get_advance_lane(self, broker_payload: Hints) -> Hashable:
        """No message waits for another one."""
        return id(broker_payload)

    async def _receive(self) -> Hints:
        """Receive what has come, or wait for it."""
        if self._client is None:
            context = await sync_to_async(self._client_context)()
            self._client = await context.__aenter__()
        messages: list[Message] = []
        seconds = _LONG_POLL_SECONDS
        while len(messages) < _MESSAGES:
            # Not `wait_for`: that of Python 3.11 may swallow the end of the reader.
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await self._client.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=_RECEIVED,
                    WaitTimeSeconds=seconds,
                    VisibilityTimeout=_HIDDEN_SECONDS,
                    MessageSystemAttributeNames=["ApproximateReceiveCount"],
                )
            received = answer.get("Messages", [])
            messages += [self._read(item) for item in received]
            if len(received) < _RECEIVED:
                break
            seconds = 0
        return Hints(messages, time.monotonic())

    def _read(self, received: dict[str, Any]) -> Message:
        keys: list[str] = []
        try:
            named = named_objects(received["Body"])
            keys = [key for bucket, key in named if bucket == self._bucket]
            self._ignored += bool(named and not keys)
        except ValueError as error:
            self._malformed += 1
            self._last_malformed = str(error)
        return Message(
            received["ReceiptHandle"],
            keys,
            int(received.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
        )

    async def _settle(self, done: Sequence[Message], offered: Sequence[Message]) -> None:
        """Delete some messages, and let others be received again."""
        again = {"VisibilityTimeout": _OFFERED_AGAIN_SECONDS}
        if self._client is None:
            return  # they come back by themselves
        try:
            for entries in _requests(done):
                await self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            for entries in _requests(offered, again):
                await self._client.change_message_visibility_batch(
                    QueueUrl=self._queue_url, Entries=entries
                )
        except Exception as error:  # noqa: BLE001  it would end the reader for all streams
            self._log_change(_DELETED, error)
        else:
            self._log_change(_DELETED)

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await asyncio.shield(client.close())

    def _log_change(self, what: str, error: Exception | None = None) -> None:
        """Log that something fails, for another reason than before, or that it works again."""
        answer = getattr(error, "response", None) or {}
        code = answer.get("Error", {}).get("Code") or type(error).__name__
        if error is None and self._problems.pop(what, ""):
            log.info("messages of the queue %s are %s again", self._queue_url, what)
        elif error is not None and self._problems.get(what) != code:
            self._problems[what] = code
            log.warning(
                "messages of the queue %s cannot be %s, so streams are polled: %s\n"
                "hint: check LAKE_EVENTS_QUEUE, and that aws_default may sqs:ReceiveMessage, "
                "sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queue",
                self._queue_url, what, str(error) or code,
            )  # fmt: skip

    def _log_removed(self) -> None:
        """Log how many messages were removed without having woken a stream."""
        now, ignored, malformed = time.monotonic(), self._ignored, self._malformed
        if now < self._reports_at or not ignored + malformed:
            return
        self._reports_at, self._ignored, self._malformed = now + _REPORT_SECONDS, 0, 0
        log.info(
            "%s of the queue %s named no key of a stream that waits, %d could not be read%s",
            counted(ignored, "message"), self._queue_url, malformed,
            f", the last of them: {self._last_malformed}" if malformed else "",
        )  # fmt: skip

    def _client_context(self) -> Any:
        endpoint_url, region = queue_address(self._queue_url)
        hook = SqsHook(aws_conn_id=self._aws_conn_id, region_name=region, verify=self._verify)
        session: Any = hook.get_session(hook.region_name or "us-east-1", deferrable=True)
        return session.create_client(
            "sqs",
            endpoint_url=endpoint_url,
            config=hook.config.merge(Config(connect_timeout=10, read_timeout=_ANSWER_SECONDS)),
            verify=hook.verify,
        )


def _requests(
    messages: Sequence[Message], said: Mapping[str, int] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Entries of requests for ten messages each, which is what SQS takes."""
    for first in range(0, len(messages), _RECEIVED):
        yield [
            {"Id": str(number), "ReceiptHandle": message.handle, **(said or {})}
            for number, message in enumerate(messages[first : first + _RECEIVED])
        ]
