"""The Parquet files of a sync: which rows, under which name, in which bytes."""

import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from samples.schemas import AIRBYTE_FIELDS, arrow_schema, stream_columns
from samples.timeline import Version


@dataclass(frozen=True, slots=True)
class Row:
    """One record as Airbyte emitted it once."""

    raw_id: str
    extracted_at: datetime
    version: Version


@dataclass(frozen=True, slots=True)
class Part:
    """A file that a sync attempt writes.

    `attempt_at` is the start of the attempt, which names the folder; `written_at` is when the
    object appears; `drifted` tells whether the stream's schema had grown by then; `scenario` is
    what the part is there to show.
    """

    source: str
    stream: str
    sync_id: int
    attempt_at: datetime
    written_at: datetime
    rows: tuple[Row, ...]
    drifted: bool = False
    scenario: str = ""
    key: str = ""


def raw_id(rng: Random, moment: datetime) -> str:
    """Return a UUID of version 7: 48 bits of milliseconds, then random bits."""
    millis = round(moment.timestamp() * 1000)
    bits = millis << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    return str(UUID(int=bits))


def name_parts(parts: Iterable[Part], rng: Random) -> list[Part]:
    """Give every part its key.

    Parts are named in the order in which Airbyte opens them, the order of `parts`. Most streams
    number the parts of a folder; events carry the attempt's date and milliseconds, profiles a UUID,
    and campaigns a fixed name that clashes when a day has a second file.
    """
    folders: defaultdict[str, int] = defaultdict(int)
    named = []
    for part in parts:
        folder = f"{part.source}/{part.stream}/{part.attempt_at:year=%Y/month=%m/day=%d}"
        number = folders[folder]
        folders[folder] += 1
        named.append(replace(part, key=f"{folder}/{_file_name(part, number, rng)}"))
    return named


def _file_name(part: Part, number: int, rng: Random) -> str:
    match part.stream:
        case "events":
            millis = round(part.attempt_at.timestamp() * 1000)
            return f"{part.attempt_at:%Y_%m_%d}_{millis}_{number}.parquet"
        case "profiles":
            return f"part_{UUID(int=rng.getrandbits(128), version=4)}.parquet"
        case "campaigns":
            return f"part_0.parquet-{number}" if number else "part_0.parquet"
        case _:
            return f"part_{number}.parquet"


def encode_part(part: Part) -> bytes:
    """Return the Parquet file of a part: uncompressed, and without Arrow's own schema."""
    columns = stream_columns(part.source, part.stream, part.drifted)
    meta = [
        {
            "sync_id": part.sync_id,
            "changes": [
                {"field": change.field, "change": change.change, "reason": change.reason}
                for change in row.version.changes
            ],
        }
        for row in part.rows
    ]
    heads = (
        [row.raw_id for row in part.rows],
        [row.extracted_at for row in part.rows],
        meta,
        [0] * len(part.rows),
    )
    arrays = [
        pa.array(values, field.type) for values, field in zip(heads, AIRBYTE_FIELDS, strict=True)
    ]
    for column in columns:
        values = [column.encode(row.version.record.get(column.source_name)) for row in part.rows]
        arrays.append(pa.array(values, column.field.type))
    table = pa.Table.from_arrays(arrays, schema=arrow_schema(columns))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", store_schema=False)
    return sink.getvalue()
