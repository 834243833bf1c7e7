"""Of a change log, the newest version by the log wins, and what it deletes is gone, and comes back.

Random histories of a few records, landed and processed in any order and any batches, their landing
rows retired in between, against the same in Python: of logs as Airbyte's sources describe them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.scaffold.columns import model_columns
from lotus_lake.scaffold.model_sql import model_sql
from tests.catalogs import on_sqlite
from tests.property import processed
from tests.property.change_logs import (
    LOGS,
    Arrival,
    Log,
    Version,
    arrive,
    histories,
    new_stream,
    one_by_one,
)

OLD = Version(1, 0, 0, "a", is_delete=False)
DELETE = Version(1, 1, 1, "b", is_delete=True)
BACK = Version(1, 2, 2, "c", is_delete=False)
UNSEEN = Version(2, 1, 1, "d", is_delete=True)
NOBODY = Version(None, 1, 1, "e", is_delete=False)
# An attempt of Airbyte that failed has read up to BACK; the next one has come to here.
AGAIN = Version(1, 2, 0, "f", is_delete=False)
# Airbyte reads everything again, from a log that began anew.
ANEW = Version(1, 2, 0, "g", is_delete=False, generation=1)


Told = list[tuple[Any, ...]]


def expected(versions: Iterable[Version], log: Log, deletes: str) -> tuple[Told, Told]:
    """The table and what is kept out of it, in Python."""
    newest: dict[Any, Version] = {}
    for version in sorted(versions, key=log.order):
        if not (deletes == "ignore" and version.is_delete):
            newest[version.raw_id if version.id is None else version.id] = version
    shown: Told = []
    hidden: Told = []
    for version in newest.values():
        if version.id is None:
            hidden.append((None, version.raw_id, "no key"))
        elif version.is_delete and deletes == "hard":
            hidden.append((version.id, version.raw_id, "deleted"))
        else:
            shown.append((version.id, version.raw_id, version.values["title"], version.is_delete))
    return sorted(shown), sorted(hidden, key=repr)


def told(lake: Lake, stream: Stream) -> tuple[Told, Told]:
    """The same of the lake."""
    shown = lake.rows(
        "SELECT order_id, _airbyte_raw_id, title, _deleted_at IS NOT NULL "
        f"FROM {LAKE}.main.{processed.model(stream)}"
    )
    hidden = lake.rows(
        f"SELECT order_id, _airbyte_raw_id, _lake_reason FROM {processed.kept_out(stream)}"
    )
    return sorted(shown), sorted(hidden, key=repr)


def process(lake: Lake, stream: Stream, *, full_refresh: bool = False) -> None:
    columns = model_columns(stream, {})
    meta = {"deletes": stream.config.deletes, "order": "log" if stream.config.log else ""}
    query = model_sql(stream, columns)
    processed.process(lake, stream, query, list(columns.key), full_refresh=full_refresh, **meta)


@on_sqlite
@pytest.mark.parametrize(
    ("log", "deletes"),
    [
        *(("postgres", deletes) for deletes in ("hard", "soft", "ignore")),
        *((log, "hard") for log in LOGS if log != "postgres"),
    ],
)
@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories())
@example(history=one_by_one(OLD, DELETE, BACK))
@example(history=one_by_one(DELETE, OLD, BACK))
@example(history=one_by_one(BACK, AGAIN, OLD, DELETE, ANEW))
@example(history=one_by_one(ANEW, DELETE, BACK))
@example(history=one_by_one(OLD, DELETE, AGAIN))
@example(history=one_by_one(UNSEEN, DELETE, BACK, OLD, NOBODY))
@example(history=[Arrival((OLD, DELETE, UNSEEN, NOBODY), processes=True, retires=True)])
@example(history=[Arrival((AGAIN, BACK, OLD), processes=True, retires=True)])
@example(history=[Arrival((v,), processes=True, retires=False) for v in (DELETE, OLD, UNSEEN)])
def test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival(
    lake: Lake, log: str, deletes: str, history: list[Arrival]
) -> None:
    stream = new_stream(lake, LOGS[log], deletes)
    arrive(lake, stream, LOGS[log], history, process)
    versions = [version for arrival in history for version in arrival.versions]
    assert told(lake, stream) == expected(versions, LOGS[log], deletes)
    if not any(arrival.retires and arrival.processes for arrival in history):
        process(lake, stream, full_refresh=True)
        assert told(lake, stream) == expected(versions, LOGS[log], deletes)
