"""How a record of a source changes over time, and what a sync sees of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of `_airbyte_meta.changes`: what Airbyte had to do to one field, and why."""

    field: str
    change: str
    reason: str


@dataclass(frozen=True, slots=True)
class Version:
    """One state of one record: from `at`, the value of the stream's cursor field, to the next."""

    at: datetime
    record: Record
    changes: tuple[Change, ...] = ()


Timeline = Sequence[Version]
"""All states of one record, oldest first."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The days of a history, all in UTC: day 0 is `start`."""

    start: date
    days: int

    def at(self, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
        """Return a moment of a day; days before the start are negative."""
        midnight = datetime.combine(self.start, time(0), tzinfo=UTC)
        return midnight + timedelta(days=day, hours=hour, minutes=minute, seconds=second)

    @property
    def begin(self) -> datetime:
        """Midnight of the first day."""
        return self.at(0)

    @property
    def end(self) -> datetime:
        """Midnight after the last day."""
        return self.at(self.days)


def evolve(base: Record, cursor_field: str, steps: Iterable[tuple[datetime, Record]]) -> Timeline:
    """Build a timeline from a record and the fields that change at each later moment.

    Args:
        base: The first state; it holds the cursor field.
        cursor_field: The field that every step sets to its own moment.
        steps: Moment and changed top-level fields, in any order.
    """
    versions = [Version(base[cursor_field], base)]
    for at, patch in sorted(steps, key=lambda step: step[0]):
        record = versions[-1].record | patch | {cursor_field: at}
        versions.append(Version(at, record))
    return versions


def read(timelines: Iterable[Timeline], after: datetime, until: datetime) -> list[Version]:
    """Return what an incremental sync reads: the newest state of every record changed since.

    Args:
        timelines: The records of the stream.
        after: The cursor of the last sync, exclusive.
        until: The moment of reading, inclusive.

    Returns:
        At most one version of each record, ordered by the cursor field.
    """
    seen = []
    for timeline in timelines:
        current = next((version for version in reversed(timeline) if version.at <= until), None)
        if current is not None and current.at > after:
            seen.append(current)
    return sorted(seen, key=lambda version: version.at)
