"""The sensors of a stream: `wait_for_files` (asks `feeder/work.py`) and `wait_for_sync`.

Airflow's wildcard sensor succeeds as long as any file is there, and lists the whole history when
its check function says no. This one lists only the window that begins `lookback_days` before the
cursor, and compares it with the ledger: at most `1 + ceil(keys in the window / 1000)` requests per
poke.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.sdk.exceptions import (
    AirflowRuntimeError,
    AirflowSkipException,
    TaskDeferralTimeout,
)
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.connections import find_connection
from lotus_lake.airbyte.jobs import running_job
from lotus_lake.airflow.assets import is_published
from lotus_lake.airflow.connections import (
    AWS_CONN_ID,
    airbyte_access,
    existing,
    lake_settings,
    use_embedded_s3,
)
from lotus_lake.airflow.tasks import killed_at_limit
from lotus_lake.bucket.keys import is_of, layout_of
from lotus_lake.bucket.objects import (
    ANSWER_SECONDS,
    Fingerprint,
    RawObject,
    client_errors,
    list_request,
    listing_error,
    page_objects,
    read_listings_fast,
    s3_client,
)
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.errors import StorageUnavailableError
from lotus_lake.feeder.work import Look, look_for_work
from lotus_lake.lake.connection import open_lake

if TYPE_CHECKING:
    from airflow.sdk import Context

_CLIENT_SECONDS = 600
# How often a waiting run checks whether another run of its Dag is queued behind it.
_QUEUE_SECONDS = 20
# For this long after a failed run, waiting models alone are no reason to start; new files are.
_REST_SECONDS = 300
# Types of runs that a person, or another Dag, has asked for.
_ASKED_FOR = ("manual", "operator_triggered")
_QUEUED = "another run of the Dag is queued and takes over"

log = logging.getLogger(__name__)


class NewFilesSensor(S3KeySensor):
    """Waits until ledger, bucket or models show work for a stream.

    A scheduled run waits up to `timeout` and is then skipped, or as soon as another run of the Dag
    is queued: a person who triggers one does not wait for hours. A run started by hand polls once,
    unless its parameter `wait_seconds` says how long to wait.

    Args:
        source: Source of the stream.
        stream: Name of the stream.
        consumers: Processed models of the stream; rows that they have not read are work too.
        deferrable: Wait in the triggerer rather than by rescheduling the task.
        kwargs: As of S3KeySensor.
    """

    def __init__(
        self,
        *,
        source: str,
        stream: str,
        consumers: Sequence[str] = (),
        deferrable: bool = True,
        aws_conn_id: str | None = AWS_CONN_ID,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("soft_fail", True)
        kwargs.setdefault("mode", "poke" if deferrable else "reschedule")
        super().__init__(
            wildcard_match=True, deferrable=deferrable, aws_conn_id=aws_conn_id, **kwargs
        )
        self.source = source
        self.stream = stream
        self.consumers = list(consumers)

    def poke(self, context: Context) -> bool:
        """Whether there is work.

        Raises:
            StorageUnavailableError: The listing failed.
            AirflowSkipException: Another run of the Dag is queued.
        """
        found = self.look(rests=rest_ends(context) is not None).work is not None
        if not found and (dag_id := gives_way(context)):
            skip_if_queued(dag_id)
        return found

    def look(self, *, rests: bool = False) -> Look:
        """Look at ledger and bucket once, and at the assets if there is nothing to do in them.

        Args:
            rests: Rows that wait for the models do not count as work.
        """
        consumers = [] if rests else self.consumers
        settings = lake_settings(self.aws_conn_id)
        stream = find_stream(settings.streams_dir, self.source, self.stream)
        with killed_at_limit(self), open_lake(settings) as lake:
            look = look_for_work(lake, stream, s3_client(settings.s3), consumers)
        if look.work is None and not is_published(consumers, look.processed_snapshot_id):
            look = replace(look, work="processed rows wait to be published")
        self.log.info("%s: %s", stream.id, look.work or "nothing new")
        return look

    def execute(self, context: Context) -> Any:
        """Wait for work in the way the run asks for."""
        seconds = self._wait_seconds(context)
        if seconds <= 0:
            if self.poke(context):
                return
            raise AirflowSkipException(f"no new files in {self.bucket_key}")
        if self.deferrable:
            self._wait(context, time.time() + seconds)
            return
        self.timeout = seconds
        BaseSensorOperator.execute(self, context)

    def execute_complete(
        self, context: Context, event: dict[str, Any], deadline: float = 0.0
    ) -> None:
        """The bucket has changed: succeed if that means work, otherwise keep waiting.

        Raises:
            StorageUnavailableError: The trigger could not list the bucket.
        """
        if event["status"] == "error":
            raise StorageUnavailableError(event["message"])
        if event["status"] == "queued":
            raise AirflowSkipException(_QUEUED)
        self._wait(context, deadline)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Skip only on a time-out: upstream's soft_fail turns every Airflow error into a skip."""
        try:
            return super(BaseSensorOperator, self).resume_execution(
                next_method, next_kwargs, context
            )
        except TaskDeferralTimeout:
            raise AirflowSkipException(f"no new files in {self.bucket_key}") from None

    def _wait(self, context: Context, deadline: float) -> None:
        rest = rest_ends(context)
        look = self.look(rests=rest is not None)
        if look.work is not None:
            return
        wake_at = [look.wake_at.timestamp()] if look.wake_at else []
        wake_at += [rest] if rest else []
        seconds = deadline - time.time()
        if seconds <= 0:
            raise AirflowSkipException(f"no new files in {self.bucket_key}")
        settings = Settings.from_env()
        stream = find_stream(settings.streams_dir, self.source, self.stream)
        layout = layout_of(settings, stream)
        self.defer(
            trigger=BucketChangedTrigger(
                bucket=settings.bucket,
                prefix=layout.prefix,
                pattern=None if layout.has_own_folder else layout.pattern,
                start_after=look.start_after,
                fingerprint=look.fingerprint,
                poke_interval=self.poke_interval,
                aws_conn_id=existing(self.aws_conn_id),
                region_name=self.region_name,
                verify=self.verify,
                wake_at=min(wake_at, default=None),
                dag_id=gives_way(context),
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline},
            timeout=timedelta(seconds=seconds),
        )

    def _wait_seconds(self, context: Context) -> float:
        asked = context["params"].get("wait_seconds")
        if asked is not None:
            return float(asked)
        return 0 if context["dag_run"].run_type in _ASKED_FOR else float(self.timeout)


