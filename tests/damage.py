"""Parquet files of many kinds, and seeded damage to their footers and bodies."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CODECS = ("none", "snappy", "gzip", "zstd", "lz4", "brotli")
_TAIL = 8  # length of the footer, and the magic bytes


def good_files() -> list[bytes]:
    """Files with many types, in each codec and page format."""
    moment = datetime(2026, 3, 10, 12, tzinfo=UTC)
    rows = 40
    table = pa.table(
        {
            "_airbyte_raw_id": pa.array([f"row-{number}" for number in range(rows)]),
            "_airbyte_extracted_at": pa.array([moment] * rows, pa.timestamp("ms", "UTC")),
            "id": pa.array(range(rows), pa.int64()),
            "status": pa.array(["paid", "open", None, "Łódź"] * (rows // 4)),
            "amount": pa.array([9.5, None] * (rows // 2)),
            "total": pa.array([Decimal("1.50")] * rows, pa.decimal128(20, 2)),
            "day_of": pa.array([date(2026, 3, 10)] * rows),
            "opens": pa.array([time(9, 30)] * rows, pa.time64("us")),
            "is_open": pa.array([True, False] * (rows // 2)),
            "raw": pa.array([b"abc"] * rows, pa.binary()),
            "address": pa.array([{"city": "x", "geo": {"lat": 1.5}}] * rows),
            "lines": pa.array([[{"sku": "A"}, {"sku": None}], []] * (rows // 2)),
            "tags": pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int32())),
        }
    )
    # Bytes without annotation land by a copy: half of the files have none.
    return [
        _written(
            table if dictionary else table.drop_columns(["raw"]),
            compression=codec,
            data_page_version=version,
            use_dictionary=dictionary,
        )
        for codec, version, dictionary in zip(
            CODECS, ("1.0", "2.0") * 3, (True, False, False, True, True, False), strict=True
        )
    ]


def damaged_files(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of files that are damaged, each in a way of its own."""
    rng = random.Random(seed)
    files = good_files()
    for number in range(count):
        data = rng.choice(files)
        start = len(data) - _TAIL - int.from_bytes(data[-_TAIL:-4], "little")
        body, footer = data[:start], data[start:-_TAIL]
        where = rng.choice(("value", "value", "value", "footer", "body", "body", "both", "length"))
        if where == "value":
            footer = _with_other_values(rng, footer)
        if where in ("footer", "both"):
            footer = _damaged(rng, footer)
        if where in ("body", "both"):
            body = body[:4] + _damaged(rng, body[4:])
        length = len(footer) if where != "length" else rng.randrange(2 ** rng.choice((8, 16, 32)))
        yield f"{number:04}_{where}.parquet", body + footer + length.to_bytes(4, "little") + b"PAR1"


