"""Make a lake ready before anything is fed: ledger, landing tables, and what Postgres needs.

The feeder creates what a stream needs when it first runs. Doing all of it beforehand shows that the
rights suffice, and lets readers and models find the tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from lotus_lake.config.streams import Stream
from lotus_lake.errors import SchemaMismatchError
from lotus_lake.lake.database import create_indexes, missing_indexes
from lotus_lake.lake.session import Lake
from lotus_lake.landing.tables import bring_up_to_config, missing_parts
from lotus_lake.ledger.schema import create_ledger, missing_tables


def initialise(
    lake: Lake, streams: Iterable[Stream], *, check: bool
) -> tuple[list[str], list[SchemaMismatchError]]:
    """Create what the lake lacks, or, as a check, only find out what that is.

    Returns:
        What the lake lacked, for people, and what is wrong with streams whose table cannot take
        what their config declares; they stop no other.
    """
    found: list[str] = []
    problems: list[SchemaMismatchError] = []
    for stream in streams:
        try:
            lacking = missing(lake, stream)
            if lacking and not check:
                prepare(lake, stream)
            found += lacking
        except SchemaMismatchError as error:
            problems.append(error)
    indexes = missing_indexes(lake)
    if indexes and not check:
        create_indexes(lake)
    return list(dict.fromkeys([*found, *indexes])), problems


def missing(lake: Lake, stream: Stream) -> list[str]:
    """What a stream lacks in the lake, for people.

    Raises:
        SchemaMismatchError: The config declares a column whose type the table cannot take.
    """
    return [*missing_tables(lake, stream), *missing_parts(lake, stream)]


def prepare(lake: Lake, stream: Stream) -> None:
    """Create what a stream lacks.

    Raises:
        SchemaMismatchError: The config declares a column whose type the table cannot take.
    """
    create_ledger(lake, stream)
    bring_up_to_config(lake, stream)
