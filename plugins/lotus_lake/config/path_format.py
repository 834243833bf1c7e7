"""Airbyte's path formats: templates of the keys that its S3 destination writes.

A path format is what the destination is configured with, and after it its file name pattern where
one is set: `${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake.errors import did_you_mean

HIVE_DAY = "year=${YEAR}/month=${MONTH}/day=${DAY}/"
DEFAULT_PATH_FORMAT = f"${{NAMESPACE}}/${{STREAM_NAME}}/{HIVE_DAY}"
NAMESPACE, STREAM_NAME = "${NAMESPACE}", "${STREAM_NAME}"

_UUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
# Milliseconds since 1970 have thirteen digits from 2001 to 2286: as many as sort like numbers.
_MILLIS = r"\d{13}"
# What each placeholder stands for in a key. Parts of a time after the day differ by release of the
# destination: hours of the day, or hours since 1970.
PLACEHOLDERS = {
    "${YEAR}": r"\d{4}",
    "${MONTH}": r"\d{2}",
    "${DAY}": r"\d{2}",
    "${HOUR}": r"\d+",
    "${MINUTE}": r"\d+",
    "${SECOND}": r"\d+",
    "${MILLISECOND}": r"\d+",
    "${EPOCH}": _MILLIS,
    "${UUID}": _UUID,
    "{date}": r"\d{4}_\d{2}_\d{2}",
    "{date:yyyy_MM}": r"\d{4}_\d{2}",
    "{timestamp}": _MILLIS,
    "{timestamp:millis}": _MILLIS,
    "{timestamp:micros}": r"\d{16}",
    "{part_number}": rf"(?:\d+|{_UUID})",
    "{sync_id}": r"\d+",
    "{format_extension}": r"(?:\.[A-Za-z0-9]+)+",
}
_PARTS = re.compile(r"(\$\{[^{}]*\}|\{[^{}]*\})")
# Airbyte leaves these characters of a name, and the letters and digits of ASCII.
_OF_A_NAME = re.compile(r"[^A-Za-z0-9/!_.*')(&$@=;:+,?-]")


@dataclass(frozen=True, slots=True)
class PathFormat:
    """A path format, taken apart.

    Attributes:
        text: The path format itself.
        parts: Literals and placeholders, in their order.
    """

    text: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> PathFormat:
        """Take a path format apart; slashes in a row are one, as Airbyte has it."""
        text = re.sub("/+", "/", text.lstrip("/"))
        return cls(text, tuple(filter(None, _PARTS.split(text))))

    @property
    def names_files(self) -> bool:
        """Whether it says what the names of files are like."""
        return any(part in PLACEHOLDERS and part[0] == "{" for part in self.parts)

    def named(self, namespace: str, stream_name: str) -> PathFormat:
        """The path format of one stream; its names have no braces, see `name_in_keys`."""
        text = self.text.replace(NAMESPACE, name_in_keys(namespace))
        return PathFormat.of(text.replace(STREAM_NAME, name_in_keys(stream_name)))


def path_format_problem(text: str) -> str | None:
    """Why a text is not a path format that streams can be told apart by; `None` if it is."""
    found = PathFormat.of(text)
    known = {NAMESPACE, STREAM_NAME, *PLACEHOLDERS}
    for part in found.parts:
        if _PARTS.fullmatch(part) and part not in known:
            return f"has the unknown placeholder {part}; {did_you_mean(part, known)}"
        if part not in known and set(part) & set("{}"):
            return f"has a brace of no placeholder in {part!r}"
    after = _after_stream_name(found.parts)
    if (
        after is not None
        and not found.names_files
        and not any("/" in part or part in PLACEHOLDERS for part in after)
    ):
        return (
            "does not tell a stream from one whose name begins with its own: after ${STREAM_NAME} "
            "put a slash, a date, or the file name pattern, such as {part_number}{format_extension}"
        )
    return None


def name_in_keys(name: str) -> str:
    """A namespace or a stream's name as Airbyte writes it into keys."""
    plain = unicodedata.normalize("NFKD", name)
    bare = "".join(char for char in plain if not unicodedata.category(char).startswith("M"))
    return _OF_A_NAME.sub("_", bare)


def _after_stream_name(parts: Sequence[str]) -> Sequence[str] | None:
    return parts[parts.index(STREAM_NAME) + 1 :] if STREAM_NAME in parts else None
