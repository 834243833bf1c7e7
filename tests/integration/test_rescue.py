"""Every row lands: what does not fit its column is kept exactly, and counted."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, STAGING, Lake
from lotus_lake.landing.tables import missing_parts
from lotus_lake.observe.files import find_files
from lotus_lake.observe.status import read_status
from tests.catalogs import on_sqlite
from tests.feeds import SHAPE, Feed, parquet, some_rows
from tests.integration.test_schema_changes import LOSSY, put_flips
from tests.refreshing import GENERATION_SHAPE, refreshes
from tests.rescued import account

TEXT_ID = {**SHAPE, "id": pa.string()}


def rescued(feed: Feed, lake: Lake) -> list[list[dict[str, Any]]]:
    """What is rescued of each row, by `id`."""
    return feed.column(lake, "coalesce(_lake_rescued, [])")


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze"])
@pytest.mark.parametrize("name", LOSSY)
def test_a_file_of_another_type_lands_with_every_row(
    make_feed: Callable[..., Feed], lake: Lake, policy: str, name: str
) -> None:
    feed, flip = make_feed(on_schema_change=policy), LOSSY[name]
    good = feed.put("good.parquet", [{**row, "id": 2} for row in some_rows(1)])
    (key,) = put_flips(feed, {name: flip.value}).values()
    assert feed.run(lake).total == Registration(1, 0, 0, 2, copied=1, rescued=1)
    assert feed.landed(lake) == feed.rows_of([good, key])
    assert feed.events(lake) == {good: ["registered"], key: ["copied"]}
    (column,) = flip.kinds
    table = f"{STAGING}.{feed.stream.landing_table}"
    query = f"SELECT {column}, _lake_rescued FROM {table} WHERE filename LIKE '%copies%'"
    ((there, entries),) = lake.rows(query)
    account(flip.value, there, column, entries)
    assert entries[0]["path"].split(".")[0] == column
    assert f"1 of 1 row with values in _lake_rescued: {column} 1" in feed.errors(lake)[key]


@on_sqlite
def test_rescued_rows_are_counted_everywhere(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet", 2)
    rows = [{**row, "id": text} for row, text in zip(some_rows(3), "7xy", strict=True)]
    key = feed.put("part_1.parquet", rows, shape={**SHAPE, "id": pa.string()})
    done = feed.run(lake).total
    assert done.summary == (
        "2 files landed with 5 rows, 1 of them as copies, 2 rows with rescued values"
    )
    assert read_state(lake, feed.stream, "run", []).rescued == 2
    (status,) = read_status(lake, [feed.stream], {})
    assert (status.rows, status.rescued) == (5, 2)
    assert {file.key: file.rescued_count for file in find_files(lake)}[key] == 2
    assert feed.errors(lake)[key] == (
        "landed as a copy: id VARCHAR as BIGINT; 2 of 3 rows with values in _lake_rescued: id 2"
    )
    feed.run(lake)
    assert lake.value(f"SELECT sum(rescued_count) FROM {META}.feeder_files") == 2


def test_files_without_rescued_values_have_none(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet", [{**row, "id": 1} for row in some_rows(1)])
    feed.run(lake)
    # As in a lake of an earlier release.
    table = f"{STAGING}.{feed.stream.landing_table}"
    lake.con.execute(f"ALTER TABLE {table} DROP COLUMN _lake_rescued")
    assert any("column _lake_rescued" in part for part in missing_parts(lake, feed.stream))
    seven = [{**row, "id": "7"} for row in some_rows(1)]
    feed.put("part_1.parquet", seven, shape={**SHAPE, "id": pa.string()})
    feed.run(lake)
    assert missing_parts(lake, feed.stream) == []
    rows = [{**row, "id": "no. 7"} for row in some_rows(1)]
    feed.put("part_2.parquet", rows, shape={**SHAPE, "id": pa.string()})
    feed.run(lake)
    feed.put("part_3.parquet", [{**row, "id": 9} for row in some_rows(1)])
    feed.run_afresh()
    assert [events for (events,) in feed.events(lake).values()] == [
        "registered", "copied", "copied", "registered",
    ]  # fmt: skip
    with open_lake(feed.settings) as fresh:
        query = f"SELECT id FROM {table} WHERE _lake_rescued IS NULL ORDER BY id"
        assert [row[0] for row in fresh.rows(query)] == [1, 7, 9]
        query = f"SELECT id, unnest(_lake_rescued) FROM {table} WHERE _lake_rescued IS NOT NULL"
        entry = {"path": "id", "value": '"no. 7"', "expected": "BIGINT", "arrived": "VARCHAR"}
        assert fresh.rows(query) == [(None, entry)]


@on_sqlite
def test_a_table_that_lost_the_column_since_it_was_looked_at_gets_it(
    feed: Feed, lake: Lake
) -> None:
    feed.put("part_0.parquet", [{**row, "id": "x"} for row in some_rows(1)], shape=TEXT_ID)
    feed.list_files(lake)
    table = f"{STAGING}.{feed.stream.landing_table}"
    lake.con.execute(f"ALTER TABLE {table} DROP COLUMN _lake_rescued")
    for batch in plan_batches(lake, feed.stream):
        register_batch(lake, feed.stream, batch, "run")
    assert [[entry["value"] for entry in one] for one in rescued(feed, lake)] == [['"x"']]


# The history of a connector: what was text became a time, and then an object.

MOMENT = datetime(2024, 1, 2, 10, 30, tzinfo=UTC)
OBJECT = pa.struct({"at": pa.timestamp("us", "UTC"), "by": pa.string()})
HISTORY: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (
        pa.string(),
        [
            "2024-01-02T10:30:00+00:00",
            "2024-01-02T12:30:00.5+02:00",
            "yesterday",
            '{"by": "Ann", "at": "2024-01-02T10:30:00Z"}',
            '{"by": "Ann", "on": {"a": [1, "x"]}}',
            "",
            None,
        ],
    ),
    "time": (pa.timestamp("us", "UTC"), [MOMENT, None]),
    "object": (OBJECT, [{"at": MOMENT, "by": "Ann"}, {"at": None, "by": "Łódź"}, None]),
    "list": (pa.list_(OBJECT), [[{"at": MOMENT, "by": "Ann"}], [], None]),
    "number": (pa.float64(), [1704191400.25, float("nan"), None]),
}


@pytest.mark.parametrize("order", [["text", "time", "object"], ["object", "time", "text"]])
def test_a_history_of_types_lands_whole(
    make_feed: Callable[..., Feed], lake: Lake, order: list[str]
) -> None:
    assert_history_lands(make_feed(fields={"id": {"type": "integer"}}), lake, order)


@on_sqlite
@pytest.mark.parametrize("order", list(itertools.permutations(HISTORY, 3)))
def test_a_history_of_types_lands_whole_in_any_order(
    make_feed: Callable[..., Feed], lake: Lake, order: list[str]
) -> None:
    assert_history_lands(make_feed(fields={"id": {"type": "integer"}}), lake, order)


def assert_history_lands(feed: Feed, lake: Lake, order: list[str]) -> None:
    """Feed one file of each type, one after the other, and account for each value."""
    sent: dict[int, Any] = {}
    for number, name in enumerate(order):
        kind, values = HISTORY[name]
        rows = [
            {**row, "id": 10 * number + row["id"], "updated": value, "inside": {"updated": value}}
            for row, value in zip(some_rows(len(values)), values, strict=True)
        ]
        shape = {**SHAPE, "updated": kind, "inside": pa.struct({"updated": kind})}
        feed.put(f"{name}.parquet", rows, shape=shape)
        feed.run(lake)
        sent |= {row["id"]: row["updated"] for row in rows}
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert [events for (events,) in feed.events(lake).values()].count("quarantined") == 0
    found = dict(zip(feed.column(lake, "id"), feed.column(lake, "(updated, inside)"), strict=True))
    kept = dict(zip(feed.column(lake, "id"), rescued(feed, lake), strict=True))
    for number, value in sent.items():
        updated, inside = found[number]
        own = [entry for entry in kept[number] if entry["path"].split(".")[0] == "updated"]
        account(value, updated, "updated", own)
        account({"updated": value}, inside, "inside", [e for e in kept[number] if e not in own])


@on_sqlite
def test_a_field_beside_one_that_does_not_fit_is_not_lost(feed: Feed, lake: Lake) -> None:
    kinds = {
        "address": pa.struct({"city": pa.list_(pa.string()), "zip": pa.int64()}),
        "lines": pa.list_(pa.struct({"sku": pa.binary(), "qty": pa.int64()})),
    }
    lines = [{"sku": b"A", "qty": 1}, {"sku": b"\xc5", "qty": 2}]
    rows = [
        {**row, "address": {"city": ["Lund"], "zip": 220}, "lines": lines} for row in some_rows(1)
    ]
    feed.put("part_0.parquet", rows, shape={**SHAPE, **kinds})
    feed.run(lake)
    assert feed.column(lake, "address") == [{"city": '["Lund"]', "zip": 220}]
    assert feed.column(lake, "lines") == [[{"sku": "A", "qty": 1}, {"sku": None, "qty": 2}]]
    entry = {"path": "lines[2].sku", "value": '"\\\\xC5"', "expected": "VARCHAR", "arrived": "BLOB"}
    assert rescued(feed, lake) == [[entry]]
    assert feed.column(lake, "_lake_rescued[1].value::JSON ->> '$'") == ["\\xC5"]


@on_sqlite
def test_fail_still_refuses_another_type(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(on_schema_change="fail", on_type_change="rescue")
    keys = put_flips(feed, {name: flip.value for name, flip in LOSSY.items()})
    feed.run(lake)
    assert feed.events(lake) == {key: ["quarantined"] for key in keys.values()}


# Names


def written(columns: Mapping[str, pa.Array] | list[tuple[str, pa.Array]]) -> bytes:
    """A file of one row, with columns that may have the same name but for case."""
    pairs = list(columns.items() if isinstance(columns, Mapping) else columns)
    fixed = parquet([{**row, "id": 1} for row in some_rows(1)])
    table = pq.read_table(io.BytesIO(fixed))
    for name, values in pairs:
        table = table.append_column(name, values)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


TWINS = pa.array(
    [{"city": "a", "City": "b", "CITY": None}],
    pa.struct([("city", pa.string()), ("City", pa.string()), ("CITY", pa.string())]),
)
ODD_NAMES: dict[str, tuple[bytes, list[tuple[str, str, str | None]]]] = {
    "columns in other case": (
        written({"State": pa.array(["a"]), "state": pa.array(["b"]), "STATUS": pa.array([7])}),
        [("STATUS", "7", None), ("state", '"b"', None)],
    ),
    "fields in other case": (written({"home": TWINS}), [("home.City", '"b"', None)]),
    "no name": (written({"": pa.array([{"a": 1}])}), [('""', '{"a":1}', None)]),
    "names that land as one": (
        written({"month": pa.array([12]), "source_month": pa.array([1])}),
        [("month", "12", None)],
    ),
}


@on_sqlite
@pytest.mark.parametrize("name", ODD_NAMES)
def test_values_whose_name_another_column_has_are_rescued(
    feed: Feed, lake: Lake, name: str
) -> None:
    data, expected = ODD_NAMES[name]
    key = feed.put_bytes("part_0.parquet", data)
    feed.run(lake)
    assert feed.events(lake) == {key: ["copied"]}
    (entries,) = rescued(feed, lake)
    found = [(entry["path"], entry["value"], entry["expected"]) for entry in entries]
    assert sorted(found) == sorted(expected)
    assert feed.column(lake, "(status, year)") == [("paid", 2026)]


@on_sqlite
def test_of_columns_in_other_case_that_of_the_table_lands(feed: Feed, lake: Lake) -> None:
    rank, other = ("Rank", pa.array([1])), ("rank", pa.array([2]))
    for number, columns in enumerate(([rank, other], [other, rank])):
        feed.put_bytes(f"part_{number}.parquet", written(columns))
        feed.run(lake)
    assert feed.column(lake, '"Rank"') == [1, 1]
    assert [[(e["path"], e["value"]) for e in one] for one in rescued(feed, lake)] == [
        [("rank", "2")],
        [("rank", "2")],
    ]


@on_sqlite
@pytest.mark.parametrize("name", ODD_NAMES)
def test_such_names_are_quarantined_where_nothing_is_rescued(
    make_feed: Callable[..., Feed], lake: Lake, name: str
) -> None:
    feed = make_feed(on_type_change="quarantine")
    key = feed.put_bytes("part_0.parquet", ODD_NAMES[name][0])
    feed.run(lake)
    assert feed.events(lake) == {key: ["quarantined"]}
    assert "rename it at the source, or set on_type_change to rescue" in feed.errors(lake)[key]


@on_sqlite
def test_odd_names_are_quoted_in_the_path(feed: Feed, lake: Lake) -> None:
    names = ("x y", "a.b", 'q"x', "select", "😀", "it's", "1st", "_lake_rescued")
    for number, kind in enumerate((pa.int64(), pa.string())):
        value = dict.fromkeys(names, 1 if number == 0 else "x")
        rows = [{**row, "id": number, "odd": value, **value} for row in some_rows(1)]
        inside = pa.struct(dict.fromkeys(names, kind))
        shape = {**SHAPE, "odd": inside, **dict.fromkeys(names, kind)}
        feed.put(f"part_{number}.parquet", rows, shape=shape)
        feed.run(lake)
    first, second = rescued(feed, lake)
    assert (first, len(second)) == ([], 2 * len(names))
    table = f"{STAGING}.{feed.stream.landing_table}"
    for entry in second:  # each path is SQL
        query = f"SELECT landed.{entry['path']} FROM {table} AS landed ORDER BY id"
        assert lake.rows(query) == [(1,), (None,)], entry
        assert (entry["value"], entry["expected"]) == ('"x"', "BIGINT")


@on_sqlite
def test_of_many_columns_those_are_rescued_that_do_not_fit(feed: Feed, lake: Lake) -> None:
    for number, odd in enumerate((1, "x")):
        columns = {f"c{n}": pa.array([1 if n % 20 else odd]) for n in range(2000)}
        buffer = io.BytesIO()
        pq.write_table(pa.table({"id": [number], **columns}), buffer)
        feed.put_bytes(f"part_{number}.parquet", buffer.getvalue())
        feed.run(lake)
    assert list(feed.events(lake).values()) == [["registered"], ["copied"]], feed.errors(lake)
    assert feed.column(lake, "(c1980, c1999)") == [(1, 1), (None, 1)]
    assert [len(entries) for entries in rescued(feed, lake)] == [0, 100]


# What a copy must not lose besides


@on_sqlite
def test_a_copy_has_as_many_rows_as_its_file_says(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(validation="footer")
    data = parquet([{**row, "id": "7"} for row in some_rows(3)], {**SHAPE, "id": pa.string()})
    place = data.index(b"\x16\x06", data.index(b"schema"))  # thrift: i64 3, the number of rows
    key = feed.put_bytes("part_0.parquet", data[:place] + b"\x16\x08" + data[place + 2 :])
    good = feed.put("part_1.parquet")
    feed.run(lake)
    assert feed.events(lake) == {key: ["quarantined"], good: ["registered"]}
    assert feed.errors(lake)[key] == "3 rows could be copied, its footer says 4"
    assert feed.landed(lake) == feed.rows_of([good])


@on_sqlite
def test_a_generation_lands_with_what_is_rescued_of_it(feed: Feed, lake: Lake) -> None:
    stream = refreshes(feed)
    for generation, value in ((1, "x"), (2, "y")):
        old = list(stream.feed.sent)
        rows = [
            {**row, "_airbyte_generation_id": generation, "amount": value} for row in some_rows(2)
        ]
        shape = {**GENERATION_SHAPE, "amount": pa.string()}
        stream.feed.put(f"gen{generation}.parquet", rows, shape=shape)
        stream.delete(*old)
        done = stream.feed.run(lake).total
        assert done == Registration(row_count=2, copied=1, rescued=2)
        found = rescued(stream.feed, lake)
        assert [json.loads(entry["value"]) for (entry,) in found] == [value, value]


@on_sqlite
def test_rows_are_counted_once(feed: Feed, lake: Lake) -> None:
    rows = [{**row, "id": "x"} for row in some_rows(2)]
    feed.put("part_0.parquet", rows, shape={**SHAPE, "id": pa.string()})
    feed.run(lake)
    (before,) = read_status(lake, [feed.stream], {})
    assert feed.run(lake).total == Registration()
    assert read_status(lake, [feed.stream], {}) == [before]
