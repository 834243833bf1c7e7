"""Records of a schema in two files, as Airbyte would have written them, and which version wins."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from samples.schemas import AIRBYTE_FIELDS
from tests.connectors.airbyte_types import Json, Kind, arrow_type, encoded, kind_of, parquet_name

START = datetime(2026, 3, 10, 12, tzinfo=UTC)
# Versions of records, by number of the record, with the minute in which Airbyte read each. The
# second file repeats one row, and has one that is older than what the first file brought.
FILES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 0), (1, 0), (2, 5), (3, 0), (1, 1)),
    ((0, 10), (2, 4), (4, 10), (3, 10), (3, 11), (5, 12), (5, 12)),
)
_NULLS = 0.15
Row = dict[str, Any]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a stream's files.

    Attributes:
        kinds: Type of each field by its name in the source.
        key: Paths of the key's fields.
    """

    kinds: dict[str, Kind]
    key: tuple[Path, ...]

    def value(self, row: Row, path: Path) -> Any:
        """A value of a row, by the names in the source."""
        found: Any = row
        for part in path:
            found = (found or {}).get(parquet_name(part))
        return found


def shape_of(stream: Json, key: Sequence[Sequence[str]], only: Sequence[str]) -> Shape:
    """The columns that Airbyte writes for a stream of a catalog."""
    fields = stream["json_schema"]["properties"]
    return Shape({name: kind_of(fields[name]) for name in only}, tuple(map(tuple, key)))


def rows_of(shape: Shape, seed: str) -> list[list[Row]]:
    """The rows of each file, as their columns have them."""
    random = Random(seed)
    files = []
    for number, versions in enumerate(FILES):
        rows = []
        for position, (record, minute) in enumerate(versions):
            values = {name: _value(kind, random, 0) for name, kind in shape.kinds.items()}
            for path in shape.key:
                values = _with_key(values, shape.kinds, path, record)
            row = {
                parquet_name(name): encoded(values[name], kind)
                for name, kind in shape.kinds.items()
            }
            rows.append(_airbyte(number, position, minute) | row)
        files.append(rows)
    # A row that was sent again: only its own id differs.
    files[1][-1] = files[1][-2] | {"_airbyte_raw_id": "1-z"}
    return files


def parquet(shape: Shape, rows: Sequence[Row]) -> bytes:
    """A file."""
    fields = [pa.field(parquet_name(name), arrow_type(kind)) for name, kind in shape.kinds.items()]
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(list(rows), schema=pa.schema([*AIRBYTE_FIELDS, *fields]))
    pq.write_table(table, buffer)
    return buffer.getvalue()


def newest(shape: Shape, files: Sequence[Sequence[Row]]) -> dict[tuple[Any, ...], Row]:
    """The newest version of each record."""
    winners: dict[tuple[Any, ...], Row] = {}
    for row in (row for file in files for row in file):
        key = tuple(shape.value(row, path) for path in shape.key)
        known = winners.get(key)
        if known is None or _order(row) > _order(known):
            winners[key] = row
    return winners


def _order(row: Row) -> tuple[Any, ...]:
    return row["_airbyte_extracted_at"], row["_airbyte_raw_id"]


def _airbyte(file: int, position: int, minute: int) -> Row:
    return {
        "_airbyte_raw_id": f"{file}-{position:02}",
        "_airbyte_extracted_at": START + timedelta(minutes=minute),
        "_airbyte_meta": {"sync_id": file, "changes": []},
        "_airbyte_generation_id": 0,
    }


def _with_key(values: Row, kinds: dict[str, Kind], path: Path, record: int) -> Row:
    """The same with a value of the key that tells the record."""
    head, *rest = path
    if not rest:
        return {**values, head: _KEYS.get(kinds[head].name, str)(record)}
    inner = dict(kinds[head].fields)
    return {**values, head: _with_key(values[head] or {}, inner, tuple(rest), record)}


def _value(kind: Kind, random: Random, depth: int) -> Any:
    """A value as a connector sends it; often none."""
    if random.random() < _NULLS:
        return None
    if kind.fields:
        return {name: _value(inner, random, depth + 1) for name, inner in kind.fields}
    if kind.items:
        return [_value(kind.items, random, depth + 1) for _ in range(random.randrange(3))]
    if kind.options:
        option = random.choice(kind.options)
        return next(filter(None, _some(option, random, depth)))
    return _SCALARS.get(kind.name, _text)(random)


def _some(kind: Kind, random: Random, depth: int) -> Iterator[Any]:
    while True:
        yield _value(kind, random, depth)


def _text(random: Random) -> str:
    return random.choice(["", "x", "Łódź", 'it\'s "quoted"', "a\\b\nc", "{{ x }}", "12", "true"])


def _time(random: Random) -> str:
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(10**7))
    return moment.isoformat()


_SCALARS: dict[str, Any] = {
    "integer": lambda random: random.choice([1, -5, 2**53 + 1, 42, 7]),
    "number": lambda random: random.choice([0.5, -1.25, 1e15, 3.0, 0.1]),
    "boolean": lambda random: random.choice([True, True, False]),
    "date": lambda random: f"2026-0{random.randrange(1, 9)}-1{random.randrange(9)}",
    "timestamp_with_timezone": _time,
    "timestamp_without_timezone": _time,
    "time_with_timezone": lambda random: f"1{random.randrange(9)}:30:00",
    "time_without_timezone": lambda random: f"1{random.randrange(9)}:30:00",
    "object": lambda random: {"a": [1, None, {"b": "c"}], "n": random.randrange(9)},
    "array": lambda random: [1, "two", {"three": random.randrange(9)}],
}
_KEYS: dict[str, Any] = {
    "integer": lambda record: record + 1,
    "number": lambda record: float(record + 1),
    "boolean": lambda record: True,
    "date": lambda record: f"2026-01-0{record + 1}",
    "timestamp_with_timezone": lambda record: f"2026-01-0{record + 1}T00:00:00+00:00",
    "string": lambda record: f"key {record}",
}
