"""What happened to Airbyte jobs: wait for them and for their files, and show it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import typer

from lotus_lake.airbyte import jobs
from lotus_lake.airbyte.answers import Job
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.landed import StreamCheck, check_stream
from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli import output
from lotus_lake.cli.output import say
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.lake.connection import open_lake
from lotus_lake.quantities import counted

# Neither done nor failed: timed out.
NOT_YET = 3


class StartedJob(NamedTuple):
    """A job, and the streams that it sends by the source's own names for them."""

    job_id: int
    streams: Mapping[str, Stream]


def report(
    settings: Settings,
    client: AirbyteClient,
    started: Sequence[StartedJob],
    *,
    wait: bool,
    timeout: float,
    poll: float,
    as_json: bool,
) -> None:
    """Print what became of jobs, after waiting for them; ends the process with its exit code."""
    if not wait:
        show([{"job_id": job_id, "status": "started"} for job_id, _ in started], as_json)
        return
    deadline = time.monotonic() + timeout
    documents, codes = [], []
    for job_id, streams in started:
        job = _follow(client, job_id, deadline, poll)
        checks = _wait_landed(settings, job, streams, deadline, poll)
        documents.append(_document(job, checks))
        codes.append(_exit_code(job, checks))
    show(documents, as_json)
    if any(codes):
        raise typer.Exit(1 if 1 in codes else NOT_YET)


def _follow(client: AirbyteClient, job_id: int, deadline: float, poll: float) -> Job:
    remaining = max(deadline - time.monotonic(), 0.0)
    last = ""
    for job in jobs.follow(client, job_id, timeout_seconds=remaining, poll_seconds=poll):
        text = f"job {job_id}: {job.status}, attempt {len(job.attempts)}, {job.emitted} records"
        if text != last:
            say(text)
        last = text
    return job


def _wait_landed(
    settings: Settings, job: Job, streams: Mapping[str, Stream], deadline: float, poll: float
) -> list[StreamCheck]:
    """Compare until no file of the job waits for the feeder, or the time is up."""
    client = s3_client(settings.s3)
    last = ""
    while True:
        # Not read-only: before the first feed there is no lake, and it may come while we wait.
        with open_lake(settings) as lake:
            checks = [
                check_stream(lake, client, stream, job, name) for name, stream in streams.items()
            ]
        waiting = sum(check.waiting for check in checks)
        text = f"job {job.job_id}: {counted(waiting, 'file')} to be fed"
        if waiting and text != last:
            say(text)
        last = text
        if not waiting or not job.is_over or time.monotonic() + poll > deadline:
            return checks
        time.sleep(poll)


def _exit_code(job: Job, checks: Iterable[StreamCheck]) -> int:
    states = {check.state for check in checks}
    if not job.is_over:
        return NOT_YET
    if job.status != "succeeded" or states & {"missing", "quarantined"}:
        return 1
    return NOT_YET if "waiting" in states else 0


def _document(job: Job, checks: Iterable[StreamCheck]) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "status": job.status,
        "failure": job.failure,
        "streams": [asdict(check) | {"state": check.state} for check in checks],
    }


def show(documents: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print jobs, each with a table of its streams, or as JSON."""
    if as_json:
        typer.echo(json.dumps(documents, indent=2))
        return
    for document in documents:
        kind = f" ({document['kind']})" if "kind" in document else ""
        failure = f": {document['failure']}" if document.get("failure") else ""
        typer.echo(f"job {document['job_id']}{kind}: {document['status']}{failure}")
        rows = [
            {
                "stream": row["stream"],
                "sent": "unknown" if row["committed"] is None else row["committed"],
                **{name: row[name] for name in ("landed", "waiting", "quarantined", "state")},
            }
            for row in document.get("streams", ())
        ]
        output.show(rows, as_json=False)
