"""Change logs as Airbyte's sources describe them, and random histories of what they tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import strategies as st

from lotus_lake.config.stream_config import StreamConfig
from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import STAGING, Lake
from lotus_lake.landing.tables import bring_up_to_config
from lotus_lake.ledger.schema import create_ledger
from lotus_lake.sql import identifier

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
        title: What else it says of the record, if it is no delete.
    """

    id: int | None
    read: int
    position: int
    raw_id: str
    is_delete: bool
    generation: int = 0
    title: str = ""

    @property
    def values(self) -> dict[str, Any]:
        return {
            "_airbyte_raw_id": self.raw_id,
            "_airbyte_extracted_at": moment(self.read),
            "_airbyte_generation_id": self.generation,
            "id": self.id,
            "line": None if self.id is None else "all",
            "title": None if self.is_delete else self.title or f"title {self.raw_id}",
            "_ab_cdc_deleted_at": moment(self.position).isoformat() if self.is_delete else None,
            "_ab_cdc_updated_at": moment(self.position).isoformat(),
            "year": "2026",
        }


def moment(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Log:
    """How a source tells positions.

    Attributes:
        fields: What it adds to its records.
        tell: Their values at a position; positions are in this order.
        order: What decides which of two versions is newer.
        changes: Of the stream's config.
        says: What of a version is the record's own.
        tells_time: Whether it says when the source changed a record.
    """

    fields: dict[str, Any]
    tell: Callable[[int], dict[str, Any]]
    order: Callable[[Version], tuple[Any, ...]]
    changes: dict[str, Any] = field(default_factory=dict)
    says: Callable[[Version], Any] = lambda version: (
        version.values["title"],
        version.values["_ab_cdc_deleted_at"],
    )
    tells_time: bool = True


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
    # A cursor of the record's own, which is its only time at the source.
    "no log": Log(
        {"updated_at": {"type": "string", "format": "date-time"}},
        lambda position: {"updated_at": moment(position)},
        by_read,
        {"cursor_field": ["updated_at"]},
        lambda version: (version.values["title"], version.is_delete, version.position),
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
def histories(draw: st.DrawFn, titles: Sequence[str] = ("",)) -> list[Arrival]:
    """Of a few versions that follow each other in any order; with titles, some say the same."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1, 1, 1, 2, 3, None]),
                st.integers(0, 2),
                st.integers(0, 2),
                st.booleans(),
                st.sampled_from([0, 0, 0, 1]),
                st.sampled_from(titles),
            ),
            min_size=1,
            max_size=9,
        )
    )
    versions = [
        Version(key, read, position, f"{number}", is_delete, generation, title)
        for number, (key, read, position, is_delete, generation, title) in enumerate(rows)
    ]
    order = draw(st.permutations(versions))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1)))) if len(order) > 1 else []
    return [
        Arrival(tuple(order[first:last]), draw(st.booleans()), draw(st.booleans()))
        for first, last in itertools.pairwise([0, *cuts, len(order)])
    ]


def new_stream(
    lake: Lake, log: Log, deletes: str, fields: dict[str, Any] | None = None, **changes: Any
) -> Stream:
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
            **(fields or {}),
            "_ab_cdc_deleted_at": TEXT,
        },
        **log.changes,
        **changes,
    }
    stream = Stream(f"shop_{next(_numbers)}", "orders", StreamConfig.model_validate(document))
    create_ledger(lake, stream)
    bring_up_to_config(lake, stream)
    return stream


def arrive(
    lake: Lake,
    stream: Stream,
    log: Log,
    history: Sequence[Arrival],
    process: Callable[[Lake, Stream], None],
) -> None:
    """Let the rows of a history land, and be processed and retired."""
    table = f"{STAGING}.{stream.landing_table}"

    def land(versions: Sequence[Version]) -> None:
        rows = [
            {
                name: value
                for name, value in (version.values | log.tell(version.position)).items()
                if name in stream.config.fields or name.startswith("_airbyte") or name == "year"
            }
            for version in versions
        ]
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


def one_by_one(*versions: Version) -> list[Arrival]:
    return [Arrival((version,), processes=True, retires=True) for version in versions]
