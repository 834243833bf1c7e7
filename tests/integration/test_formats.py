"""JSONL, CSV and Avro, as Airbyte's S3 destination writes them, land as Parquet does."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.lake.session import Lake
from lotus_lake.observe.balance import read_balance
from lotus_lake.repair.quarantine import retry
from lotus_lake.repair.reconcile import reconcile
from tests import formats
from tests.catalogs import on_sqlite
from tests.feeds import SHAPE, Feed, parquet, some_rows

READS_AVRO = bool(importlib.util.find_spec("duckdb_extension_avro"))
WRITES_AVRO = bool(importlib.util.find_spec("fastavro"))
avro_only = pytest.mark.skipif(
    not (READS_AVRO and WRITES_AVRO), reason="needs duckdb-extension-avro and fastavro"
)
Write = Callable[[list[dict[str, Any]]], bytes]
FLAT = {"flat": True}
WRITERS: dict[str, Any] = {
    "a.jsonl": formats.jsonl,
    "b.jsonl": partial(formats.jsonl, flat=False),
    "c.jsonl.gz": lambda rows: formats.zipped(formats.jsonl(rows)),
    "d.jsonl": partial(formats.jsonl, flat=False, legacy=True),
    "e.csv": formats.csv_file,
    "f.csv": partial(formats.csv_file, flat=False),
    "g.csv.gz": lambda rows: formats.zipped(formats.csv_file(rows, flat=False, legacy=True)),
    "h.csv.gz-1": lambda rows: formats.zipped(formats.csv_file(rows)),
    "i.avro": formats.avro,
    "j.avro": partial(formats.avro, codec="null"),
}
EVERY = "(_airbyte_raw_id, _airbyte_extracted_at, id, status, amount, address, lines)"


def rows_with_odd_values() -> list[dict[str, Any]]:
    rows = some_rows(4)
    rows[1] |= {"status": None, "address": None, "lines": None, "amount": None}
    rows[2] |= {"status": 'quoted "x", and\n a line', "amount": -0.125, "lines": []}
    rows[3] |= {"status": "null", "id": 2**53 + 1}
    return rows


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=avro_only) if n.endswith("avro") else n for n in WRITERS]
)
@on_sqlite
def test_the_same_records_land_alike_in_every_format(
    make_feed: Callable[..., Feed], lake: Lake, name: str
) -> None:
    rows = rows_with_odd_values()
    plain, other = make_feed("plain"), make_feed("other")
    plain.put_bytes("0.parquet", parquet(rows))
    key = other.put_bytes(name, WRITERS[name](rows))
    assert plain.run(lake).total.registered == 1
    done = other.run(lake).total
    assert (done.copied, done.row_count, done.rescued) == (1, 4, 0), other.errors(lake)
    assert other.events(lake) == {key: ["copied"]}
    assert other.column(lake, EVERY) == plain.column(lake, EVERY)
    assert other.column(lake, "(year, month, day)") == [(2026, "03", "10")] * 4
    found = read_balance(lake, other.stream, {}, read=True)
    assert (found.ledger_rows, found.table_rows, found.differences) == (4, 4, ())
    assert reconcile(lake, other.stream, other.client, "run").registered == 0


@on_sqlite
def test_legacy_parquet_has_todays_columns(feed: Feed, lake: Lake) -> None:
    rows = some_rows(2)
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(SHAPE.items())))
    old = ["_airbyte_ab_id", "_airbyte_emitted_at", *table.column_names[2:]]
    buffer = io.BytesIO()
    pq.write_table(table.rename_columns(old), buffer)
    feed.put_bytes("0.parquet", buffer.getvalue())
    assert feed.run(lake).total.copied == 1
    assert feed.column(lake, "_airbyte_raw_id") == [row["_airbyte_raw_id"] for row in rows]
    assert feed.column(lake, "_airbyte_extracted_at") == [
        row["_airbyte_extracted_at"] for row in rows
    ]


@on_sqlite
@pytest.mark.parametrize("codec", ["NONE", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"])
def test_parquet_of_each_codec_is_registered(feed: Feed, lake: Lake, codec: str) -> None:
    buffer, rows = io.BytesIO(), some_rows(3)
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(SHAPE.items())))
    pq.write_table(table, buffer, compression=codec)
    feed.put_bytes(f"0.{codec.lower()}.parquet", buffer.getvalue())
    assert feed.run(lake).total.registered == 1
    assert feed.column(lake, "id") == [0, 1, 2]


@on_sqlite
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("0.jsonl", b'{"id": 1}\n{"id": 2}\n{"id": \n{"id": 4}\n', "in line 3"),
        ("0.jsonl", b'{"id": 1}\n[2]\n', "a line holds no JSON object, but array"),
        ("0.jsonl", b'{"status": "\xff"}\n', "invalid UTF-8"),
        ("0.jsonl.gz", b'{"id": 1}\n', "not a GZIP stream"),
        ("0.jsonl.gz", formats.zipped(b'{"id": 1}\n' * 99)[:-12], ""),
        ("0.csv", b"_airbyte_raw_id,id\na,1\nb\n", "Error on Line: 3"),
        ("0.csv", b'_airbyte_raw_id,id\na,1\n"b,2\n', "unterminated quote"),
        ("0.csv", b"a,1\nb,2\n", "does not name Airbyte's columns"),
        ("0.csv", b"_airbyte_raw_id,id,ID\na,1,2\n", "names a column twice"),
        ("0.csv", b"_airbyte_raw_id,status\na,\xff\n", "not utf-8"),
        pytest.param("0.avro", b"Obj\x01", "", marks=avro_only),
        ("0.xml", b"<a/>", "names no format that can be read"),
    ],
)
def test_a_file_with_a_bad_line_is_quarantined_with_the_reason(
    feed: Feed, lake: Lake, name: str, data: bytes, reason: str
) -> None:
    bad = feed.put_bytes(name, data)
    good = feed.put_bytes("good.jsonl", formats.jsonl(some_rows(3)))
    assert feed.run(lake).total.copied == 1
    assert feed.events(lake) == {bad: ["quarantined"], good: ["copied"]}
    assert reason in feed.errors(lake)[bad]
    assert feed.column(lake, "id") == [0, 1, 2]


@on_sqlite
def test_values_that_do_not_fit_are_rescued_from_lines_too(feed: Feed, lake: Lake) -> None:
    lines = [
        {"_airbyte_raw_id": "a", "id": 1, "amount": "much", "address": {"city": "x", "zip": 7}},
        {"_airbyte_raw_id": "b", "id": 2, "amount": "7.5", "address": "nowhere"},
        {"_airbyte_raw_id": "c", "id": 3.0, "amount": 7, "new field": {"a": [1]}},
    ]
    feed.put_bytes("0.jsonl", "\n".join(map(json.dumps, lines)).encode())
    done = feed.run(lake).total
    assert (done.copied, done.row_count, done.rescued) == (1, 3, 2), feed.errors(lake)
    assert feed.column(lake, "amount") == [None, 7.5, 7.0]
    assert feed.column(lake, "address.city") == ["x", None, None]
    assert feed.column(lake, "new_field") == [None, None, '{"a":[1]}']
    kept = feed.column(lake, "list_transform(_lake_rescued, lambda x: (x.path, x.value))")
    assert kept == [
        [("address.zip", "7"), ("amount", '"much"')],
        [("address", '"nowhere"')],
        None,
    ]


@on_sqlite
def test_a_line_that_json_columns_cannot_hold_is_kept_whole(feed: Feed, lake: Lake) -> None:
    long = '{"id": 1, "amount": 0.12345678901234567890123}'
    twice = '{"id": 2, "status": "a", "status": "b"}'
    feed.put_bytes("0.jsonl", f'{long}\n{twice}\n{{"id": 3}}\n'.encode())
    assert feed.run(lake).total.rescued == 2
    kept = feed.column(lake, "list_transform(_lake_rescued, lambda x: x.value::JSON ->> '$')")
    assert kept == [[long], [twice], None]


@on_sqlite
def test_rows_of_a_copy_are_counted(
    feed: Feed, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lotus_lake.feeder import footers

    read = footers.read_rows

    def one_more(*arguments: Any, **words: Any) -> Any:
        from dataclasses import replace

        found = read(*arguments, **words)
        return replace(found, row_count=found.row_count + 1)

    monkeypatch.setattr(footers, "read_rows", one_more)
    key = feed.put_bytes("0.jsonl", formats.jsonl(some_rows(3)))
    assert feed.run(lake).total.quarantined == 1
    assert "3 rows could be copied" in feed.errors(lake)[key]
    monkeypatch.undo()
    assert retry(lake, feed.stream, [key], "run") == 1
    assert feed.run(lake).total.row_count == 3


@on_sqlite
def test_files_without_rows_are_empty(feed: Feed, lake: Lake) -> None:
    keys = [
        feed.put_bytes("0.jsonl", b"\n"),
        feed.put_bytes("1.jsonl.gz", formats.zipped(b"")),
        feed.put_bytes("2.csv", b"_airbyte_raw_id,id\n"),
    ]
    assert feed.run(lake).total.empty == 3
    assert feed.events(lake) == {key: ["empty"] for key in keys}


def test_a_file_of_another_format_lands_once_on_each_catalog(feed: Feed, lake: Lake) -> None:
    feed.put()
    feed.put_bytes("1.jsonl.gz", formats.zipped(formats.jsonl(some_rows(5))))
    done = feed.run(lake).total
    assert (done.registered, done.copied, done.row_count) == (1, 1, 8)
    assert feed.run(lake).total.row_count == 0
    assert sum(feed.landed(lake).values()) == 8
