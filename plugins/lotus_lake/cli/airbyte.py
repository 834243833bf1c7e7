"""Commands about Airbyte: its configured catalogs, its jobs, and sending a stream again."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lotus_lake.airbyte import jobs
from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.answers import Connection
from lotus_lake.airbyte.backfill import (
    BackfillPlan,
    flagged_streams,
    plan_backfills,
    request_backfill,
)
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.configured_catalog import configured_catalog_files
from lotus_lake.airbyte.connections import find_connection, source_of
from lotus_lake.cli.airbyte_report import StartedJob, report, show
from lotus_lake.cli.arguments import (
    AIRBYTE,
    CONFIGURE,
    AnyName,
    AnySource,
    Source,
    Yes,
    complete_source,
)
from lotus_lake.cli.derived import Check, bring_up_to_date
from lotus_lake.cli.output import AsJson, say
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream, load_streams
from lotus_lake.lake.connection import open_lake
from lotus_lake.quantities import counted

ConnectionId = Annotated[
    str | None,
    typer.Option(help="Id of Airbyte's connection, if several send the stream.", metavar="ID"),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until the job has ended and its files have landed.")
]
Timeout = Annotated[float, typer.Option(help="Longest wait in seconds; then exit with 3.", min=0)]
Poll = Annotated[float, typer.Option(help="Seconds between two checks while waiting.", min=0.1)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=CONFIGURE)(airbyte_catalog)
    # Its name in earlier releases, which scripts use.
    app.command("catalog", hidden=True)(airbyte_catalog)
    for command in (backfill, sync, job):
        app.command(rich_help_panel=AIRBYTE)(command)


def airbyte_catalog(check: Check = False, as_json: AsJson = False) -> None:
    """Derive include/streams/{source}/_catalog.json from the stream configs, for Terraform.

    It holds the source's configured catalog: what Airbyte is to send. Run this after a change of
    include/streams or include/sources, and commit the result.

    A source with a broken stream config keeps the file it has.

    Example: lotus-lake airbyte-catalog --check
    """
    files, errors = configured_catalog_files(Settings.from_env())
    bring_up_to_date(
        files, errors, command="lotus-lake airbyte-catalog", check=check, as_json=as_json
    )


def backfill(
    source: AnySource = None,
    stream: AnyName = None,
    flagged: Annotated[
        bool,
        typer.Option(
            "--flagged", help='All streams whose config says "backfill": true, once per change.'
        ),
    ] = False,
    connection_id: ConnectionId = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = 6 * 3600,
    poll: Poll = jobs.POLL_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Have Airbyte send a stream again from the start, keeping everything there is.

    Airbyte appends all records again as new files (a refresh in mode "Merge"); no file is deleted.
    The feeder lands them like any others. Processed tables keep the newest version of each key, so
    records that come again change nothing in them.

    Shows what will happen and asks first. With --wait it ends when everything that the job wrote
    has landed, which the job's id in the rows proves.

    Exit codes: 0 done; 1 refused, failed, or rows are missing; 3 timed out.

    Example: lotus-lake backfill shopify orders --wait
    """
    settings, client = Settings.from_env(), _client()
    named = source is not None and stream is not None
    if flagged == named or (flagged and source is not None):
        raise typer.BadParameter("name SOURCE and STREAM, or use --flagged")
    with open_lake(settings) as lake:
        chosen = (
            flagged_streams(lake, _all_streams(settings))
            if flagged
            else [find_stream(settings.streams_dir, str(source), str(stream))]
        )
        plans = plan_backfills(lake, client, chosen, connection_id)
    if not plans:
        say("no flagged stream waits for a backfill")
        show([], as_json)
        return
    for plan in plans:
        _explain(plan)
    if not yes:
        typer.confirm("Start the backfill?", abort=True, err=True)
    started = []
    for plan in plans:
        with open_lake(settings) as lake:
            job_id = request_backfill(lake, client, plan)
        say(f"Airbyte started job {job_id}")
        started.append(StartedJob(job_id, {item.sent.name: item.stream for item in plan.streams}))
    report(settings, client, started, wait=wait, timeout=timeout, poll=poll, as_json=as_json)


def sync(
    source: Source,
    connection_id: ConnectionId = None,
    wait: Wait = False,
    timeout: Timeout = 6 * 3600,
    poll: Poll = jobs.POLL_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Have Airbyte sync a source now: everything new since its last sync.

    With --wait it ends when everything that the job wrote has landed.

    Exit codes: 0 done; 1 refused, failed, or rows are missing; 3 timed out.

    Example: lotus-lake sync shopify --wait
    """
    settings, client = Settings.from_env(), _client()
    connection = find_connection(client, source, connection_id=connection_id)
    job_id = jobs.start(
        client, connection, "sync", lambda: client.start_sync(connection.connection_id)
    )
    say(f"Airbyte started job {job_id}")
    started = [StartedJob(job_id, _sent_streams(settings, connection, source))]
    report(settings, client, started, wait=wait, timeout=timeout, poll=poll, as_json=as_json)


def job(
    job_id: Annotated[
        int, typer.Argument(metavar="JOB_ID", help="Airbyte's job id: sync_id in its rows.")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Source of the job's streams, if the connection is not named after it.",
            autocompletion=complete_source,
        ),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 6 * 3600,
    poll: Poll = jobs.POLL_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show an Airbyte job, and for each stream whether everything that it wrote has landed.

    Exit codes: 0 everything has landed; 1 the job failed, or rows are missing; 3 it has not ended,
    or its files wait for the feeder.

    Example: lotus-lake job 4711
    """
    settings, client = Settings.from_env(), _client()
    found = client.job(job_id)
    connection = client.connection(found.connection_id)
    sources = sorted({stream.source for stream in _all_streams(settings)})
    streams = _sent_streams(settings, connection, source or source_of(client, connection, sources))
    if found.kind == "refresh":
        streams = {name: streams[name] for name in streams if name in found.streams}
    started = [StartedJob(job_id, streams)]
    timeout = timeout if wait else 0
    report(settings, client, started, wait=True, timeout=timeout, poll=poll, as_json=as_json)


def _explain(plan: BackfillPlan) -> None:
    say(f"Connection {plan.connection} will send again, from the start:")
    for item in plan.streams:
        rows, files = item.held.landed_rows, item.held.landed_files
        held = f"{counted(rows, 'row')} in {counted(files, 'file')}"
        say(f"  {item.stream.id}: the lake holds {held}")
    say(
        "All records come again, in new files next to the existing ones; no file is deleted. The\n"
        "landing table holds both until the old ones are retired. Processed tables keep the\n"
        "newest version of each key: records that come again do not change them."
    )


def _client() -> AirbyteClient:
    return AirbyteClient(AirbyteAccess.from_env(os.environ))


def _all_streams(settings: Settings) -> list[Stream]:
    """All streams; broken configs are named and hide no other."""
    streams, errors = load_streams(settings.streams_dir)
    for error in errors:
        say(f"error: {error}")
    return streams


def _sent_streams(settings: Settings, connection: Connection, source: str) -> dict[str, Stream]:
    """The streams of a source that a connection sends, by the source's own names for them."""
    return {
        sent.name: stream
        for stream in _all_streams(settings)
        if stream.source == source and (sent := connection.stream(stream))
    }
