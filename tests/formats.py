"""Files of the formats of Airbyte's S3 destination, as its releases write them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
_LEGACY = {"_airbyte_raw_id": "_airbyte_ab_id", "_airbyte_extracted_at": "_airbyte_emitted_at"}
_AVRO_TYPES: dict[str, Any] = {
    "_airbyte_raw_id": "string",
    "_airbyte_extracted_at": {"type": "long", "logicalType": "timestamp-millis"},
    "id": ["null", "long"],
    "status": ["null", "string"],
    "amount": ["null", "double"],
    "address": [
        "null",
        {"type": "record", "name": "address", "fields": [{"name": "city", "type": "string"}]},
    ],
    "lines": [
        "null",
        {
            "type": "array",
            "items": {
                "type": "record",
                "name": "line",
                "fields": [{"name": "sku", "type": ["null", "string"]}],
            },
        },
    ],
}


def record(row: Row, *, flat: bool, legacy: bool = False) -> dict[str, Any]:
    """A row as an object of JSON: times of Airbyte in milliseconds, fields flattened or not."""
    own, fields = dict[str, Any](), dict[str, Any]()
    for name, value in row.items():
        if not name.startswith("_airbyte_"):
            fields[name] = value
        else:
            plain = round(value.timestamp() * 1000) if isinstance(value, datetime) else value
            own[_LEGACY.get(name, name) if legacy else name] = plain
    return {**own, **fields} if flat else {**own, "_airbyte_data": fields}


def jsonl(rows: Sequence[Row], *, flat: bool = True, legacy: bool = False) -> bytes:
    """One object a line."""
    lines = (json.dumps(record(row, flat=flat, legacy=legacy)) + "\n" for row in rows)
    return "".join(lines).encode()


def csv_file(rows: Sequence[Row], *, flat: bool = True, legacy: bool = False) -> bytes:
    """With a header; what is nested is JSON, and NULL an empty field."""
    text = io.StringIO()
    records = [record(row, flat=flat, legacy=legacy) for row in rows]
    writer = csv.writer(text)
    writer.writerow(records[0])
    for one in records:
        writer.writerow([json.dumps(v) if isinstance(v, dict | list) else v for v in one.values()])
    return text.getvalue().encode()


def avro(rows: Sequence[Row], codec: str = "deflate") -> bytes:
    """With the types of Airbyte."""
    import fastavro  # type: ignore[import-not-found,import-untyped,unused-ignore]

    buffer = io.BytesIO()
    fields = [{"name": name, "type": _AVRO_TYPES[name]} for name in rows[0]]
    schema = {"type": "record", "name": "orders", "fields": fields}
    plain = [
        {n: round(v.timestamp() * 1000) if isinstance(v, datetime) else v for n, v in row.items()}
        for row in rows
    ]
    fastavro.writer(buffer, schema, plain, codec=codec)
    return buffer.getvalue()


def zipped(data: bytes) -> bytes:
    """Compressed as a whole."""
    return gzip.compress(data, mtime=0)
