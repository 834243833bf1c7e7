"""Start a job exactly once, wait for it, and know whether one is writing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from lotus_lake.airbyte.answers import OPEN_STATUSES, WRITING_STATUSES, Connection, Job
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.errors import AirbyteBusyError, AirbyteError, AirbyteUnavailableError

POLL_SECONDS = 10.0
_LOOK_SECONDS = 2.0
_LOOKS = 5

log = logging.getLogger(__name__)


def running_job(client: AirbyteClient, connection_id: str) -> Job | None:
    """The newest job of a connection that may have written files, and may write or delete more.

    That includes a job between two attempts, but not one that waits for its first. `None` means
    that all files of the connection belong to complete syncs.

    Raises:
        AirbyteUnavailableError: Airbyte does not answer; the caller decides whether to wait.
    """
    return next(iter(client.jobs(connection_id, WRITING_STATUSES)), None)


def refuse_when_busy(client: AirbyteClient, connection: Connection) -> None:
    """Make sure that no job of the connection is open: only one can run at a time.

    Raises:
        AirbyteBusyError: There is one.
    """
    for job in client.jobs(connection.connection_id, OPEN_STATUSES):
        raise AirbyteBusyError(
            f"job {job.job_id} ({job.kind}, {job.status}) of connection {connection} has not ended",
            hint=f"wait for it: lotus-lake job {job.job_id} --wait",
        )


def start(
    client: AirbyteClient,
    connection: Connection,
    kind: str,
    call: Callable[[], int | None],
    *,
    streams: Sequence[str] = (),
    look_seconds: float = _LOOK_SECONDS,
) -> int:
    """Start a job; returns its id.

    The call is made once. If it brings no usable answer, the job is looked for among those of the
    connection, so that a lost answer neither starts a second job nor hides the first.

    Args:
        client: Airbyte.
        connection: The connection.
        kind: What kind of job the call starts: `sync` or `refresh`.
        call: Starts it and returns its id, or `None` if Airbyte started none.
        streams: Streams of a refresh; a refresh of others is not ours.
        look_seconds: Pause between two searches for a job whose answer was lost.

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
    except AirbyteBusyError:
        refuse_when_busy(client, connection)
        raise
    except AirbyteUnavailableError:
        # The server may still be busy with the call: it answers only when the job runs.
        for _ in range(_LOOKS):
            if found := new_job():
                return found
            time.sleep(look_seconds)
        raise
    job_id = job_id or new_job()
    if job_id is None:
        raise AirbyteError(
            f"Airbyte started no {kind} of connection {connection}",
            hint="either another job started first, and the connection's next sync will be this "
            "refresh; or its destination is too old to refresh: upgrade it",
        )
    return job_id


def follow(
    client: AirbyteClient,
    job_id: int,
    *,
    timeout_seconds: float,
    poll_seconds: float = POLL_SECONDS,
) -> Iterator[Job]:
    """The job, polled until it has ended or the time is up; then it continues in Airbyte.

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
            log.warning("job %d continues unobserved: %s", job_id, error)
        else:
            yield job
            if job.is_over or last_look:
                return
        time.sleep(poll_seconds)
