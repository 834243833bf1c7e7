"""Start a job exactly once, and wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.model import OPEN_STATUSES, Connection, Job
from lotus_lake.errors import AirbyteBusyError, AirbyteError, AirbyteUnavailableError

POLL_SECONDS = 10.0


def refuse_when_busy(client: AirbyteClient, connection: Connection) -> None:
    """Make sure that no job of the connection is open: only one can run at a time.

    Raises:
        AirbyteBusyError: There is one.
    """
    if jobs := client.jobs(connection.connection_id, OPEN_STATUSES):
        raise _busy(connection, jobs[0])


def start(
    client: AirbyteClient, connection: Connection, kind: str, call: Callable[[], int | None]
) -> int:
    """Start a job; returns its id.

    The call is made once. When it brought no usable answer, the job is looked for among those of
    the connection, so that a lost answer neither starts a second job nor hides the first.

    Args:
        client: Airbyte.
        connection: The connection.
        kind: What kind of job the call starts: `sync` or `refresh`.
        call: Starts it and returns its id, or `None` when Airbyte started none.

    Raises:
        AirbyteBusyError: A job of the connection is open already.
        AirbyteError: Airbyte accepted the call but started nothing.
        AirbyteUnavailableError: There was no answer, and there is no new job.
    """
    refuse_when_busy(client, connection)
    known = {job.job_id for job in client.jobs(connection.connection_id)}
    failure: AirbyteUnavailableError | None = None
    try:
        job_id = call()
    except AirbyteBusyError as error:
        jobs = client.jobs(connection.connection_id, OPEN_STATUSES)
        raise (_busy(connection, jobs[0]) if jobs else error) from error
    except AirbyteUnavailableError as error:
        job_id, failure = None, error
    if job_id is not None:
        return job_id
    for job in client.jobs(connection.connection_id):
        if job.job_id not in known and job.kind == kind:
            return job.job_id
    if failure:
        raise failure
    raise AirbyteError(
        f"Airbyte started no {kind} of connection {connection.connection_id} ({connection.name})",
        hint="either a job started in between, then its next sync will be this refresh; or its "
        "destination is too old to refresh: upgrade it",
    )


def follow(
    client: AirbyteClient,
    job_id: int,
    *,
    timeout_seconds: float,
    poll_seconds: float = POLL_SECONDS,
) -> Iterator[Job]:
    """The job, again and again, until it is over or the time is up; it goes on in Airbyte then."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        job = client.job(job_id)
        yield job
        if job.is_over or time.monotonic() + poll_seconds > deadline:
            return
        time.sleep(poll_seconds)


def check_succeeded(job: Job) -> None:
    """Make sure that a job that is over brought everything.

    Raises:
        AirbyteError: It failed or was cancelled; what it has written so far stays.
    """
    if job.status != "succeeded":
        raise AirbyteError(
            f"job {job.job_id} {job.status} after {job.attempts} attempts: "
            f"{job.failure or 'Airbyte gives no reason'}",
            hint="what it has written stays and is fed; its next sync goes on from there",
        )


def _busy(connection: Connection, job: Job) -> AirbyteBusyError:
    return AirbyteBusyError(
        f"job {job.job_id} ({job.kind}, {job.status}) of connection {connection.connection_id} "
        f"({connection.name}) is not over yet",
        hint=f"wait for it: lotus-lake job {job.job_id} --wait",
    )
