"""What a change log deletes is gone, and comes back, whatever arrives first.

Random histories of a few records, landed and processed in any order and any batches, their landing
rows retired in between, against the same in Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lotus_lake.config.stream_config import StreamConfig
from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, STAGING, Lake
from lotus_lake.landing.tables import bring_up_to_config
from lotus_lake.ledger.schema import create_ledger
from lotus_lake.scaffold.columns import model_columns
from lotus_lake.scaffold.model_sql import model_sql
from tests.catalogs import on_sqlite
from tests.property import processed

START = datetime(2026, 3, 10, tzinfo=UTC)
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Version:
    """A row of a change log; all but the key of a delete is null.

    Attributes:
        id: Key of the record; `None` in a row without one.
        read: When Airbyte read it, in seconds.
        position: Its position in the log.
        raw_id: No other row has it.
        is_delete: Whether it tells that the record was deleted.
    """

    id: int | None
    read: int
    position: int
    raw_id: str
    is_delete: bool

    @property
    def order(self) -> tuple[int, int, str]:
        return self.read, self.position, self.raw_id

    @property
    def values(self) -> list[Any]:
        title = None if self.is_delete else f"title {self.raw_id}"
        at = START + timedelta(seconds=self.read)
        deleted_at = at.isoformat() if self.is_delete else None
        return [self.raw_id, at, self.id, title, float(self.position), deleted_at]


@dataclass(frozen=True)
class Arrival:
    """Some rows land, then perhaps the model runs, and then perhaps what it has read is retired."""

    versions: tuple[Version, ...]
    processes: bool
    retires: bool


@st.composite
def histories(draw: st.DrawFn) -> list[Arrival]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1, 1, 1, 2, 3, None]),
                st.integers(0, 2),
                st.integers(0, 2),
                st.booleans(),
            ),
            min_size=1,
            max_size=9,
        )
    )
    versions = [
        Version(key, read, position, f"{number}", is_delete)
        for number, (key, read, position, is_delete) in enumerate(rows)
    ]
    order = draw(st.permutations(versions))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1)))) if len(order) > 1 else []
    return [
        Arrival(tuple(order[first:last]), draw(st.booleans()), draw(st.booleans()))
        for first, last in itertools.pairwise([0, *cuts, len(order)])
    ]


OLD = Version(1, 0, 0, "a", is_delete=False)
DELETE = Version(1, 1, 1, "b", is_delete=True)
BACK = Version(1, 2, 2, "c", is_delete=False)
UNSEEN = Version(2, 1, 1, "d", is_delete=True)
NOBODY = Version(None, 1, 1, "e", is_delete=False)


def one_by_one(*versions: Version) -> list[Arrival]:
    return [Arrival((version,), processes=True, retires=True) for version in versions]


Told = list[tuple[Any, ...]]


def expected(versions: Iterable[Version], deletes: str) -> tuple[Told, Told]:
    """The table and what is kept out of it, in Python."""
    newest: dict[Any, Version] = {}
    for version in sorted(versions, key=lambda version: version.order):
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
            shown.append((version.id, version.raw_id, version.values[3], version.is_delete))
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


def new_stream(lake: Lake, deletes: str) -> Stream:
    """A stream as Airbyte's sources with a change log describe it, with its landing table."""
    document = {
        "stream": "orders",
        "primary_key": [["id"]],
        "cursor_field": ["_ab_cdc_lsn"],
        "deletes": deletes,
        "fields": {
            "id": {"type": "integer"},
            "title": {"type": "string"},
            "_ab_cdc_lsn": {"type": "number"},
            "_ab_cdc_deleted_at": {"type": "string"},
        },
    }
    stream = Stream(f"shop_{next(_numbers)}", "orders", StreamConfig.model_validate(document))
    create_ledger(lake, stream)
    bring_up_to_config(lake, stream)
    return stream


def process(lake: Lake, stream: Stream, *, full_refresh: bool = False) -> None:
    query = model_sql(stream, model_columns(stream, {}))
    processed.process(lake, stream, query, full_refresh=full_refresh, deletes=stream.config.deletes)


def arrive(lake: Lake, stream: Stream, history: Sequence[Arrival]) -> None:
    table = f"{STAGING}.{stream.landing_table}"

    def land(versions: Sequence[Version]) -> None:
        lake.con.executemany(
            f"INSERT INTO {table} (_airbyte_raw_id, _airbyte_extracted_at, id, title, "
            "_ab_cdc_lsn, _ab_cdc_deleted_at, year) VALUES (?, ?, ?, ?, ?, ?, '2026')",
            [version.values for version in versions],
        )

    for arrival in history:
        lake.commit("land", partial(land, arrival.versions))
        if arrival.processes:
            process(lake, stream)
            if arrival.retires:
                retire = f"DELETE FROM {table} WHERE year IS NOT NULL"
                lake.commit("retire", partial(lake.con.execute, retire))
    process(lake, stream)


@on_sqlite
@pytest.mark.parametrize("deletes", ["hard", "soft", "ignore"])
@settings(
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories())
@example(history=one_by_one(OLD, DELETE, BACK))
@example(history=one_by_one(DELETE, OLD, BACK))
@example(history=one_by_one(BACK, OLD, DELETE))
@example(history=one_by_one(UNSEEN, DELETE, BACK, OLD, NOBODY))
@example(history=[Arrival((OLD, DELETE, UNSEEN, NOBODY), processes=True, retires=True)])
@example(history=[Arrival((v,), processes=True, retires=False) for v in (DELETE, OLD, UNSEEN)])
def test_a_delete_wins_over_what_is_older_in_any_order_of_arrival(
    lake: Lake, deletes: str, history: list[Arrival]
) -> None:
    stream = new_stream(lake, deletes)
    arrive(lake, stream, history)
    versions = [version for arrival in history for version in arrival.versions]
    assert told(lake, stream) == expected(versions, deletes)
    if not any(arrival.retires and arrival.processes for arrival in history):
        process(lake, stream, full_refresh=True)
        assert told(lake, stream) == expected(versions, deletes)
