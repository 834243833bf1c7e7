"""Of a change log, the newest version by the log wins, and what it deletes is gone, and comes back.

Random histories of a few records, landed and processed in any order and any batches, their landing
rows retired in between, against the same in Python: of logs as Airbyte's sources describe them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
from lotus_lake.sql import identifier
from tests.catalogs import on_sqlite
from tests.property import processed

START = datetime(2026, 3, 10, tzinfo=UTC)
# From this second on, the log is another one, although Airbyte's generation is the same.
RESTART = 2
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
        generation: How often Airbyte has read everything again.
    """

    id: int | None
    read: int
    position: int
    raw_id: str
    is_delete: bool
    generation: int = 0

    @property
    def values(self) -> dict[str, Any]:
        at = START + timedelta(seconds=self.read)
        return {
            "_airbyte_raw_id": self.raw_id,
            "_airbyte_extracted_at": at,
            "_airbyte_generation_id": self.generation,
            "id": self.id,
            "line": None if self.id is None else "all",
            "title": None if self.is_delete else f"title {self.raw_id}",
            "_ab_cdc_deleted_at": at.isoformat() if self.is_delete else None,
            "year": "2026",
        }


@dataclass(frozen=True)
class Log:
    """How a source tells positions.

    Attributes:
        fields: What it adds to its records.
        tell: Their values at a position; positions are in this order.
        order: What decides which of two versions is newer.
        changes: Of the stream's config.
    """

    fields: dict[str, Any]
    tell: Callable[[int], dict[str, Any]]
    order: Callable[[Version], tuple[Any, ...]]
    changes: dict[str, Any] = field(default_factory=dict)


def by_log(version: Version) -> tuple[Any, ...]:
    return version.generation, version.position, version.read, version.raw_id


def by_read(version: Version) -> tuple[Any, ...]:
    return version.read, version.position, version.raw_id


NUMBER, TEXT = {"type": "number"}, {"type": "string"}
LOGS = {
    # After 12 TB of log, and in numbers of another length.
    "postgres": Log(
        {"_ab_cdc_lsn": NUMBER},
        lambda position: {"_ab_cdc_lsn": (9e9, 1.2e13, 1.3e13)[position]},
        by_log,
        {"cursor_field": ["_ab_cdc_lsn"]},
    ),
    # Neither file nor position is text in the order of the log.
    "mysql": Log(
        {
            "_ab_cdc_log_file": TEXT,
            "_ab_cdc_log_pos": NUMBER,
            "_ab_cdc_cursor": {"type": "integer"},
        },
        lambda position: {
            "_ab_cdc_log_file": ("binlog.999999", "binlog.999999", "binlog.1000000")[position],
            "_ab_cdc_log_pos": (9, 157, 4)[position],
        },
        by_log,
    ),
    "sql server": Log(
        {"_ab_cdc_lsn": TEXT, "_ab_cdc_event_serial_no": TEXT},
        lambda position: {
            "_ab_cdc_lsn": ("00000027:00000ac0:0002", "0000002A:00000010:0001")[position > 0],
            "_ab_cdc_event_serial_no": ("2", "9", "10")[position],
        },
        by_log,
    ),
    # No position in a log, only a number that grows with each row that was read.
    "mongodb": Log(
        {"_ab_cdc_cursor": {"type": "integer"}},
        lambda position: {"_ab_cdc_cursor": 177_000_000_000_000_000 + position},
        by_read,
        {"cursor_field": ["_ab_cdc_cursor"]},
    ),
    "restarted": Log(
        {"_ab_cdc_lsn": NUMBER},
        lambda position: {"_ab_cdc_lsn": float(position)},
        lambda version: (version.read >= RESTART, *by_log(version)),
        {"log_restarts": [(START + timedelta(seconds=RESTART)).isoformat()]},
    ),
    "key in two parts": Log(
        {"_ab_cdc_lsn": NUMBER},
        lambda position: {"_ab_cdc_lsn": float(position)},
        by_log,
        {"primary_key": [["id"], ["line"]]},
    ),
}


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
                st.sampled_from([0, 0, 0, 1]),
            ),
            min_size=1,
            max_size=9,
        )
    )
    versions = [
        Version(key, read, position, f"{number}", is_delete, generation)
        for number, (key, read, position, is_delete, generation) in enumerate(rows)
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
# An attempt of Airbyte that failed has read up to BACK; the next one has come to here.
AGAIN = Version(1, 2, 0, "f", is_delete=False)
# Airbyte reads everything again, from a log that began anew.
ANEW = Version(1, 2, 0, "g", is_delete=False, generation=1)


def one_by_one(*versions: Version) -> list[Arrival]:
    return [Arrival((version,), processes=True, retires=True) for version in versions]


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


def new_stream(lake: Lake, log: Log, deletes: str) -> Stream:
    """A stream as Airbyte's sources with a change log describe it, with its landing table."""
    document = {
        "stream": "orders",
        "primary_key": [["id"]],
        "deletes": deletes,
        "fields": {
            "id": {"type": "integer"},
            "line": TEXT,
            "title": TEXT,
            **log.fields,
            "_ab_cdc_deleted_at": TEXT,
        },
        **log.changes,
    }
    stream = Stream(f"shop_{next(_numbers)}", "orders", StreamConfig.model_validate(document))
    create_ledger(lake, stream)
    bring_up_to_config(lake, stream)
    return stream


def process(lake: Lake, stream: Stream, *, full_refresh: bool = False) -> None:
    columns = model_columns(stream, {})
    meta = {"deletes": stream.config.deletes, "order": "log" if stream.config.log else ""}
    query = model_sql(stream, columns)
    processed.process(lake, stream, query, list(columns.key), full_refresh=full_refresh, **meta)


def arrive(lake: Lake, stream: Stream, log: Log, history: Sequence[Arrival]) -> None:
    table = f"{STAGING}.{stream.landing_table}"

    def land(versions: Sequence[Version]) -> None:
        rows = [version.values | log.tell(version.position) for version in versions]
        names = ", ".join(map(identifier, rows[0]))
        lake.con.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' for _ in rows[0])})",
            [list(row.values()) for row in rows],
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
@example(history=[Arrival((v,), processes=True, retires=False) for v in (DELETE, OLD, UNSEEN)])
def test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival(
    lake: Lake, log: str, deletes: str, history: list[Arrival]
) -> None:
    stream = new_stream(lake, LOGS[log], deletes)
    arrive(lake, stream, LOGS[log], history)
    versions = [version for arrival in history for version in arrival.versions]
    assert told(lake, stream) == expected(versions, LOGS[log], deletes)
    if not any(arrival.retires and arrival.processes for arrival in history):
        process(lake, stream, full_refresh=True)
        assert told(lake, stream) == expected(versions, LOGS[log], deletes)
