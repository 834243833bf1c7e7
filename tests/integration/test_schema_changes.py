"""Invariant 9: a change of schema is a decision: evolve, freeze or fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from lotus_lake.errors import SchemaMismatchError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.landing.tables import table_types
from lotus_lake.ledger.schema_changes import ChangesSeen, changes_since
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import FIELDS, SHAPE, Feed, Shape, some_rows


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


def test_each_change_of_a_table_is_seen_once(make_feed: Callable[..., Feed], lake: Lake) -> None:
    def look(seen: ChangesSeen | None) -> tuple[list[tuple[str, str | None]], ChangesSeen]:
        found, seen = changes_since(lake, seen, datetime.now(UTC))
        return [(change.change.column_path, change.change.key) for change in found], seen

    feed = make_feed(on_schema_change="evolve")
    assert look(None)[0] == []  # nothing was ever fed
    feed.put("before.parquet", changed(1, id=0))
    feed.run(lake)
    keys = put_changes(feed)
    feed.run(lake)
    found, seen = look(None)
    assert found == []  # where nobody has looked yet, the past is no news
    assert look(seen)[0] == []
    note = feed.put("note.parquet", changed(1, note="x"), shape={**SHAPE, "note": pa.string()})
    feed.run(lake)
    found, later = look(seen)
    assert found == [("note", note)]
    assert look(later)[0] == []
    # What writes all rows anew, such as a renaming, is no change of a table.
    lake.con.execute(f"UPDATE {META}.schema_changes SET recorded_at = recorded_at - INTERVAL 1 DAY")
    assert (look(later)[0], len(keys)) == ([], len(CHANGES))


@on_sqlite
def test_freeze_lands_the_file_without_the_column_and_says_so(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_schema_change="freeze")
    feed.put("before.parquet", changed(1, id=0))
    feed.list_files(lake)
    before = table_types(lake, feed.stream)
    keys = put_changes(feed)
    assert feed.run(lake).total == Registration(6, 0, 0, 6)
    assert table_types(lake, feed.stream) == before
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


@dataclass(frozen=True)
class Flip:
    """A file with another type under a known name.

    Attributes:
        kinds: The types.
        value: A value of it that would change when cast.
        named: What the ledger says then.
        harmless: A value that would not, if there is one.
        landed: An expression over the landing table, and what it is for that value.
    """

    kinds: Shape
    value: Any
    named: str
    harmless: Any = None
    landed: tuple[str, Any] = ("", None)


FLIPS = {
    "text.parquet": Flip({"id": pa.string()}, "007", "id is BIGINT", "7", ("id", 7)),
    "float.parquet": Flip({"id": pa.float64()}, 7.5, "id is BIGINT", 7.0, ("id", 7)),
    "huge.parquet": Flip({"id": pa.uint64()}, 2**64 - 1, "id is BIGINT", 7, ("id", 7)),
    "integer.parquet": Flip({"status": pa.int64()}, None, "status is VARCHAR", 7, ("status", "7")),
    "whole_numbers.parquet": Flip(
        {"amount": pa.int64()}, 2**53 + 1, "amount is DOUBLE", 7, ("amount", 7.0)
    ),
    "json_text.parquet": Flip(
        {"address": pa.string()},
        '{"city": "Lund", "zip": "220"}',
        "address is STRUCT(city VARCHAR)",
        '{"city":"Lund"}',
        ("address.city", "Lund"),
    ),
    "struct_for_text.parquet": Flip(
        {"status": pa.struct({"code": pa.int64()})},
        None,
        "status is VARCHAR",
        {"code": 7},
        ("status", '{"code":7}'),
    ),
    "nested.parquet": Flip(
        {"address": pa.struct({"city": pa.int64()})},
        None,
        "address.city is VARCHAR",
        {"city": 7},
        ("address.city", "7"),
    ),
    "in_a_list.parquet": Flip(
        {"lines": pa.list_(pa.struct({"sku": pa.int64()}))},
        None,
        "lines.element.sku is VARCHAR",
        [{"sku": 7}, {"sku": 8}],
        ("lines[2].sku", "8"),
    ),
    "no_time_zone.parquet": Flip(
        {"_airbyte_extracted_at": pa.timestamp("us")},
        None,
        "_airbyte_extracted_at is TIMESTAMP WITH TIME ZONE",
        1_000_000,
        ("epoch_ms(_airbyte_extracted_at)", 1000),
    ),
    "no_type_at_all.parquet": Flip({"status": pa.null()}, None, "", None, ("status", None)),
}
LOSSY = {name: flip for name, flip in FLIPS.items() if flip.value is not None}


def put_flips(feed: Feed, values: dict[str, Any]) -> dict[str, str]:
    """One file of one row per flip; returns its key by name."""
    keys = {}
    for name, value in values.items():
        (column,) = FLIPS[name].kinds
        rows = changed(1, **{column: value})
        keys[name] = feed.put(name, rows, shape={**SHAPE, **FLIPS[name].kinds})
    return keys


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze"])
@pytest.mark.parametrize("name", FLIPS)
def test_another_type_lands_as_a_copy_when_no_value_changes(
    make_feed: Callable[..., Feed], lake: Lake, policy: str, name: str
) -> None:
    feed, flip = make_feed(on_schema_change=policy), FLIPS[name]
    feed.list_files(lake)
    before = table_types(lake, feed.stream)
    (key,) = put_flips(feed, {name: flip.harmless}).values()
    assert feed.run(lake).total == Registration(0, 0, 0, 1, copied=1)
    assert feed.events(lake) == {key: ["copied"]}
    assert "landed as a copy" in feed.errors(lake)[key]
    expression, value = flip.landed
    assert feed.column(lake, expression) == [value]
    assert feed.column(lake, "year || month || day") == ["20260310"]
    assert feed.landed(lake) == feed.rows_of([key])
    assert table_types(lake, feed.stream) == before
    assert key in feed.objects()
    (data_file,) = feed.column(lake, "filename")
    assert data_file.startswith(f"{lake.settings.data_path}copies/shop/orders/year=2026/")


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze"])
def test_another_type_is_quarantined_when_a_value_would_change(
    make_feed: Callable[..., Feed], lake: Lake, policy: str
) -> None:
    feed = make_feed(on_schema_change=policy, on_type_change="quarantine")
    good = feed.put("good.parquet")
    keys = put_flips(feed, {name: flip.value for name, flip in LOSSY.items()})
    assert feed.run(lake).total == Registration(1, 0, len(LOSSY), 3)
    assert feed.landed(lake) == feed.rows_of([good])
    errors = feed.errors(lake)
    for name, key in keys.items():
        assert f"column {LOSSY[name].named}" in errors[key]
        assert "1 values would change" in errors[key]


@on_sqlite
def test_fail_quarantines_every_other_type(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed(on_schema_change="fail")
    flips = {name: flip.harmless for name, flip in FLIPS.items() if flip.named}
    keys = put_flips(feed, flips)
    assert feed.run(lake).total == Registration(0, 0, len(flips), 0)
    errors = feed.errors(lake)
    assert {name: FLIPS[name].named in errors[key] for name, key in keys.items()} == dict.fromkeys(
        flips, True
    )


DUE = {"year": 1999, "lines": [{"Day": 7}]}
TAKEN: Shape = {
    "month": pa.int64(),
    "Snapshot_ID": pa.int64(),
    "due": pa.struct({"year": pa.int64(), "lines": pa.list_(pa.struct({"Day": pa.int64()}))}),
}
TAKEN_VALUES = {"month": 12, "Snapshot_ID": 1, "due": DUE}


@on_sqlite
def test_a_field_under_a_name_that_is_taken_lands_under_another(feed: Feed, lake: Lake) -> None:
    rows = [{**row, **TAKEN_VALUES} for row in some_rows(1)]
    key = feed.put("taken.parquet", rows, shape={**SHAPE, **TAKEN})
    feed.run(lake)
    assert feed.events(lake) == {key: ["copied"]}
    assert feed.column(lake, "source_month") == [12]
    assert feed.column(lake, "source_Snapshot_ID") == [1]
    assert feed.column(lake, "due") == [{"source_year": 1999, "lines": [{"source_Day": 7}]}]
    assert feed.column(lake, "(year, month, day)") == [(2026, "03", "10")]
    assert "month BIGINT as source_month BIGINT" in feed.errors(lake)[key]


@on_sqlite
def test_a_field_under_a_name_that_is_taken_may_have_a_column_of_its_own(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    fields = {"id": {"type": "integer"}, "month": {"type": "integer", "column": "billing_month"}}
    feed = make_feed(fields=fields, on_schema_change="freeze")
    rows = [{**row, **TAKEN_VALUES} for row in some_rows(1)]
    feed.put("taken.parquet", rows, shape={**SHAPE, **TAKEN})
    feed.run(lake)
    assert feed.column(lake, "billing_month") == [12]
    assert not {"due", "source_month", "Snapshot_ID"} & table_types(lake, feed.stream).keys()


@on_sqlite
def test_a_file_under_names_that_airbyte_would_not_write_has_its_values(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    odd = ("First Name", "a.b", 'q"x', "😀", "1st", "x-y", "select", "filename", "row_id")
    declared = {"First Name": {"type": "string", "column": "First Name"}}
    fields = {name: declared.get(name, {"type": "string"}) for name in odd}
    feed = make_feed(fields={"id": {"type": "integer"}, **fields})
    rows = [{**row, **dict.fromkeys(odd, "x")} for row in some_rows(1)]
    feed.put("odd.parquet", rows, shape={**SHAPE, **dict.fromkeys(odd, pa.string())})
    feed.run(lake)
    columns = (
        '"First Name"', "a_b", "q_x", "_", "_1st", "x_y", '"select"', "source_filename",
        "source_row_id",
    )  # fmt: skip
    assert feed.column(lake, f"({', '.join(columns)})") == [("x",) * len(columns)]


@on_sqlite
def test_a_new_column_without_a_type_is_left_for_a_file_that_knows_it(
    feed: Feed, lake: Lake
) -> None:
    first = feed.put("part_0.parquet", changed(1, id=0), shape={**SHAPE, "coupon": pa.null()})
    feed.run(lake)
    assert "coupon" not in table_types(lake, feed.stream)
    rows = changed(1, id=1, coupon="SUMMER")
    second = feed.put("part_1.parquet", rows, shape={**SHAPE, "coupon": pa.string()})
    feed.run(lake)
    assert feed.column(lake, "coupon") == [None, "SUMMER"]
    assert feed.events(lake) == {first: ["copied"], second: ["registered"]}


@on_sqlite
def test_a_renamed_column_is_a_new_one_beside_the_old(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet", changed(1, id=0))
    renamed = {("state" if name == "status" else name): kind for name, kind in SHAPE.items()}
    feed.put("part_1.parquet", changed(1, id=1, state="open"), shape=renamed)
    assert feed.run(lake).total == Registration(2, 0, 0, 2)
    assert feed.column(lake, "status") == ["paid", None]
    assert feed.column(lake, "state") == [None, "open"]


@on_sqlite
def test_a_narrowed_column_lands_as_it_is(feed: Feed, lake: Lake) -> None:
    feed.put(rows=changed(1, id=7), shape={**SHAPE, "id": pa.int8()})
    assert feed.run(lake).total.registered == 1
    assert feed.column(lake, "id") == [7]


@on_sqlite
def test_copies_and_registrations_of_a_batch_are_one_commit(feed: Feed, lake: Lake) -> None:
    feed.list_files(lake)
    feed.put("part_0.parquet", changed(2))
    feed.put("part_1.parquet", changed(1, id="7"), shape={**SHAPE, "id": pa.string()})
    before = lake.value(f"SELECT max(snapshot_id) FROM {LAKE}.snapshots()")
    assert feed.run(lake).total == Registration(1, 0, 0, 3, copied=1)
    # One for the discovery, one that notes the batch, one that lands it.
    assert lake.value(f"SELECT max(snapshot_id) FROM {LAKE}.snapshots()") == before + 3
    assert feed.landed(lake) == feed.rows_of(feed.sent)


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
def test_a_file_without_rows_is_empty_whatever_its_types(feed: Feed, lake: Lake) -> None:
    key = feed.put(rows=0, shape={**SHAPE, "id": pa.string()})
    feed.run(lake)
    assert feed.events(lake) == {key: ["empty"]}


# Columns that a file does not have


@pytest.mark.parametrize("prepared", [True, False])
def test_nulls_of_columns_that_a_file_does_not_have_are_found(
    feed: Feed, lake: Lake, prepared: bool
) -> None:
    """DuckLake's statistics forget them, and the optimizer believes the statistics."""
    feed.list_files(lake)
    if not prepared:  # a table of an earlier release, without the row of NULLs at its start
        lake.con.execute(
            "DELETE FROM __ducklake_metadata_lakehouse.ducklake_table_column_stats WHERE table_id "
            "IN (SELECT table_id FROM __ducklake_metadata_lakehouse.ducklake_table "
            f"WHERE table_name = '{feed.stream.landing_table}')"
        )
    few = {name: kind for name, kind in SHAPE.items() if name not in ("status", "address")}
    feed.put("part_0.parquet", changed(3, id=1))
    with open_lake(feed.settings) as fresh:
        feed.list_files(fresh)
        batches = plan_batches(fresh, feed.stream)
        register_batch(fresh, feed.stream, batches[0], "run")
    feed.put("part_1.parquet", changed(2, id=2), shape=few)
    coupon = {**SHAPE, "coupon": pa.string()}
    feed.put("part_2.parquet", changed(1, id=3, coupon="SUMMER"), shape=coupon)
    feed.run_afresh()
    feed.run_afresh()
    table = f"{STAGING}.{feed.stream.landing_table}"
    with open_lake(feed.settings) as fresh:
        found = fresh.rows(
            "SELECT count(*) FILTER (status IS NULL), count(*) FILTER (address.city IS NULL), "
            f"count(*) FILTER (coupon IS NULL), count(status) FROM {table}"
        )
        assert found == [(2, 2, 5, 4)]
        for condition, count in (
            ("status IS NULL", 2),
            ("status = 'paid'", 4),
            ("address.city IS NULL", 2),
            ("coupon = 'SUMMER'", 1),
            ("year IS NULL", 0),
        ):
            query = f"SELECT count(*) FROM {table} WHERE {condition}"
            assert fresh.value(query) == count, condition


@on_sqlite
def test_a_crash_while_a_table_is_prepared_leaves_no_row_in_it(feed: Feed, lake: Lake) -> None:
    for statement in ("INSERT INTO", "DELETE FROM"):
        hook = children.KillBefore(1, start=statement)
        code = children.run(children.feed, feed.settings, feed.stream, "killed", hook)
        assert code == children.KILLED
    feed.put(rows=1)
    with open_lake(feed.settings) as fresh:
        feed.run(fresh)
        assert feed.landed(fresh) == feed.rows_of(feed.sent)


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
    assert str(table_types(lake, feed.stream)["vip"]) == "BOOLEAN"
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
