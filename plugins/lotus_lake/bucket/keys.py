"""The grammar of raw object keys, both directions: one layout per stream, from its path format.

    {raw prefix}shop/orders/year=2026/month=03/day=01/part_10.parquet    the default
    {raw prefix}shop/orders/2026_03_01_1772323200000_10.parquet          Airbyte's default

The date is the UTC start of the sync attempt that wrote the file, so a file can appear under an
older date than its neighbours. Order within a day says nothing (`part_10` sorts before `part_9`).
A file whose key names no day is of the day on which it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Protocol, TypeVar

from lotus_lake.config.path_format import HIVE_DAY, PLACEHOLDERS, STREAM_NAME, PathFormat
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream

# What DuckLake and S3 do not both take literally: "*" and "[" would be read as globs, "&" breaks
# DuckLake's delete of old files for good, "?", "\\" and a newline cannot be requested at all.
_UNSAFE = re.compile(r"[*?\[\]\\&\x00-\x1f\x7f]")
_DIGITS = re.compile(r"(\d+)")
# The end of a file's name: its format, its compression, and a number if the name was taken.
_FORMAT = re.compile(r"\.(?P<name>jsonl|json|csv|avro)(?P<gz>\.gz)?(?:-\d+)?$")
# The placeholders that give a day, in the order in which they are asked.
_YEAR, _MONTH, _DAY = _CALENDAR = ("${YEAR}", "${MONTH}", "${DAY}")
_MILLIS = ("${EPOCH}", "{timestamp}", "{timestamp:millis}")
_MICROS = "{timestamp:micros}"
_DATE = "{date}"
_EXAMPLES = {
    _YEAR: "2026", _MONTH: "03", _DAY: "01", "${HOUR}": "00", "${MINUTE}": "00", "${SECOND}": "00",
    "${MILLISECOND}": "0000", "${UUID}": "0b83b2f5-93a8-4b5e-a9f4-2f4a2fd0a0f4",
    **dict.fromkeys(_MILLIS, "1772323200000"), _MICROS: "1772323200000000", _DATE: "2026_03_01",
    "{date:yyyy_MM}": "2026_03", "{part_number}": "0", "{sync_id}": "17",
    "{format_extension}": ".parquet",
}  # fmt: skip
# Each stream's layout is asked for at every poll.
_REMEMBERED = 4096


class _Listed(Protocol):
    @property
    def key(self) -> str: ...


ListedT = TypeVar("ListedT", bound=_Listed)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the objects of a stream lie, and what their keys say.

    Attributes:
        path_format: The path format with the names of the stream.
        prefix: What every key of the stream begins with; what is listed.
        has_own_folder: Whether everything below the prefix is the stream's. If not, other streams'
            objects lie there too, and only keys of the path format are the stream's.
        pattern: Regular expression of the stream's keys.
        fields: The placeholders that are the groups of the pattern, in their order.
        example: A key of the stream.
        dated: What follows the prefix of the listing up to where keys stop being in order of time.
    """

    path_format: str
    prefix: str
    has_own_folder: bool
    pattern: str
    fields: tuple[str, ...]
    example: str
    dated: tuple[str, ...]

    @property
    def says_day(self) -> bool:
        """Whether every key of the path format names a day."""
        is_calendar = set(_CALENDAR) <= set(self.fields)
        return is_calendar or not {_DATE, *_MILLIS, _MICROS}.isdisjoint(self.fields)

    @property
    def has_hive_days(self) -> bool:
        """Whether DuckLake reads the columns year, month and day from every key."""
        return f"/{HIVE_DAY}" in f"/{self.path_format}"

    def takes(self, key: str) -> bool:
        """Whether a feeder of the stream would take any key for the stream's."""
        return key.startswith(self.prefix) and self.owns(key)

    def owns(self, key: str) -> bool:
        """Whether a listed key is the stream's, be it usable or not."""
        return self.has_own_folder or is_of(self.pattern, key)

    def own(self, listed: Iterable[ListedT]) -> Iterator[ListedT]:
        """The objects of a listing that are the stream's."""
        return (item for item in listed if self.owns(item.key))

    def day(self, key: str, written_at: datetime) -> date | None:
        """The day of an object: that of its key, or else that on which it was written.

        `None` when the key is not of the path format, or names a day that no calendar has.
        """
        match = re.fullmatch(self.pattern, key, re.ASCII)
        if match is None:
            return None
        said = dict(zip(self.fields, match.groups(), strict=True))
        try:
            return _day_of(said) or written_at.astimezone(UTC).date()
        except (ValueError, OverflowError):
            return None

    def problem(self, key: str) -> str | None:
        """Why a key of the stream cannot be registered, or `None` when it can."""
        if bad := sorted(set(_UNSAFE.findall(key))):
            return f"key has characters that are not safe to register: {' '.join(map(repr, bad))}"
        if format_of(key) is None:
            return "key names no format that can be read: parquet, jsonl, csv or avro"
        # The time does not matter: a key without a day has no wrong one.
        if self.day(key, datetime.now(UTC)) is None:
            return f"key is not of the path format {self.path_format}"
        return None

    def window_start(self, cursor_date: date | None, lookback_days: int) -> str | None:
        """Where a listing starts (S3's exclusive `StartAfter`); `None` lists the whole prefix.

        Every key that names the day `lookback_days` before the cursor, or a later one, sorts after
        the result. Keys that do not begin with a date are not in order of time: all are listed.
        """
        if cursor_date is None or not self.dated:
            return None
        try:
            first_day = cursor_date - timedelta(days=lookback_days)
        except OverflowError:
            return None
        return "".join(_written(part, first_day) for part in self.dated)


