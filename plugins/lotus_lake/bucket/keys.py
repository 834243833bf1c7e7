"""The grammar of raw object keys, both directions.

    {raw prefix}{source}/{stream}/year=2026/month=03/day=01/part_10.parquet

The date is the UTC start of the sync attempt that wrote the file, so a file can appear under an
older date than its neighbours. Order within a day says nothing (`part_10` sorts before `part_9`).
"""

from __future__ import annotations

import re
from datetime import date, timedelta

# What DuckLake and S3 both take literally: "*" and "[" would be read as globs, "&" breaks the
# batch delete of old files for good, "?" and a newline cannot be requested at all.
_SAFE_KEY = re.compile(r"[A-Za-z0-9._=/-]+")
_PARTITION = re.compile(r"year=(\d{4})/month=(\d{2})/day=(\d{2})/[^/]+")
_DIGITS = re.compile(r"(\d+)")


def partition_path(day: date) -> str:
    """Folder of a day below the stream's prefix, without a trailing slash."""
    return f"year={day.year:04}/month={day.month:02}/day={day.day:02}"


def partition_date(prefix: str, key: str) -> date | None:
    """Day of a key below a stream's prefix; `None` when the key is not of the grammar."""
    match = _PARTITION.fullmatch(key.removeprefix(prefix)) if key.startswith(prefix) else None
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def key_problem(prefix: str, key: str) -> str | None:
    """Why a key cannot be registered, or `None` when it can.

    Args:
        prefix: The stream's prefix, ending in a slash.
        key: Full key of the object.
    """
    if not _SAFE_KEY.fullmatch(key):
        bad = sorted({char for char in key if not _SAFE_KEY.fullmatch(char)})
        return f"key has characters that are not safe to register: {' '.join(map(repr, bad))}"
    if ".parquet" not in key.rsplit("/", 1)[-1].lower():
        return "key does not name a Parquet file"
    if partition_date(prefix, key) is None:
        return "key is not {prefix}year=YYYY/month=MM/day=DD/{file}"
    return None


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


def window_start(prefix: str, cursor_date: date | None, lookback_days: int) -> str | None:
    """Where a listing starts (S3's exclusive `StartAfter`); `None` lists the whole prefix.

    Every key of the partition `lookback_days` before the cursor, and of all later ones, sorts
    after the result.
    """
    if cursor_date is None:
        return None
    try:
        first_day = cursor_date - timedelta(days=lookback_days)
    except OverflowError:
        return None
    return prefix + partition_path(first_day)
