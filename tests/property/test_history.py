"""A history has one row per version, whatever arrives first, late, twice, or after a delete.

Random histories of a few records, landed and processed in any order and any batches, their landing
rows retired in between, against the same in Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.scaffold.columns import VALIDITY, model_columns
from lotus_lake.scaffold.model_sql import history_sql, model_sql
from tests.catalogs import on_sqlite
from tests.property import processed
from tests.property.change_logs import (
    LOGS,
    TEXT,
    Arrival,
    Log,
    Version,
    arrive,
    histories,
    moment,
    new_stream,
    one_by_one,
)

# Two that say the same, one that says something else, and one more like the first.
FIRST = Version(1, 0, 0, "a", is_delete=False, title="x")
REPEATED = Version(1, 1, 0, "b", is_delete=False, title="x")
OTHER = Version(1, 1, 1, "c", is_delete=False, title="y")
LIKE_FIRST = Version(1, 2, 2, "d", is_delete=False, title="x")
DELETE = Version(1, 2, 1, "e", is_delete=True)
NOBODY = Version(None, 1, 1, "f", is_delete=False, title="x")
# From before OTHER in the log, but read after it: of the same version, it is the first row.
BEFORE_OTHER = Version(1, 2, 0, "h", is_delete=False, title="y")
ANEW = Version(1, 2, 0, "g", is_delete=False, generation=1, title="x")
Row = tuple[Any, ...]


def expected(versions: Iterable[Version], log: Log, deletes: str) -> list[Row]:
    """The history in Python."""
    told: dict[int, set[Version]] = {}
    for version in versions:
        if version.id is not None and not (deletes == "ignore" and version.is_delete):
            told.setdefault(version.id, set()).add(version)
    return sorted(
        (row for rows in told.values() for row in _of_record(sorted(rows, key=log.order), log)),
        key=repr,
    )


def _of_record(versions: list[Version], log: Log) -> Iterator[Row]:
    runs = [list(run) for _, run in itertools.groupby(versions, log.says)]
    read = list(itertools.accumulate((min(v.read for v in run) for run in runs), max))
    changed: list[int | None] = [None] * len(runs)
    if log.tells_time:
        changed = list(itertools.accumulate((min(v.position for v in run) for run in runs), max))
    for number, (first, *others) in enumerate(runs):
        last = number + 1 == len(runs)
        yield (
            first.id,
            first.raw_id,
            first.values["title"],
            moment(read[number]),
            None if last else moment(read[number + 1]),
            _at(changed[number]),
            None if last else _at(changed[number + 1]),
            last,
            first.is_delete,
            len(versions),
            [other.raw_id for other in others] or None,
        )


def _at(seconds: int | None) -> Any:
    return None if seconds is None else moment(seconds)


def told(lake: Lake, stream: Stream) -> list[Row]:
    """The same of the lake."""
    rows = lake.rows(
        f"SELECT order_id, _airbyte_raw_id, title, {', '.join(VALIDITY)}, _lake_rows_told, "
        "list_transform(_lake_repeats, lambda row: row._airbyte_raw_id) "
        f"FROM {LAKE}.main.{processed.history(stream)}"
    )
    return sorted(rows, key=repr)


def process(lake: Lake, stream: Stream, *, full_refresh: bool = False) -> None:
    """Run both models of the stream."""
    columns, every = model_columns(stream, {}), model_columns(stream, {}, reserved=VALIDITY)
    config = stream.config
    meta = {"deletes": config.deletes, "order": "log" if config.log else ""}
    key = list(columns.key)
    processed.process(
        lake, stream, model_sql(stream, columns), key, full_refresh=full_refresh, **meta
    )
    processed.process(
        lake, stream, history_sql(stream, every), key, strategy="versions",
        full_refresh=full_refresh, **meta,
    )  # fmt: skip


def current(lake: Lake, stream: Stream) -> tuple[list[Row], list[Row]]:
    """What the history calls current and not deleted, and what the other model shows."""
    columns = "order_id, title"
    return (
        lake.rows(
            f"SELECT {columns} FROM {LAKE}.main.{processed.history(stream)} "
            "WHERE is_current AND NOT is_deleted ORDER BY ALL"
        ),
        lake.rows(f"SELECT {columns} FROM {LAKE}.main.{processed.model(stream)} ORDER BY ALL"),
    )


@on_sqlite
@pytest.mark.parametrize(
    ("log", "deletes"), [("postgres", "hard"), ("no log", "ignore"), ("key in two parts", "hard")]
)
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories(titles=("x", "x", "y")))
@example(history=one_by_one(LIKE_FIRST, REPEATED, FIRST, OTHER))
@example(history=one_by_one(FIRST, OTHER, REPEATED, FIRST))
@example(history=one_by_one(LIKE_FIRST, FIRST, DELETE, OTHER, NOBODY))
@example(history=one_by_one(ANEW, LIKE_FIRST, DELETE))
@example(history=one_by_one(OTHER, BEFORE_OTHER, LIKE_FIRST))
@example(history=[Arrival((FIRST, FIRST, REPEATED, LIKE_FIRST), processes=True, retires=True)])
@example(history=[Arrival((v,), processes=True, retires=False) for v in (OTHER, FIRST, DELETE)])
def test_a_history_depends_on_the_rows_that_landed_and_on_nothing_else(
    lake: Lake, log: str, deletes: str, history: list[Arrival]
) -> None:
    fields = {"_ab_cdc_updated_at": TEXT} if log != "no log" else {}
    stream = new_stream(lake, LOGS[log], deletes, fields, history=True)
    arrive(lake, stream, LOGS[log], history, process)
    versions = [version for arrival in history for version in arrival.versions]
    assert told(lake, stream) == expected(versions, LOGS[log], deletes)
    of_history, shown = current(lake, stream)
    assert of_history == shown
    if not any(arrival.retires and arrival.processes for arrival in history):
        process(lake, stream, full_refresh=True)
        assert told(lake, stream) == expected(versions, LOGS[log], deletes)