class SyncEndedSensor(BaseSensorOperator):
    """Waits, without occupying a worker, while an Airbyte job is writing files of a stream.

    A run that has waited for `timeout` is skipped, so that nothing of an unfinished sync lands; the
    next run waits on. The task fails when Airbyte cannot be asked.

    Args:
        source: Source of the stream.
        stream: Name of the stream.
        kwargs: As of BaseSensorOperator.
    """

    def __init__(self, *, source: str, stream: str, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", soft_fail=True, **kwargs)
        self.source = source
        self.stream = stream

    def poke(self, context: Context) -> bool:
        """Whether no job is writing.

        Raises:
            AirbyteError: Airbyte refuses, or no connection sends the stream.
            AirbyteUnavailableError: Airbyte does not answer.
            AirflowSkipException: Another run of the Dag is queued.
        """
        client = AirbyteClient(airbyte_access())
        stream = find_stream(Settings.from_env().streams_dir, self.source, self.stream)
        connection = find_connection(client, self.source, [stream])
        job = running_job(client, connection.connection_id)
        if job:
            self.log.info(
                "Airbyte's job %d (%s) of connection %s is %s",
                job.job_id, job.kind, connection.name, job.status,
            )  # fmt: skip
            if dag_id := gives_way(context):
                skip_if_queued(dag_id)
        return job is None


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
        changed = False
        try:
            while not changed:
                # A client for each listing would cost CPU; one for good would miss new keys.
                async with await self._client() as client:
                    renewed_at = time.monotonic() + _CLIENT_SECONDS
                    while not changed and time.monotonic() < renewed_at:
                        changed = await self._has_changed(client)
        except AirflowSkipException:
            yield TriggerEvent({"status": "queued"})  # type: ignore[no-untyped-call]
        except StorageUnavailableError as error:
            yield TriggerEvent({"status": "error", "message": str(error)})  # type: ignore[no-untyped-call]
        except client_errors(OSError) as error:
            message = str(listing_error(self.arguments["bucket"], self.arguments["prefix"], error))
            yield TriggerEvent({"status": "error", "message": message})  # type: ignore[no-untyped-call]
        else:
            yield TriggerEvent({"status": "changed"})  # type: ignore[no-untyped-call]

    async def _pause(self, seconds: float) -> None:
        """Sleep until the next listing.

        Raises:
            AirflowSkipException: Another run of the Dag is queued.
        """
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(until, self._asks_at) - now)
            if self.arguments["dag_id"] and time.monotonic() >= self._asks_at:
                self._asks_at = time.monotonic() + _QUEUE_SECONDS
                await sync_to_async(skip_if_queued)(self.arguments["dag_id"])

    async def _client(self) -> Any:
        use_embedded_s3()
        hook = S3Hook(
            aws_conn_id=self.arguments["aws_conn_id"],
            region_name=self.arguments["region_name"],
            verify=self.arguments["verify"],
        )
        return await hook.get_async_conn()  # type: ignore[no-untyped-call]

    async def _has_changed(self, client: Any) -> bool:
        """Whether, after a pause, the listing differs or `wake_at` has come."""
        await self._pause(float(self.arguments["poke_interval"] or 0))
        if time.time() >= (self.arguments["wake_at"] or float("inf")):
            return True
        read_listings_fast(client)
        digest = Fingerprint()
        request = list_request(
            *(self.arguments[name] for name in ("bucket", "prefix", "start_after"))
        )
        pages = aiter(client.get_paginator("list_objects_v2").paginate(**request))
        while page := await asyncio.wait_for(anext(pages, None), ANSWER_SECONDS):
            digest.update(self._own(page_objects(page)))
        return digest.text() != str(self.arguments["fingerprint"])

    def _own(self, objects: list[RawObject]) -> list[RawObject]:
        pattern = self.arguments["pattern"]
        return [item for item in objects if not pattern or is_of(pattern, item.key)]


def gives_way(context: Context) -> str | None:
    """The Dag of which a queued run ends this wait; `None` if a person asked for this one."""
    run = context["dag_run"]
    return None if run.run_type == "manual" else run.dag_id


def rest_ends(context: Context) -> float | None:
    """Until when a run does not start for what models have still to do, in seconds since 1970.

    A model that a retry cannot help would fail in one run after the other, without a pause. `None`
    if the last run did not fail, or long ago, or if a person asked for this one.
    """
    if gives_way(context) is None:
        return None
    last = context["ti"].get_previous_dagrun()
    if last is None or last.state != "failed" or last.end_date is None:
        return None
    end = float(last.end_date.timestamp()) + _REST_SECONDS
    return end if end > time.time() else None


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
        raise AirflowSkipException(_QUEUED)
