"""The command `feed`, and how commands open a stream and name their run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import typer

from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli.arguments import FEED, Name, Source
from lotus_lake.cli.output import AsJson, reading, say, show, telling, writing
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.feeder.feed import land_all
from lotus_lake.feeder.list import list_files
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.queue import backlog
from lotus_lake.quantities import counted


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=FEED)(feed)


def feed(source: Source, stream: Name, as_json: AsJson = False) -> None:
    """Feed one stream now, without Airflow: list, then register everything that waits.

    Safe while Airflow runs: of two feeders of a stream one wins, the other finds nothing to do.

    Example: lotus-lake feed shopify orders
    """
    run_id = run_id_of("feed")
    with open_stream(source, stream) as (lake, config):
        with telling(f"listing {lake.settings.uri(layout_of(lake.settings, config).prefix)}"):
            listing = list_files(lake, config, s3_client(lake.settings.s3), run_id)
        say(f"{counted(listing.listed, 'object')} in the window, {listing.discovered} to land")
        landed = land_all(lake, config, run_id)
        waiting = backlog(lake, config)[0]
    quarantined = listing.quarantined + landed.quarantined
    if as_json:
        done = {
            "stream": config.id,
            "listed": listing.listed,
            "registered": landed.registered,
            "copied": landed.copied,
            "rows": landed.row_count,
            "rescued": landed.rescued,
            "empty": landed.empty,
            "quarantined": quarantined,
            "waiting": waiting,
        }
        show([done], as_json=True)
        return
    say(replace(landed, quarantined=quarantined).summary)
    if waiting:
        say(f"{counted(waiting, 'file')} of an incomplete generation: run `feed` again later")
    if quarantined:
        say(f"`lotus-lake quarantine list {source} {stream}` says why")


@contextmanager
def open_stream(
    source: str, stream: str, *, read_only: bool = False
) -> Iterator[tuple[Lake, Stream]]:
    """The lake and a stream, for a command that works on one stream."""
    settings = Settings.from_env()
    config = find_stream(settings.streams_dir, source, stream)
    with reading(settings) if read_only else writing(settings) as lake:
        yield lake, config


def run_id_of(what: str) -> str:
    """What the ledger keeps in the place of a Dag run."""
    user = os.environ.get("USER") or str(os.getuid())
    return f"{what}__{user}__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
