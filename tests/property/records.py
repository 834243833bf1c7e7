"""Records in many versions, and the files that carry them: good ones, strange ones and bad ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tests.feeds import Shape, parquet

FIELDS: dict[str, Any] = {
    "id": {"type": "integer"},
    "status": {"type": "string"},
    "amount": {"type": "number"},
    "updated_at": {"type": "string", "format": "date-time"},
}
SHAPE: Shape = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": pa.timestamp("ms", tz="UTC"),
    "id": pa.int64(),
    "status": pa.string(),
    "amount": pa.float64(),
    "updated_at": pa.timestamp("us", tz="UTC"),
}
SHAPES: dict[str, Shape] = {
    "plain": SHAPE,
    "wider": {**SHAPE, "note": pa.string()},
    "harmless": {**SHAPE, "amount": pa.int64()},
    "lossy": {**SHAPE, "amount": pa.string()},
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 3, 10, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a record, as one row of one file.

    Attributes:
        raw_id: No other row of the world has it.
        id: Key of the record.
        extracted: When Airbyte read it, in seconds after `START`.
        updated: When the source changed it, in seconds after `START`; `None` when it does not say.
        is_rescued: Whether its amount is text that the column cannot take.
    """

    raw_id: str
    id: int
    extracted: int
    updated: int | None
    is_rescued: bool = False

    @property
    def amount(self) -> float | None:
        """What its column has."""
        return None if self.is_rescued else self.id * 10.0

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """What decides which version is the newest; see the macro `newest_wins`."""
        return at(self.extracted), EPOCH if self.updated is None else at(self.updated), self.raw_id

    def row(self) -> dict[str, Any]:
        """The row of the file."""
        return {
            "_airbyte_raw_id": self.raw_id,
            "_airbyte_extracted_at": at(self.extracted),
            "id": self.id,
            "status": f"status of {self.raw_id}",
            "amount": f"{self.id * 10} or so" if self.is_rescued else self.id * 10,
            "updated_at": None if self.updated is None else at(self.updated),
            "note": "a new column",
        }


@dataclass(frozen=True, slots=True)
class Content:
    """What an object holds.

    Attributes:
        data: Its bytes.
        versions: The rows that land when it does.
        lands: Whether it can land; an object without rows can.
    """

    data: bytes
    versions: tuple[Version, ...]
    lands: bool


def content(versions: Iterable[Version], kind: str = "plain") -> Content:
    """A Parquet file of one of `SHAPES`, a `damaged` one, or no Parquet at all: `rubbish`."""
    some = tuple(replace(version, is_rescued=kind == "lossy") for version in versions)
    mark = "".join(version.raw_id for version in some).encode()
    if kind == "rubbish" or (kind == "damaged" and not some):  # where nothing is, nothing breaks
        return Content(b"no Parquet at all: " + mark, (), lands=False)
    data = parquet([version.row() for version in some], SHAPES.get(kind, SHAPE))
    if kind == "damaged":
        body = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        return Content(bytes(255 - byte for byte in data[:body]) + data[body:], (), lands=False)
    return Content(data, some, lands=True)


def newest(versions: Iterable[Version]) -> dict[int, Version]:
    """The processed table of these rows, in Python: the newest version of each record."""
    found: dict[int, Version] = {}
    for version in sorted(versions, key=lambda version: version.order):
        found[version.id] = version
    return found


def as_processed(versions: Mapping[int, Version]) -> list[tuple[int, str, str, float | None]]:
    """What `processed.rows` shows of these versions."""
    return [
        (number, version.raw_id, version.row()["status"], version.amount)
        for number, version in sorted(versions.items())
    ]


def at(seconds: int) -> datetime:
    """A moment."""
    return START + timedelta(seconds=seconds)
