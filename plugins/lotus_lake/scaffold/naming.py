"""Names of a model's columns: words, singulars, and prefixes and suffixes that show a type."""

from __future__ import annotations

import re

_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman"}
# Singulars that end like plurals.
_SINGULAR = ("ss", "us", "is", "news", "series", "data", "status")
_BOOLEAN_WORDS = (
    "is", "has", "can", "was", "did", "does", "should", "will", "accepts", "allows", "requires",
    "uses",
)  # fmt: skip
# Endings of a timestamp's name that `_at` replaces.
_TIME_WORDS = ("at", "on", "time", "date", "datetime", "timestamp")


def snake(name: str) -> str:
    """`createdAt` and `Created-At` as `created_at`; a leading underscore stays."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"_{2,}", "_", re.sub(r"[^a-z0-9_]", "_", spaced.lower()))


def singular(name: str) -> str:
    """The name of one record of a stream: `order_refunds` as `order_refund`."""
    head, _, last = snake(name).rpartition("_")
    return f"{head}_{_singular_word(last)}" if head else _singular_word(last)


def words(name: str) -> str:
    """A name as words of a sentence."""
    return snake(name).replace("_", " ").strip()


def boolean_name(name: str, parent: str = "") -> str:
    """A name that reads as a yes-or-no question: `archived` as `is_archived`."""
    first, _, rest = name.partition("_")
    verb, noun = (first, rest) if first in _BOOLEAN_WORDS and rest else ("is", name)
    return _joined(verb, parent, noun)


def timestamp_name(name: str, record: str, parent: str = "") -> str:
    """`{event}_at`: `created` as `created_at`, `send_time` as `send_at`.

    Args:
        name: The field.
        record: The event, if the name says only that it is a time.
        parent: The object the field is in.
    """
    head, _, last = name.rpartition("_")
    event = head if last in _TIME_WORDS else name
    return _joined(parent, event or ("" if parent else record), "at")


def date_name(name: str, record: str, parent: str = "") -> str:
    """`{event}_date`: `due_on` as `due_date`; `birthday` stays."""
    if name.endswith("day"):
        return _joined(parent, name)
    head, _, last = name.rpartition("_")
    event = head if last in ("on", "date", "at") else name
    return _joined(parent, event or ("" if parent else record), "date")


def _joined(*parts: str) -> str:
    return "_".join(part.strip("_") for part in parts if part.strip("_"))


def _singular_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(_SINGULAR) and not word.endswith(("sses", "uses")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes", "uses")) and len(word) > 4:
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 2 else word
