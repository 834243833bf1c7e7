"""The sensors of a stream: `wait_for_files` (asks `feeder/readiness.py`) and `wait_for_sync`.

Airflow's wildcard sensor succeeds as long as any file is there, and lists the whole history when
its check function says no. This one lists only the window that begins `lookback_days` before the
cursor, and compares it with the ledger: at most `1 + ceil(keys in the window / 1000)` requests per
poke.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferralTimeout

from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.connections import find_connection
from lotus_lake.airbyte.jobs import running_job
from lotus_lake.airflow.assets import is_published
from lotus_lake.airflow.bucket_events import BucketEventsTrigger
from lotus_lake.airflow.bucket_trigger import QUEUED, BucketChangedTrigger, skip_if_queued
from lotus_lake.airflow.connections import (
    AWS_CONN_ID,
    airbyte_access,
    existing,
    lake_settings,
)
from lotus_lake.airflow.tasks import killed_at_limit
from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.errors import StorageUnavailableError
from lotus_lake.feeder.readiness import Look, look_for_work
from lotus_lake.lake.connection import open_lake

if TYPE_CHECKING:
    from airflow.sdk import Context

# For this long after a failed run, waiting models alone are no reason to start; new files are.
_REST_SECONDS = 300
# Types of runs that a person, or another Dag, has asked for.
_ASKED_FOR = ("manual", "operator_triggered")


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
            raise AirflowSkipException(QUEUED)
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
        arguments: dict[str, Any] = {
            "bucket": settings.bucket,
            "prefix": layout.prefix,
            "pattern": None if layout.has_own_folder else layout.pattern,
            "start_after": look.start_after,
            "fingerprint": look.fingerprint,
            "poke_interval": self.poke_interval,
            "aws_conn_id": existing(self.aws_conn_id),
            "region_name": self.region_name,
            "verify": self.verify,
            "wake_at": min(wake_at, default=None),
            "dag_id": gives_way(context),
        }
        self.defer(
            trigger=BucketEventsTrigger(
                settings.events_queue, settings.events_poll_seconds, **arguments
            )
            if settings.events_queue
            else BucketChangedTrigger(**arguments),
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
