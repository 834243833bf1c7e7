"""Every type that Parquet has lands, and with it every value."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.lake.session import META, STAGING, Lake
from tests.catalogs import on_sqlite
from tests.feeds import Feed

pytestmark = on_sqlite

MOMENT = datetime(2026, 3, 10, 12, 30, 15, 123456)
SECOND = MOMENT.replace(microsecond=0)
HALF_PAST = time(9, 30)
UTC_TIMES = {"write_time_adjusted_to_utc": True}
INT96 = {"use_deprecated_int96_timestamps": True}

# What pyarrow writes: value, its type, options of the writer, and the value as text.
ARROW: list[tuple[Any, pa.DataType, dict[str, Any], str]] = [
    (HALF_PAST, pa.time32("ms"), {}, "09:30:00"),
    (HALF_PAST, pa.time32("ms"), UTC_TIMES, "09:30:00"),
    (HALF_PAST, pa.time64("us"), {}, "09:30:00"),
    (HALF_PAST, pa.time64("us"), UTC_TIMES, "09:30:00"),
    (HALF_PAST, pa.time64("ns"), {}, "09:30:00"),
    (HALF_PAST, pa.time64("ns"), UTC_TIMES, "09:30:00"),
    (SECOND, pa.timestamp("s"), {}, "2026-03-10 12:30:15"),
    (SECOND, pa.timestamp("ms"), {}, "2026-03-10 12:30:15"),
    (MOMENT, pa.timestamp("us"), {}, "2026-03-10 12:30:15.123456"),
    (MOMENT, pa.timestamp("ns"), {}, "2026-03-10 12:30:15.123456"),
    (MOMENT, pa.timestamp("ns"), INT96, "2026-03-10 12:30:15.123456"),
    (SECOND, pa.timestamp("s", "UTC"), {}, "2026-03-10 12:30:15+00"),
    (SECOND, pa.timestamp("ms", "UTC"), {}, "2026-03-10 12:30:15+00"),
    (MOMENT, pa.timestamp("us", "UTC"), {}, "2026-03-10 12:30:15.123456+00"),
    (MOMENT, pa.timestamp("ns", "UTC"), {}, "2026-03-10 12:30:15.123456+00"),
    (date(2026, 3, 10), pa.date32(), {}, "2026-03-10"),
    (date(2026, 3, 10), pa.date64(), {}, "2026-03-10"),
    (1.5, pa.float16(), {}, "1.5"),
    (1.5, pa.float32(), {}, "1.5"),
    (1.5, pa.float64(), {}, "1.5"),
    *((-3, kind, {}, "-3") for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    (2**8 - 1, pa.uint8(), {}, "255"),
    (2**16 - 1, pa.uint16(), {}, "65535"),
    (2**32 - 1, pa.uint32(), {}, "4294967295"),
    (2**64 - 1, pa.uint64(), {}, "18446744073709551615"),
    (Decimal("1.50"), pa.decimal128(9, 2), {"store_decimal_as_integer": True}, "1.50"),
    (Decimal("1.50"), pa.decimal128(18, 2), {}, "1.50"),
    (Decimal("1.50"), pa.decimal128(38, 2), {}, "1.50"),
    (Decimal("1.50"), pa.decimal256(38, 2), {}, "1.50"),
    (True, pa.bool_(), {}, "true"),
    ("Łódź", pa.string(), {}, "Łódź"),
    ("Łódź", pa.large_string(), {}, "Łódź"),
    ("Łódź", pa.dictionary(pa.int32(), pa.string()), {}, "Łódź"),
    ("Łódź".encode(), pa.binary(), {}, "Łódź"),
    ("Łódź".encode(), pa.binary(7), {}, "Łódź"),
    (5, pa.duration("us"), {}, "5"),
    ([1, 2], pa.list_(pa.int64(), 2), {}, "[1, 2]"),
    ([1, 2], pa.large_list(pa.int64()), {}, "[1, 2]"),
    ([("k", HALF_PAST)], pa.map_(pa.string(), pa.time64("us")), UTC_TIMES, "{k='09:30:00'}"),
    ([("k", "Łódź".encode())], pa.map_(pa.string(), pa.binary()), {}, "{k=Łódź}"),
    ([("k", 1.5)], pa.map_(pa.string(), pa.float16()), {}, "{k=1.5}"),
]
# What DuckDB writes, and nobody else does.
DUCKDB = {
    "'09:30:00+02'::TIMETZ": "07:30:00",
    "'2026-03-10 12:30:15.123456789'::TIMESTAMP_NS": "2026-03-10 12:30:15.123456789",
    "INTERVAL '1 month 2 days'": "1 month 2 days",
    "'a'::ENUM('a', 'b')": "a",
    "'4ac7a9e9-607c-4c8a-84f3-843f0191e3fd'::UUID": "4ac7a9e9-607c-4c8a-84f3-843f0191e3fd",
    """'{"a":1}'::JSON""": '{"a":1}',
    "'101'::BIT": "101",
    "(2::HUGEINT ** 100)::HUGEINT": "1.2676506002282294e+30",
    "[1, 2]::INTEGER[2]": "[1, 2]",
    "42::VARIANT": "42",
    "{'a': [1, 2]}::VARIANT": '{"a":[1,2]}',
    "NULL::VARIANT": "None",
    "'POINT(1.25 2)'::GEOMETRY": "POINT (1.25 2)",
    "union_value(k := 1)": '{"":0,"k":1}',
}


def file_of(name: str, value: Any, kind: pa.DataType, options: dict[str, Any]) -> bytes:
    """A file with one value in a column of some name."""
    buffer = io.BytesIO()
    moment = pa.array([datetime(2026, 3, 10, tzinfo=UTC)], pa.timestamp("ms", "UTC"))
    table = pa.table(
        {"_airbyte_extracted_at": moment, "id": pa.array([1]), name: pa.array([value], kind)}
    )
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def duckdb_file(expression: str, column: str, folder: Path) -> bytes:
    """A file as DuckDB writes it."""
    path = folder / "written.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 1 AS id, {expression} AS {column}) TO '{path}'")
    return path.read_bytes()


def shown(lake: Lake, feed: Feed, expression: str) -> list[Any]:
    """The values of a column that are there, as text."""
    return lake.rows(
        f"SELECT ({expression})::VARCHAR FROM {STAGING}.{feed.stream.landing_table} "
        f"WHERE {expression} IS NOT NULL"
    )


def test_every_type_lands_with_its_value(feed: Feed, lake: Lake, tmp_path: Path) -> None:
    expected: dict[str, str] = {}
    for number, (value, kind, options, text) in enumerate(ARROW):
        name = f"v{number}"
        feed.put_bytes(f"{name}.parquet", file_of(name, value, kind, options))
        expected[name] = text
        if not pa.types.is_dictionary(kind):
            name, inside = f"s{number}", pa.struct({"w": kind, "l": pa.list_(kind)})
            data = file_of(name, {"w": value, "l": [value]}, inside, options)
            feed.put_bytes(f"{name}.parquet", data)
            expected |= {f"{name}.w": text, f"{name}.l[1]": text}
    for number, (expression, text) in enumerate(DUCKDB.items()):
        feed.put_bytes(f"d{number}.parquet", duckdb_file(expression, f"d{number}", tmp_path))
        expected[f"d{number}"] = text
    feed.run(lake)
    bad = {
        key: said
        for key, said in feed.errors(lake).items()
        if "quarantined" in feed.events(lake)[key]
    }
    assert bad == {}
    found = {name: shown(lake, feed, name) for name in expected}
    wanted = {name: [(text,)] if text != "None" else [] for name, text in expected.items()}
    assert found == wanted


@pytest.mark.parametrize("options", [{}, UTC_TIMES], ids=["local", "UTC"])
def test_a_declared_time_lands_without_a_copy(
    make_feed: Callable[..., Feed], lake: Lake, options: dict[str, Any]
) -> None:
    feed = make_feed(
        fields={"id": {"type": "integer"}, "opens": {"type": "string", "format": "time"}}
    )
    key = feed.put_bytes("a.parquet", file_of("opens", HALF_PAST, pa.time64("us"), options))
    feed.run(lake)
    assert feed.events(lake) == {key: ["registered"]}
    assert feed.column(lake, "opens") == [HALF_PAST]
    where = f"SELECT count(*) FROM {STAGING}.{feed.stream.landing_table} WHERE opens = '09:30'"
    assert lake.value(where) == 1


@pytest.mark.parametrize(
    ("kind", "value", "schema"),
    [
        (pa.binary(), "Łódź".encode(), {"type": "string"}),
        (
            pa.struct({"city": pa.binary()}), {"city": "Łódź".encode()},
            {"type": "object", "properties": {"city": {"type": "string"}}},
        ),
        (pa.list_(pa.binary()), ["Łódź".encode()], {"type": "array", "items": {"type": "string"}}),
    ],
    ids=["column", "field", "element"],
)  # fmt: skip
def test_bytes_without_annotation_land_as_the_text_that_they_are(
    make_feed: Callable[..., Feed], lake: Lake, kind: pa.DataType, value: Any, schema: Any
) -> None:
    feed = make_feed(fields={"id": {"type": "integer"}, "name": schema})
    feed.put_bytes("a.parquet", file_of("name", value, kind, {}))
    feed.run(lake)
    assert "Łódź" in json.dumps(feed.column(lake, "name"), ensure_ascii=False)
    assert "xC5" not in str(feed.column(lake, "name::VARCHAR"))


def test_bytes_that_are_no_text_are_never_escaped(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    fields = {"id": {"type": "integer"}, "name": {"type": "string"}}
    feed = make_feed(fields=fields, on_type_change="quarantine")
    declared = feed.put_bytes("a.parquet", file_of("name", b"\xc5", pa.binary(), {}))
    other = feed.put_bytes("b.parquet", file_of("picture", b"\xc5", pa.binary(), {}))
    feed.run(lake)
    assert feed.errors(lake)[declared] == (
        "column name is VARCHAR, arriving as BLOB, and 1 values would change: bytes that are not "
        "UTF-8 text; on_type_change rescue would keep them"
    )
    assert feed.events(lake)[other] == ["registered"]
    assert feed.column(lake, "picture") == [b"\xc5"]


def test_files_of_one_shape_that_ducklake_refuses_are_copied_together(
    feed: Feed, lake: Lake
) -> None:
    for number in range(8):
        feed.put_bytes(f"{number}.parquet", file_of("v", 1.5, pa.float16(), {}))
    before = lake.current_snapshot()
    assert feed.run(lake).total.copied == 8
    assert feed.column(lake, "v") == [1.5] * 8
    commits = lake.value(
        f"SELECT count(DISTINCT snapshot_id) FROM {META}.file_events WHERE event = 'copied'"
    )
    assert (commits, lake.current_snapshot() > before) == (1, True)
