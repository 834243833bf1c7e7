"""Invariant 9: a change of schema is a decision: evolve, freeze or fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from lotus_lake import landing
from lotus_lake.catalog import LAKE, Lake
from lotus_lake.errors import SchemaMismatchError
from lotus_lake.feeder.registering import Registration
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import FIELDS, SHAPE, Feed, Shape, parquet, some_rows


def changed(count: int, **values: Any) -> list[dict[str, Any]]:
    """Some rows with other values."""
    return [{**row, **values} for row in some_rows(count)]


def with_column_in_the_middle(name: str, kind: pa.DataType) -> Shape:
    """The usual shape with one more column after the second."""
    columns = list(SHAPE.items())
    return dict([*columns[:2], (name, kind), *columns[2:]])


@dataclass(frozen=True)
class Change:
    """A file that brings something new: its shape, its values, where they land, how it is named."""

    shape: Shape
    values: dict[str, Any]
    expression: str
    value: Any
    named: str


CHANGES = {
    "middle.parquet": Change(
        with_column_in_the_middle("currency", pa.string()),
        {"currency": "SEK"},
        "currency",
        "SEK",
        "currency VARCHAR",
    ),
    "end.parquet": Change(
        {**SHAPE, "paid_at": pa.timestamp("us", tz="UTC")},
        {"paid_at": 0},
        "epoch_us(paid_at)",
        0,
        "paid_at TIMESTAMP WITH TIME ZONE",
    ),
    "nested.parquet": Change(
        {**SHAPE, "address": pa.struct({"zip": pa.string(), "city": pa.string()})},
        {"address": {"city": "Umeå", "zip": "901"}},
        "address.zip",
        "901",
        "address.zip VARCHAR",
    ),
    "in_a_list.parquet": Change(
        {**SHAPE, "lines": pa.list_(pa.struct({"qty": pa.int64(), "sku": pa.string()}))},
        {"lines": [{"sku": "A", "qty": 7}]},
        "lines[1].qty",
        7,
        "lines.element.qty BIGINT",
    ),
    "hostile_names.parquet": Change(
        {**SHAPE, "geo": pa.struct({'la"t': pa.float64(), "select": pa.list_(pa.string())})},
        {"geo": {'la"t': 1.5, "select": ["x"]}},
        'geo."la""t"',
        1.5,
        'geo STRUCT("la""t" DOUBLE, "select" VARCHAR[])',
    ),
}


def put_changes(feed: Feed) -> dict[str, str]:
    """One file of one row per change, `id` counting from 1; returns its key by name."""
    return {
        name: feed.put(name, changed(1, id=number, **change.values), shape=change.shape)
        for number, (name, change) in enumerate(CHANGES.items(), start=1)
    }


def test_evolve_lands_the_very_file_that_brings_a_column_with_its_values(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_schema_change="evolve")
    feed.put("before.parquet", changed(1, id=0))
    feed.run(lake)
    put_changes(feed)
    feed.put("zz_after.parquet", changed(1, id=9))
    assert feed.run(lake).total == Registration(6, 0, 0, 6)
    for number, change in enumerate(CHANGES.values(), start=1):
        expected = [None] * 7
        expected[number] = change.value
        assert feed.column(lake, change.expression) == expected, change.named
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.errors(lake) == {}


@on_sqlite
def test_freeze_lands_the_file_without_the_column_and_says_so(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_schema_change="freeze")
    feed.put("before.parquet", changed(1, id=0))
    feed.list_files(lake)
    before = landing.table_types(lake, feed.stream)
    keys = put_changes(feed)
    assert feed.run(lake).total == Registration(6, 0, 0, 6)
    assert landing.table_types(lake, feed.stream) == before
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.column(lake, "status") == ["paid"] * 6
    assert feed.errors(lake) == {
        key: f"columns left out by on_schema_change freeze: {CHANGES[name].named}"
        for name, key in keys.items()
    }


@on_sqlite
def test_fail_quarantines_the_file_with_the_reason(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_schema_change="fail")
    good = feed.put("before.parquet", changed(1, id=0))
    keys = put_changes(feed)
    assert feed.run(lake).total == Registration(1, 0, 5, 1)
    assert feed.landed(lake) == feed.rows_of([good])
    assert feed.errors(lake) == {
        key: f"new columns {CHANGES[name].named}, and on_schema_change is fail"
        for name, key in keys.items()
    }


FITTING: dict[str, Shape] = {
    "fewer.parquet": {
        name: kind for name, kind in SHAPE.items() if name not in ("status", "lines")
    },
    "reordered.parquet": dict(reversed(list(SHAPE.items()))),
    "upper_case.parquet": {name.upper(): kind for name, kind in SHAPE.items()},
    "int32_into_bigint.parquet": {**SHAPE, "id": pa.int32()},
    "float_into_double.parquet": {**SHAPE, "amount": pa.float32(), "id": pa.uint16()},
    "other_time_unit.parquet": {**SHAPE, "_airbyte_extracted_at": pa.timestamp("us", tz="UTC")},
    "dictionary.parquet": {**SHAPE, "status": pa.dictionary(pa.int8(), pa.string())},
}


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze", "fail"])
def test_what_fits_lands_under_every_policy(
    make_feed: Callable[..., Feed], lake: Lake, policy: str
) -> None:
    feed = make_feed(on_schema_change=policy)
    for number, (name, shape) in enumerate(FITTING.items()):
        (row,) = changed(1, id=number)
        both = {cased: value for key, value in row.items() for cased in (key, key.upper())}
        feed.put(name, [both], shape=shape)
    assert feed.run(lake).total == Registration(len(FITTING), 0, 0, len(FITTING))
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.column(lake, "id") == list(range(len(FITTING)))
    assert feed.column(lake, "amount") == [9.5] * len(FITTING)
    assert feed.column(lake, "address.city") == ["Łódź"] * len(FITTING)
    assert feed.column(lake, "status") == [None] + ["paid"] * (len(FITTING) - 1)
    assert feed.errors(lake) == {}


FLIPS: dict[str, tuple[Shape, dict[str, Any], str]] = {
    "text.parquet": (
        {"id": pa.string()},
        {"id": "7"},
        "column id is BIGINT, arriving as VARCHAR",
    ),
    "float.parquet": (
        {"id": pa.float64()},
        {"id": 7.5},
        "column id is BIGINT, arriving as DOUBLE",
    ),
    "integer.parquet": (
        {"status": pa.int64()},
        {"status": 7},
        "column status is VARCHAR, arriving as BIGINT",
    ),
    "whole_numbers.parquet": (
        {"amount": pa.int64()},
        {"amount": 7},
        "column amount is DOUBLE, arriving as BIGINT",
    ),
    "json_text.parquet": (
        {"address": pa.string()},
        {"address": "{}"},
        "column address is STRUCT(city VARCHAR), arriving as VARCHAR",
    ),
    "nested.parquet": (
        {"address": pa.struct({"city": pa.int64()})},
        {"address": {"city": 7}},
        "column address.city is VARCHAR, arriving as BIGINT",
    ),
    "in_a_list.parquet": (
        {"lines": pa.list_(pa.struct({"sku": pa.int64()}))},
        {"lines": [{"sku": 7}]},
        "column lines.element.sku is VARCHAR, arriving as BIGINT",
    ),
    "no_time_zone.parquet": (
        {"_airbyte_extracted_at": pa.timestamp("us")},
        {"_airbyte_extracted_at": 0},
        "column _airbyte_extracted_at is TIMESTAMP WITH TIME ZONE, arriving as TIMESTAMP",
    ),
    "month.parquet": (
        {"month": pa.int64()},
        {"month": 1999},
        "field month has the name of a partition column",
    ),
    "nested_year.parquet": (
        {"due": pa.struct({"Year": pa.int64()})},
        {"due": {"Year": 1999}},
        "field due.Year has the name of a partition column",
    ),
    "day_in_a_list.parquet": (
        {"due": pa.list_(pa.struct({"day": pa.int64()}))},
        {"due": [{"day": 1}]},
        "field due.day has the name of a partition column",
    ),
}


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze"])
def test_what_cannot_fit_is_quarantined_with_the_reason(
    make_feed: Callable[..., Feed], lake: Lake, policy: str
) -> None:
    feed = make_feed(on_schema_change=policy)
    good = feed.put("good.parquet")
    bad = {
        feed.put_bytes(name, parquet(changed(2, **values), {**SHAPE, **kinds})): reason
        for name, (kinds, values, reason) in FLIPS.items()
    }
    assert feed.run(lake).total == Registration(1, 0, len(FLIPS), 3)
    assert feed.landed(lake) == feed.rows_of([good])
    errors = feed.errors(lake)
    assert {key: reason in errors[key] for key, reason in bad.items()} == dict.fromkeys(bad, True)
    assert "due" not in landing.table_types(lake, feed.stream)


@on_sqlite
def test_a_column_is_widened_for_wider_files(feed: Feed, lake: Lake) -> None:
    big = 2**40
    feed.put("part_0.parquet", changed(1, id=0, small=1), shape={**SHAPE, "small": pa.int16()})
    feed.run(lake)
    feed.put("part_1.parquet", changed(1, id=1, small=big), shape={**SHAPE, "small": pa.int64()})
    feed.put("part_2.parquet", changed(1, id=2, small=3), shape={**SHAPE, "small": pa.int32()})
    assert feed.run(lake).total == Registration(2, 0, 0, 2)
    assert feed.column(lake, "small") == [1, big, 3]


@on_sqlite
def test_a_file_without_rows_still_tells_its_flip(feed: Feed, lake: Lake) -> None:
    bad = feed.put(rows=0, shape={**SHAPE, "id": pa.string()})
    feed.run(lake)
    assert feed.events(lake) == {bad: ["quarantined"]}


# The config against the table


@on_sqlite
def test_a_table_follows_its_config_but_loses_nothing(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed()
    feed.put(rows=1)
    feed.run(lake)
    zip_code = {"zip": {"type": "string"}, **FIELDS["address"]["properties"]}
    feed = make_feed(
        fields={
            "id": FIELDS["id"],
            "vip": {"type": "boolean"},
            "address": {"type": "object", "properties": zip_code},
        }
    )
    feed.list_files(lake)
    assert feed.column(lake, "vip IS NULL AND address.zip IS NULL") == [True]
    assert str(landing.table_types(lake, feed.stream)["vip"]) == "BOOLEAN"
    assert feed.column(lake, "status") == ["paid"]
    feed = make_feed(fields={"id": {"type": "string"}})
    with pytest.raises(SchemaMismatchError, match="column id is BIGINT, arriving as VARCHAR") as e:
        feed.list_files(lake)
    assert "include/streams/shop/orders.json" in str(e.value)


@on_sqlite
def test_landing_tables_are_protected_from_compaction_and_inlining(feed: Feed, lake: Lake) -> None:
    feed.list_files(lake)
    options = lake.rows(
        f"SELECT option_name, value FROM {LAKE}.options() WHERE scope_entry = ?",
        [f"staging.{feed.stream.landing_table}"],
    )
    assert dict(options) == {"auto_compact": "false", "data_inlining_row_limit": "0"}


@on_postgres
def test_two_feeders_that_add_the_same_column_both_go_on(feed: Feed, lake: Lake) -> None:
    feed.list_files(lake)
    put_changes(feed)
    barrier = children.context.Barrier(2)
    racers = [
        children.start(
            children.feed,
            feed.settings,
            feed.stream,
            run,
            children.MeetBefore(barrier, "ALTER TABLE"),
        )
        for run in ("one", "two")
    ]
    assert children.finish(*racers) == [0, 0]
    assert feed.landed(lake) == feed.rows_of(feed.sent)
