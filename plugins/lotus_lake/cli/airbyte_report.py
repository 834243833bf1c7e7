"""What became of Airbyte jobs: wait for them and for their files, and show it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import typer

from lotus_lake.airbyte import jobs
from lotus_lake.airbyte.answers import Connection, Job
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.landed import StreamCheck, check_stream, committed_records
from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli import output
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.lake.connection import open_lake
from lotus_lake.quantities import counted

# Neither done nor failed: the time was up.
NOT_YET = 3


def report(
    settings: Settings,
    client: AirbyteClient,
    started: Sequence[tuple[int, Connection, list[Stream]]],
    wait: bool,
    timeout: float,
    poll: float,
    as_json: bool,
) -> None:
    """Print what became of jobs, after waiting for them; ends the process with its exit code."""
    if not wait:
        show([{"job_id": job_id, "status": "started"} for job_id, _, _ in started], as_json)
        return
    deadline = time.monotonic() + timeout
    documents, codes = [], []
    for job_id, connection, streams in started:
        done = _follow(client, job_id, deadline, poll)
        checks = _wait_landed(settings, done, connection, streams, deadline, poll)
        documents.append(_document(done, checks))
        codes.append(_exit_code(done, checks))
    show(documents, as_json)
    if 1 in codes or NOT_YET in codes:
        raise typer.Exit(1 if 1 in codes else NOT_YET)


def _follow(client: AirbyteClient, job_id: int, deadline: float, poll: float) -> Job:
    remaining = max(deadline - time.monotonic(), 0.0)
    last = ""
    for found in jobs.follow(client, job_id, timeout_seconds=remaining, poll_seconds=poll):
        text = f"job {job_id}: {found.status}, attempt {found.attempts}, {found.emitted} records"
        if text != last:
            typer.echo(text, err=True)
        last = text
    return found


def _wait_landed(
    settings: Settings,
    done: Job,
    connection: Connection,
    streams: Iterable[Stream],
    deadline: float,
    poll: float,
) -> list[StreamCheck]:
    """Compare until nothing of the job waits for the feeder, or the time is up."""
    client = s3_client(settings.s3)
    last = ""
    while True:
        # Not read-only: before the first feed there is no lake, and it may come while we wait.
        with open_lake(settings) as lake:
            checks = [
                check_stream(
                    lake,
                    client,
                    item,
                    done,
                    committed_records(done, source_name(connection, item)),
                )
                for item in streams
            ]
        waiting = sum(check.waiting for check in checks)
        over = not waiting or not done.is_over or time.monotonic() + poll > deadline
        text = f"job {done.job_id}: {counted(waiting, 'file')} to be fed"
        if waiting and text != last:
            typer.echo(text, err=True)
        last = text
        if over:
            return checks
        time.sleep(poll)


def _exit_code(done: Job, checks: Iterable[StreamCheck]) -> int:
    states = {check.state for check in checks}
    if not done.is_over:
        return NOT_YET
    if done.status != "succeeded" or states & {"missing", "quarantined"}:
        return 1
    return NOT_YET if "waiting" in states else 0


def _document(done: Job, checks: Iterable[StreamCheck]) -> dict[str, Any]:
    return {
        "job_id": done.job_id,
        "kind": done.kind,
        "status": done.status,
        "failure": done.failure,
        "streams": [asdict(check) | {"state": check.state} for check in checks],
    }


def show(documents: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print jobs, with a table of their streams, or as JSON."""
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
        output.show(rows, as_json=False, number_columns=4)


def source_name(connection: Connection, stream: Stream) -> str:
    """The source's own name of a stream."""
    return stream.name.removeprefix(connection.prefix)
