"""Commands about Airbyte: its catalogs, its jobs, and sending a stream once more."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lotus_lake.airbyte import backfill as backfills
from lotus_lake.airbyte import jobs
from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.answers import Connection
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.configured_catalog import catalog_files
from lotus_lake.airbyte.connections import find_connection, source_of
from lotus_lake.cli.airbyte_report import report, show, source_name
from lotus_lake.cli.arguments import AIRBYTE, CONFIGURE, AnyName, AnySource, Source, complete_source
from lotus_lake.cli.derived import Check, bring_up_to_date
from lotus_lake.cli.output import AsJson
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream, load_streams
from lotus_lake.lake.connection import open_lake
from lotus_lake.quantities import counted

ConnectionId = Annotated[
    str | None,
    typer.Option(help="Airbyte's connection, when it cannot be told by its names.", metavar="ID"),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until the job is over and its files have landed.")
]
Timeout = Annotated[
    float, typer.Option(help="Wait so many seconds at most, then exit with 3.", min=0)
]
Poll = Annotated[float, typer.Option(help="Seconds between two looks while waiting.", min=0.1)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=CONFIGURE)(catalog)
    for command in (backfill, sync, job):
        app.command(rich_help_panel=AIRBYTE)(command)


def catalog(check: Check = False, as_json: AsJson = False) -> None:
    """Derive include/streams/{source}/_catalog.json from the stream configs, for Terraform.

    Run it after a change of include/streams or include/sources, and commit the result.

    A source with a broken stream config keeps the file it has.

    Example: lotus-lake catalog --check
    """
    files, errors = catalog_files(Settings.from_env())
    bring_up_to_date(files, errors, command="lotus-lake catalog", check=check, as_json=as_json)


def backfill(
    source: AnySource = None,
    stream: AnyName = None,
    flagged: Annotated[
        bool,
        typer.Option(
            "--flagged", help='All streams whose JSON says "backfill": true, once per change.'
        ),
    ] = False,
    connection_id: ConnectionId = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for scripts.")] = False,
    wait: Wait = False,
    timeout: Timeout = 6 * 3600,
    poll: Poll = jobs.POLL_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Have Airbyte send a stream once more from the start, keeping everything there is.

    Airbyte appends all records again as new files (a refresh in mode "Merge"); no file is deleted.
    The feeder lands them like any others. Processed tables keep the newest version of each key, so
    records that come again change nothing in them.

    Shows what will happen and asks first. With --wait it ends when everything that the job wrote
    has landed, which it proves by the job's id in the rows.

    Exit codes: 0 done; 1 refused, failed, or rows are missing; 3 the time was up.

    Example: lotus-lake backfill shopify orders --wait
    """
    settings, client = Settings.from_env(), _client()
    named = source is not None and stream is not None
    if flagged == named or (flagged and source is not None):
        raise typer.BadParameter("name SOURCE and STREAM, or use --flagged")
    with open_lake(settings) as lake:
        chosen = (
            backfills.flagged(lake, _all_streams(settings))
            if flagged
            else [find_stream(settings.streams_dir, str(source), str(stream))]
        )
        plans = backfills.plan(lake, client, chosen, connection_id)
    if not plans:
        typer.echo("no flagged stream waits for a backfill", err=True)
        show([], as_json)
        return
    for planned in plans:
        jobs.refuse_when_busy(client, planned.connection)
        _explain(planned)
    if not yes:
        typer.confirm("Ask Airbyte for it?", abort=True, err=True)
    started = []
    for planned in plans:
        with open_lake(settings) as lake:
            job_id = backfills.request(lake, client, planned)
        typer.echo(f"Airbyte started job {job_id}", err=True)
        started.append((job_id, planned))
    results = [
        (job_id, planned.connection, [item.stream for item in planned.streams])
        for job_id, planned in started
    ]
    report(settings, client, results, wait, timeout, poll, as_json)


def sync(
    source: Source,
    connection_id: ConnectionId = None,
    wait: Wait = False,
    timeout: Timeout = 6 * 3600,
    poll: Poll = jobs.POLL_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Have Airbyte sync a source now: whatever is new since its last sync.

    With --wait it ends when everything that the job wrote has landed.

    Exit codes: 0 done; 1 refused, failed, or rows are missing; 3 the time was up.

    Example: lotus-lake sync shopify --wait
    """
    settings, client = Settings.from_env(), _client()
    connection = find_connection(client, source, connection_id=connection_id)
    job_id = jobs.start(
        client, connection, "sync", lambda: client.start_sync(connection.connection_id)
    )
    typer.echo(f"Airbyte started job {job_id}", err=True)
    streams = _sent_streams(settings, connection, source)
    report(settings, client, [(job_id, connection, streams)], wait, timeout, poll, as_json)


def job(
    job_id: Annotated[
        int, typer.Argument(metavar="JOB_ID", help="Airbyte's job, which is sync_id in its rows.")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Source of its streams, when it cannot be told by names.",
            autocompletion=complete_source,
        ),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 6 * 3600,
    poll: Poll = jobs.POLL_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show an Airbyte job, and per stream whether everything that it wrote has landed.

    Exit codes: 0 all of it has landed; 1 it failed, or rows are missing; 3 it is not over, or its
    files wait for the feeder.

    Example: lotus-lake job 4711
    """
    settings, client = Settings.from_env(), _client()
    found = client.job(job_id)
    connection = client.connection(found.connection_id)
    name = source or source_of(client, connection, _sources(settings))
    streams = _sent_streams(settings, connection, name)
    if found.kind == "refresh":
        streams = [item for item in streams if source_name(connection, item) in found.streams]
    timeout = timeout if wait else 0
    report(settings, client, [(job_id, connection, streams)], True, timeout, poll, as_json)


def _explain(planned: backfills.Plan) -> None:
    connection = planned.connection
    typer.echo(
        f"Connection {connection.connection_id} ({connection.name}) will send again, from the "
        "start:",
        err=True,
    )
    for item in planned.streams:
        typer.echo(
            f"  {item.stream.id}: the lake holds {counted(item.row_count, 'row')} in "
            f"{counted(item.file_count, 'file')}",
            err=True,
        )
    typer.echo(
        "All records come again, as new files beside these; no file is deleted. Until the old\n"
        "ones are retired the landing table holds both. Processed tables keep the newest version\n"
        "of each key: records that come again do not change them.",
        err=True,
    )


def _client() -> AirbyteClient:
    return AirbyteClient(AirbyteAccess.from_env(os.environ))


def _sources(settings: Settings) -> list[str]:
    return sorted({stream.source for stream in _all_streams(settings)})


def _all_streams(settings: Settings) -> list[Stream]:
    """All streams; broken configs are named and hide no other."""
    streams, errors = load_streams(settings.streams_dir)
    for error in errors:
        typer.echo(f"error: {error}", err=True)
    return streams


def _sent_streams(settings: Settings, connection: Connection, source: str) -> list[Stream]:
    """The streams of a source that a connection sends."""
    return [
        stream
        for stream in _all_streams(settings)
        if stream.source == source and connection.stream(stream.name)
    ]
