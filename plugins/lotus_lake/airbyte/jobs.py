"""Start a job exactly once, and wait for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from lotus_lake.airbyte.answers import OPEN_STATUSES, Connection, Job
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.errors import AirbyteBusyError, AirbyteError, AirbyteUnavailableError

POLL_SECONDS = 10.0
LOOK_SECONDS = 2.0
_LOOKS = 5

log = logging.getLogger(__name__)


def refuse_when_busy(client: AirbyteClient, connection: Connection) -> None:
    """Make sure that no job of the connection is open: only one can run at a time.

    Raises:
        AirbyteBusyError: There is one.
    """
    if jobs := client.jobs(connection.connection_id, OPEN_STATUSES):
        raise _busy(connection, jobs[0])


def start(
    client: AirbyteClient,
    connection: Connection,
    kind: str,
    call: Callable[[], int | None],
    *,
    streams: Sequence[str] = (),
    look_seconds: float = LOOK_SECONDS,
) -> int:
    """Start a job; returns its id.

    The call is made once. When it brought no usable answer, the job is looked for among those of
    the connection, so that a lost answer neither starts a second job nor hides the first.

    Args:
        client: Airbyte.
        connection: The connection.
        kind: What kind of job the call starts: `sync` or `refresh`.
        call: Starts it and returns its id, or `None` when Airbyte started none.
        streams: Streams that a refresh was asked for; one of others is not ours.
        look_seconds: Pause between looks for a job whose answer was lost.

    Raises:
        AirbyteBusyError: A job of the connection is open already.
        AirbyteError: Airbyte accepted the call but started nothing.
        AirbyteUnavailableError: There was no answer, and there is no new job.
    """
    refuse_when_busy(client, connection)
    known = {job.job_id for job in client.jobs(connection.connection_id)}

    def new_job() -> int | None:
        for job in client.jobs(connection.connection_id):
            if job.job_id not in known and job.kind == kind and job.streams >= set(streams):
                return job.job_id
        return None

    try:
        job_id = call()
    except AirbyteBusyError as error:
        jobs = client.jobs(connection.connection_id, OPEN_STATUSES)
        raise (_busy(connection, jobs[0]) if jobs else error) from error
    except AirbyteUnavailableError:
        # The server may still be at it: it answers only when the job runs.
        for _ in range(_LOOKS):
            if found := new_job():
                return found
            time.sleep(look_seconds)
        raise
    job_id = job_id or new_job()
    if job_id is None:
        raise AirbyteError(
            f"Airbyte started no {kind} of connection {connection.connection_id} "
            f"({connection.name})",
            hint="either a job started in between, then its next sync will be this refresh; or its "
            "destination is too old to refresh: upgrade it",
        )
    return job_id


def follow(
    client: AirbyteClient,
    job_id: int,
    *,
    timeout_seconds: float,
    poll_seconds: float = POLL_SECONDS,
) -> Iterator[Job]:
    """The job, again and again, until it is over or the time is up; it goes on in Airbyte then.

    Raises:
        AirbyteUnavailableError: Airbyte does not answer, and the time is up.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        last_look = time.monotonic() + poll_seconds > deadline
        try:
            job = client.job(job_id)
        except AirbyteUnavailableError as error:
            if last_look:
                raise
            log.warning("job %d goes on without being seen: %s", job_id, error)
        else:
            yield job
            if job.is_over or last_look:
                return
        time.sleep(poll_seconds)


def _busy(connection: Connection, job: Job) -> AirbyteBusyError:
    return AirbyteBusyError(
        f"job {job.job_id} ({job.kind}, {job.status}) of connection {connection.connection_id} "
        f"({connection.name}) is not over yet",
        hint=f"wait for it: lotus-lake job {job.job_id} --wait",
    )
