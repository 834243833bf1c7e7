"""Make a lake ready before anything is fed: ledger, landing tables, and what Postgres needs.

The feeder creates what a stream needs when it first runs. Doing all of it beforehand shows that the
rights suffice, and lets readers and models find the tables.
"""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import Lake
from lotus_lake.landing.tables import bring_up_to_config, missing_parts
from lotus_lake.ledger.schema import create_ledger, missing_tables


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
