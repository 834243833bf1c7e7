"""Invariant 9: a change of schema is a decision: evolve, freeze or fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from lotus_lake import landing
from lotus_lake.catalog import LAKE, Lake
from lotus_lake.errors import SchemaMismatchError
from lotus_lake.feeder.registering import Registration
from tests.catalogs import on_sqlite
from tests.feeds import FIELDS, SHAPE, Feed, Shape, parquet, some_rows


def changed(rows: int, **values: Any) -> list[dict[str, Any]]:
    """Some rows with other values."""
    return [{**row, **values} for row in some_rows(rows)]


def with_column_in_the_middle(name: str, kind: pa.DataType) -> Shape:
    """The usual shape with one more column after the second."""
    columns = list(SHAPE.items())
    return dict([*columns[:2], (name, kind), *columns[2:]])


NESTED = {**SHAPE, "address": pa.struct({"zip": pa.string(), "city": pa.string()})}
IN_LIST = {**SHAPE, "lines": pa.list_(pa.struct({"qty": pa.int64(), "sku": pa.string()}))}

NEW: list[Any] = [
    pytest.param(
        with_column_in_the_middle("currency", pa.string()),
        {"currency": "SEK"},
        "currency",
        "SEK",
        "currency VARCHAR",
        id="column in the middle",
    ),
    pytest.param(
        {**SHAPE, "paid_at": pa.timestamp("us", tz="UTC")},
        {"paid_at": 0},
        "epoch_us(paid_at)",
        0,
        "paid_at TIMESTAMP WITH TIME ZONE",
        id="column at the end",
    ),
    pytest.param(
        NESTED,
        {"address": {"city": "Umeå", "zip": "901"}},
        "address.zip",
        "901",
        "address.zip VARCHAR",
        id="nested field",
    ),
    pytest.param(
        IN_LIST,
        {"lines": [{"sku": "A", "qty": 7}]},
        "lines[1].qty",
        7,
        "lines.element.qty BIGINT",
        id="field of list elements",
    ),
    pytest.param(
        {**SHAPE, "geo": pa.struct({'la"t': pa.float64(), "select": pa.list_(pa.string())})},
        {"geo": {'la"t': 1.5, "select": ["x"]}},
        'geo."la""t"',
        1.5,
        'geo STRUCT("la""t" DOUBLE, "select" VARCHAR[])',
        id="struct with hostile names",
    ),
]
new = pytest.mark.parametrize(("shape", "values", "expression", "value", "named"), NEW)


@new
def test_evolve_lands_the_very_file_that_brings_a_column_with_its_values(
    make_feed: Callable[..., Feed],
    lake: Lake,
    shape: Shape,
    values: dict[str, Any],
    expression: str,
    value: Any,
    named: str,
) -> None:
    feed = make_feed(on_schema_change="evolve")
    old = feed.put("part_0.parquet", rows=1)
    feed.run(lake)
    brings = feed.put("part_1.parquet", changed(1, id=100, **values), shape=shape)
    later = feed.put("part_2.parquet", changed(1, id=200))
    assert feed.run(lake).total == Registration(2, 0, 0, 2)
    assert feed.column(lake, expression) == [None, value, None]
    assert feed.landed(lake) == feed.rows_of([old, brings, later])
    assert feed.errors(lake) == {}


@on_sqlite
@new
def test_freeze_lands_the_file_without_the_column_and_says_so(
    make_feed: Callable[..., Feed],
    lake: Lake,
    shape: Shape,
    values: dict[str, Any],
    expression: str,
    value: Any,
    named: str,
) -> None:
    feed = make_feed(on_schema_change="freeze")
    feed.put("part_0.parquet", rows=1)
    feed.run(lake)
    before = landing.table_types(lake, feed.stream)
    brings = feed.put("part_1.parquet", changed(1, id=100, **values), shape=shape)
    assert feed.run(lake).total == Registration(1, 0, 0, 1)
    assert landing.table_types(lake, feed.stream) == before
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.errors(lake) == {brings: f"columns left out by on_schema_change freeze: {named}"}
    assert feed.column(lake, "status") == ["paid", "paid"]


@on_sqlite
@new
def test_fail_quarantines_the_file_with_the_reason(
    make_feed: Callable[..., Feed],
    lake: Lake,
    shape: Shape,
    values: dict[str, Any],
    expression: str,
    value: Any,
    named: str,
) -> None:
    feed = make_feed(on_schema_change="fail")
    good = feed.put("part_0.parquet", rows=1)
    brings = feed.put("part_1.parquet", changed(1, id=100, **values), shape=shape)
    assert feed.run(lake).total == Registration(1, 0, 1, 1)
    assert feed.landed(lake) == feed.rows_of([good])
    assert feed.errors(lake) == {brings: f"new columns {named}, and on_schema_change is fail"}


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze", "fail"])
@pytest.mark.parametrize(
    "shape",
    [
        {name: kind for name, kind in SHAPE.items() if name not in ("status", "lines")},
        dict(reversed(SHAPE.items())),
        {name.upper(): kind for name, kind in SHAPE.items()},
        {**SHAPE, "id": pa.int32()},
        {**SHAPE, "amount": pa.float32(), "id": pa.uint16()},
        {**SHAPE, "_airbyte_extracted_at": pa.timestamp("us", tz="UTC")},
        {**SHAPE, "status": pa.dictionary(pa.int8(), pa.string())},
    ],
    ids=[
        "missing column", "reordered", "upper case", "int32 into BIGINT",
        "float into DOUBLE", "other time unit", "dictionary",
    ],
)  # fmt: skip
def test_what_fits_lands_under_every_policy(
    make_feed: Callable[..., Feed], lake: Lake, policy: str, shape: Shape
) -> None:
    feed = make_feed(on_schema_change=policy)
    rows = [
        {name: value for key, value in row.items() for name in (key, key.upper())}
        for row in some_rows(2)
    ]
    feed.put(rows=rows, shape=shape)
    assert feed.run(lake).total == Registration(1, 0, 0, 2)
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.column(lake, "id") == [0, 1]
    assert feed.column(lake, "amount") == [9.5, 9.5]
    assert feed.errors(lake) == {}


FLIPS: list[Any] = [
    pytest.param({"id": pa.string()}, {"id": "7"}, "column id is BIGINT, arriving as VARCHAR"),
    pytest.param({"id": pa.float64()}, {"id": 7.5}, "column id is BIGINT, arriving as DOUBLE"),
    pytest.param({"status": pa.int64()}, {"status": 7}, "column status is VARCHAR, arriving as"),
    pytest.param({"amount": pa.int64()}, {"amount": 7}, "column amount is DOUBLE, arriving as"),
    pytest.param({"address": pa.string()}, {"address": "{}"}, "column address is STRUCT(city"),
    pytest.param(
        {"address": pa.struct({"city": pa.int64()})},
        {"address": {"city": 7}},
        "column address.city is VARCHAR, arriving as BIGINT",
    ),
    pytest.param(
        {"lines": pa.list_(pa.struct({"sku": pa.int64()}))},
        {"lines": [{"sku": 7}]},
        "column lines.element.sku is VARCHAR, arriving as BIGINT",
    ),
    pytest.param(
        {"_airbyte_extracted_at": pa.timestamp("us")},
        {"_airbyte_extracted_at": 0},
        "column _airbyte_extracted_at is TIMESTAMP WITH TIME ZONE, arriving as TIMESTAMP",
    ),
]


@on_sqlite
@pytest.mark.parametrize("policy", ["evolve", "freeze"])
@pytest.mark.parametrize(("kinds", "values", "reason"), FLIPS)
def test_a_flip_of_type_is_quarantined_with_the_reason(
    make_feed: Callable[..., Feed],
    lake: Lake,
    policy: str,
    kinds: Shape,
    values: dict[str, Any],
    reason: str,
) -> None:
    feed = make_feed(on_schema_change=policy)
    good = feed.put("part_0.parquet")
    flipped = feed.put_bytes("part_1.parquet", parquet(changed(2, **values), {**SHAPE, **kinds}))
    assert feed.run(lake).total == Registration(1, 0, 1, 3)
    assert feed.landed(lake) == feed.rows_of([good])
    assert reason in feed.errors(lake)[flipped]


@on_sqlite
@pytest.mark.parametrize(
    ("kinds", "values", "field"),
    [
        ({"month": pa.int64()}, {"month": 1999}, "month"),
        ({"due": pa.struct({"Year": pa.int64()})}, {"due": {"Year": 1999}}, "due.Year"),
        ({"due": pa.list_(pa.struct({"day": pa.int64()}))}, {"due": [{"day": 1}]}, "due.day"),
    ],
)
def test_a_field_that_the_key_would_override_is_quarantined(
    feed: Feed, lake: Lake, kinds: Shape, values: dict[str, Any], field: str
) -> None:
    bad = feed.put_bytes("part_0.parquet", parquet(changed(1, **values), {**SHAPE, **kinds}))
    assert feed.run(lake).total == Registration(0, 0, 1, 0)
    assert f"field {field} has the name of a partition column" in feed.errors(lake)[bad]


@on_sqlite
def test_files_of_many_shapes_land_together(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed()
    shapes: Sequence[Shape] = [
        SHAPE,
        {**SHAPE, "a": pa.string()},
        {**SHAPE, "b": pa.int32()},
        {**SHAPE, "b": pa.int64(), "a": pa.string()},
        NESTED,
        IN_LIST,
    ]
    for number, shape in enumerate(shapes):
        feed.put(f"part_{number}.parquet", changed(1, id=number, a="x", b=number), shape=shape)
    assert feed.run(lake).total == Registration(6, 0, 0, 6)
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.column(lake, "a") == [None, "x", None, "x", None, None]
    assert feed.column(lake, "b") == [None, None, 2, 3, None, None]


@on_sqlite
def test_a_column_is_widened_for_wider_files(make_feed: Callable[..., Feed], lake: Lake) -> None:
    feed = make_feed()
    feed.put("part_0.parquet", changed(1, id=0, small=1), shape={**SHAPE, "small": pa.int16()})
    feed.run(lake)
    big = 2**40
    feed.put("part_1.parquet", changed(1, id=1, small=big), shape={**SHAPE, "small": pa.int64()})
    feed.put("part_2.parquet", changed(1, id=2, small=3), shape={**SHAPE, "small": pa.int32()})
    assert feed.run(lake).total == Registration(2, 0, 0, 2)
    assert feed.column(lake, "small") == [1, big, 3]


@on_sqlite
def test_a_quarantined_file_without_rows_still_tells_its_flip(feed: Feed, lake: Lake) -> None:
    bad = feed.put(rows=0, shape={**SHAPE, "id": pa.string()})
    feed.run(lake)
    assert feed.events(lake) == {bad: ["quarantined"]}


# The config against the table


@on_sqlite
def test_a_field_added_to_the_config_is_added_to_the_table(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed()
    feed.put(rows=1)
    feed.run(lake)
    more = {**FIELDS, "vip": {"type": "boolean"}}
    more["address"] = {
        "type": "object",
        "properties": {**FIELDS["address"]["properties"], "zip": {"type": "string"}},
    }
    feed = make_feed(fields=more)
    feed.run(lake)
    assert feed.column(lake, "vip IS NULL AND address.zip IS NULL") == [True]
    assert str(landing.table_types(lake, feed.stream)["vip"]) == "BOOLEAN"


@on_sqlite
def test_a_field_removed_from_the_config_stays_in_the_table(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed()
    feed.put(rows=1)
    feed.run(lake)
    feed = make_feed(fields={"id": FIELDS["id"]})
    feed.run(lake)
    assert feed.column(lake, "status") == ["paid"]


@on_sqlite
def test_a_config_that_contradicts_its_table_is_refused(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    make_feed().run(lake)
    feed = make_feed(fields={**FIELDS, "id": {"type": "string"}})
    with pytest.raises(SchemaMismatchError, match="column id is BIGINT, arriving as VARCHAR") as e:
        feed.run(lake)
    assert "include/streams/shop/orders.json" in str(e.value)


@on_sqlite
def test_landing_tables_are_protected_from_compaction_and_inlining(feed: Feed, lake: Lake) -> None:
    feed.run(lake)
    options = lake.rows(
        f"SELECT option_name, value FROM {LAKE}.options() WHERE scope_entry = ?",
        [f"staging.{feed.stream.landing_table}"],
    )
    assert dict(options) == {"auto_compact": "false", "data_inlining_row_limit": "0"}