def is_of(pattern: str, key: str) -> bool:
    """Whether a key is of a layout's pattern."""
    return re.fullmatch(pattern, key, re.ASCII) is not None


def layout_of(settings: Settings, stream: Stream) -> Layout:
    """The layout of a stream's objects."""
    text = stream.feeder.path_format or settings.path_format
    return _layout(settings.raw_prefix, text, stream.namespace, stream.stream_name)


@lru_cache(_REMEMBERED)
def _layout(raw_prefix: str, text: str, namespace: str, stream_name: str) -> Layout:
    named = PathFormat.of(text).named(namespace, stream_name)
    parts = (raw_prefix, *named.parts) if raw_prefix else named.parts
    head = "".join(takewhile(lambda part: part not in PLACEHOLDERS, parts))
    has_own_folder = _ends_in_own_folder(PathFormat.of(text))
    fields = tuple(dict.fromkeys(part for part in parts if part in PLACEHOLDERS))
    # A number after the extension tells a name from one that was taken.
    file_name, example_name = (r"(?:-\d+)?", "") if named.names_files else ("[^/]+", "0.parquet")
    return Layout(
        path_format=named.text,
        prefix=head[: head.rfind("/") + 1] if has_own_folder else head,
        has_own_folder=has_own_folder,
        pattern="".join(_expressions(parts)) + file_name,
        fields=fields,
        example="".join(_EXAMPLES.get(part, part) for part in parts) + example_name,
        dated=_dated(head, parts),
    )


def _ends_in_own_folder(path_format: PathFormat) -> bool:
    """Whether a slash follows the stream's name before anything that varies."""
    head = list(takewhile(lambda part: part not in PLACEHOLDERS, path_format.parts))
    after = head[head.index(STREAM_NAME) + 1 :] if STREAM_NAME in head else head
    # One that does not name the stream at all is written for a stream alone.
    is_named = STREAM_NAME in path_format.parts
    return any("/" in part for part in after) and (STREAM_NAME in head or not is_named)


def _expressions(parts: Sequence[str]) -> Iterator[str]:
    """The pattern of a key; what is repeated has to be the same."""
    groups: dict[str, int] = {}
    for part in parts:
        if part not in PLACEHOLDERS:
            yield re.escape(part)
        elif part in groups:
            yield f"(?:\\{groups[part]})"
        else:
            groups[part] = len(groups) + 1
            yield f"({PLACEHOLDERS[part]})"


def _dated(head: str, parts: Sequence[str]) -> tuple[str, ...]:
    """The beginning of keys that is in order of time: year, month and day, or a time.

    Empty when keys begin with something else.
    """
    dated: list[str] = []
    wanted = list(_CALENDAR)
    rest = parts[len([*takewhile(lambda part: part not in PLACEHOLDERS, parts)]) :]
    for part in rest:
        if part in PLACEHOLDERS and part != (wanted[0] if wanted else None):
            break
        dated.append(part)
        if part in PLACEHOLDERS:
            del wanted[0]
    while dated and dated[-1] not in PLACEHOLDERS:
        dated.pop()
    if not dated and rest and rest[0] in (*_MILLIS, _MICROS, _DATE):
        dated = [rest[0]]
    return (head, *dated) if dated else ()


def _day_of(said: dict[str, str]) -> date | None:
    """The day that a key names; `None` if it names none."""
    if all(part in said for part in _CALENDAR):
        return date(*(int(said[part]) for part in _CALENDAR))
    if _DATE in said:
        return datetime.strptime(said[_DATE], "%Y_%m_%d").replace(tzinfo=UTC).date()
    for part in (*_MILLIS, _MICROS):
        if part in said:
            seconds = int(said[part]) / (1e6 if part == _MICROS else 1e3)
            return datetime.fromtimestamp(seconds, UTC).date()
    return None


def _written(part: str, day: date) -> str:
    """A part of a key of the first moment of a day."""
    seconds = (day - date(1970, 1, 1)).days * 86_400
    known = {
        _YEAR: f"{day.year:04}",
        _MONTH: f"{day.month:02}",
        _DAY: f"{day.day:02}",
        _DATE: f"{day.year:04}_{day.month:02}_{day.day:02}",
        **dict.fromkeys(_MILLIS, f"{seconds * 1_000:013}"),
        _MICROS: f"{seconds * 1_000_000:016}",
    }
    return known.get(part, part)


def partition_path(day: date) -> str:
    """Hive's folders of a day, without a trailing slash."""
    return f"year={day.year:04}/month={day.month:02}/day={day.day:02}"


def format_of(key: str) -> tuple[str, bool] | None:
    """The format that a key names, and whether the file is zipped as a whole; `None` for others."""
    name = key.rsplit("/", 1)[-1].lower()
    if match := _FORMAT.search(name):
        return "jsonl" if match["name"] == "json" else match["name"], bool(match["gz"])
    return ("parquet", False) if ".parquet" in name else None


def is_hidden(key: str) -> bool:
    """Whether a key is a marker or a file in the making, as Hadoop, Spark and Hive name them."""
    name = key.rsplit("/", 1)[-1]
    return name.startswith(("_", ".")) or name.endswith((".tmp", ".crc", "._COPYING_"))


def is_folder_marker(key: str) -> bool:
    """Whether a key is the empty object that some tools write to show a folder."""
    return key.endswith("/")


def natural_order(key: str) -> tuple[tuple[int, str], ...]:
    """Sort key under which `part_9` comes before `part_10`."""
    return tuple(
        (int(part), part) if part.isdecimal() else (-1, part) for part in _DIGITS.split(key)
    )