def empty_group() -> bytes:
    """A file whose last column is a group without fields."""
    data = _written(pa.table({"id": [1], "address": pa.array([{"city": "x"}])}))
    start = len(data) - _TAIL - int.from_bytes(data[-_TAIL:-4], "little")
    tree, _ = _read(_STRUCT, data[start:-_TAIL], 0)
    fields = {number: value for number, _, value in tree}
    schema, (group,) = fields[2][1], fields[4][1]
    schema.pop()
    for field in schema[-1]:
        field[2] = 0 if field[0] == 5 else field[2]  # the number of its children
    chunks = next(value for number, _, value in group if number == 1)
    chunks[1].pop()
    footer = _write(_STRUCT, tree)
    return data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _damaged(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, length = rng.randrange(len(changed)), rng.choice((1, 1, 2, 8, 40))
        match rng.choice(("flip", "flip", "random", "zero", "ones", "cut", "repeat")):
            case "flip":
                changed[place] ^= 1 << rng.randrange(8)
            case "random":
                changed[place : place + length] = rng.randbytes(
                    len(changed[place : place + length])
                )
            case "zero":
                changed[place : place + length] = bytes(len(changed[place : place + length]))
            case "ones":
                changed[place : place + length] = b"\xff" * len(changed[place : place + length])
            case "cut" if len(changed) > length + 1:
                del changed[place : place + length]
            case _:
                changed[place:place] = changed[place : place + length]
        changed = changed or bytearray(1)
    return bytes(changed)


def _written(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=15, **options)
    return buffer.getvalue()


# Footers are structs in Thrift's compact protocol. Damaged bytes mostly end in its parser; other
# values in a well-formed footer go deeper. A struct is a list of fields, [id, type, value] each.
_TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _STRUCT = 1, 2, 3, 6, 7, 8, 9, 12
_INTEGERS = (4, 5, _I64)
_ODD_NUMBERS = (0, 1, -1, 2, 7, 31, 64, 1000, 2**15, 2**31 - 1, -(2**31), 2**32, 2**62, -(2**63))
_ODD_TEXTS = (b"", b"\0", b"\xff\xfe", b"\xe5\x8c", b"id", b"ID", b"year", b"x" * 5000, b'"; --')


def _with_other_values(rng: random.Random, footer: bytes) -> bytes:
    tree, _ = _read(_STRUCT, footer, 0)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        holders: list[tuple[list[Any], int, int]] = []
        _collect(_STRUCT, tree, holders)
        holder, place, kind = rng.choice(holders)
        value = holder[place]
        if kind in (_TRUE, _FALSE):
            holder[place - 1] = _TRUE + _FALSE - kind
        elif kind in _INTEGERS:
            holder[place] = rng.choice((*_ODD_NUMBERS, value + 1, value - 1, value * 2))
        elif kind == _BINARY:
            longer = value + value if len(value) < 100 else value[:1]
            holder[place] = rng.choice((*_ODD_TEXTS, longer, value[:-1], value[::-1]))
        elif kind == _LIST and value[1]:
            items = value[1]
            chosen = rng.randrange(len(items))
            if rng.random() < 0.5:
                del items[chosen]
            else:
                items.insert(chosen, items[-1])
        elif kind == _STRUCT and value:
            del value[rng.randrange(len(value))]
    return _write(_STRUCT, tree)


def _collect(kind: int, value: Any, holders: list[tuple[list[Any], int, int]]) -> None:
    """Every place that holds a value: list, index and type."""
    if kind == _STRUCT:
        for field in value:
            holders.append((field, 2, field[1]))
            _collect(field[1], field[2], holders)
    elif kind == _LIST:
        for number, item in enumerate(value[1]):
            if value[0] not in (_TRUE, _FALSE):
                holders.append((value[1], number, value[0]))
            _collect(value[0], item, holders)


def _read(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    """A value and the place after it."""
    if kind in (_TRUE, _FALSE):
        return None, at
    if kind == _BYTE:
        return data[at], at + 1
    if kind in _INTEGERS:
        raw, at = _read_varint(data, at)
        return (raw >> 1) ^ -(raw & 1), at
    if kind == _DOUBLE:
        return data[at : at + 8], at + 8
    if kind == _BINARY:
        length, at = _read_varint(data, at)
        return data[at : at + length], at + length
    if kind == _LIST:
        head, at = data[at], at + 1
        length, inner = head >> 4, head & 15
        if length == 15:
            length, at = _read_varint(data, at)
        items: list[Any] = []
        for _ in range(length):
            item, at = (data[at], at + 1) if inner in (_TRUE, _FALSE) else _read(inner, data, at)
            items.append(item)
        return [inner, items], at
    assert kind == _STRUCT, kind
    fields: list[list[Any]] = []
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            raw, at = _read_varint(data, at)
            number = (raw >> 1) ^ -(raw & 1)
        value, at = _read(head & 15, data, at)
        fields.append([number, head & 15, value])
    return fields, at + 1


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def _write(kind: int, value: Any) -> bytes:
    if kind in (_TRUE, _FALSE):
        return b""
    if kind == _BYTE:
        return bytes([value])
    if kind in _INTEGERS:
        return _varint((value << 1) ^ (value >> 63))
    if kind == _DOUBLE:
        return bytes(value)
    if kind == _BINARY:
        return _varint(len(value)) + bytes(value)
    if kind == _LIST:
        inner, items = value
        head = bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([0xF0 | inner])
        length = b"" if len(items) < 15 else _varint(len(items))
        flags = inner in (_TRUE, _FALSE)
        written = (bytes([item]) if flags else _write(inner, item) for item in items)
        return head + length + b"".join(written)
    # Each id in full: one may be missing now, or come twice.
    return b"".join(
        bytes([inner]) + _varint(number << 1) + _write(inner, item) for number, inner, item in value
    ) + bytes(1)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])
