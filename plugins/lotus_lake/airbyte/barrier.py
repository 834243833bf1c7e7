"""Whether Airbyte is still writing: files that are there may not be all of their sync."""

from __future__ import annotations

from lotus_lake.airbyte.answers import WRITING_STATUSES, Job
from lotus_lake.airbyte.client import AirbyteClient


def running_job(client: AirbyteClient, connection_id: str) -> Job | None:
    """The job of a connection that may have written files and may write, or delete, more.

    A job that waits for its first attempt has written nothing and is not meant; one that waits for
    its next attempt is.

    Args:
        client: Airbyte.
        connection_id: The connection.

    Returns:
        The newest such job; `None` when all files of the connection are complete syncs.

    Raises:
        AirbyteUnavailableError: Airbyte does not answer; whether to wait is the caller's choice.
    """
    jobs = client.jobs(connection_id, WRITING_STATUSES)
    return jobs[0] if jobs else None
