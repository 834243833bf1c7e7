"""What a column is, in words, where its source does not say it: from its name and its kind."""

from __future__ import annotations

from lotus_lake.scaffold import naming
from lotus_lake.scaffold.columns import Column

_ACRONYMS = ("api", "html", "ip", "json", "sku", "sms", "sso", "uri", "url", "utc", "uuid")
# Participles that do not end in -ed.
_DONE = ("done", "held", "lost", "paid", "read", "seen", "sent", "shown", "won")
_COUNTS = ("count", "number", "num")


def described(column: Column, record: str, source: str) -> str:
    """A sentence about a column.

    Args:
        column: The column.
        record: One record of its stream, as words: `order refund`.
        source: Name of the source.
    """
    field = naming.words(column.path[-1])
    owner = naming.words(column.path[-2]) if len(column.path) > 1 else record
    if field == "id" and owner == record:
        return f"The {record}'s id in {source}."
    if column.kind == "boolean":
        return f"Whether {_question(column, owner)}."
    if column.kind == "timestamp":
        return f"{_moment(naming.words(column.name), owner)}."
    if column.kind == "date":
        day = field if field.endswith("day") else f"{_without(field, 'date', 'on', 'at')} date"
        return f"{_capital(_readable(day))} of the {owner}{_of(owner, record)}."
    if column.kind == "id" and field.endswith(" id"):
        return f"Id of the {_readable(field.removesuffix(' id'))}{_of(owner, record)}."
    if column.kind == "number" and (counted := _counted(field)):
        return f"Number of {_readable(counted)} of the {owner}."
    text = f"{_capital(_readable(field))} of the {owner}{_of(owner, record)}"
    return f"{text}, as JSON text." if column.expression.startswith("to_json(") else f"{text}."


def _question(column: Column, owner: str) -> str:
    verb, _, rest = naming.words(column.name).partition(" ")
    parent = naming.words("_".join(column.path[:-1]))
    rest = rest.removeprefix(parent).strip() or rest
    return f"the {owner} {verb} {_readable(rest)}"


def _moment(name: str, owner: str) -> str:
    """`created at` as when it was created; other times by what they are of."""
    event = _without(name, "at").removeprefix(owner).strip()
    last = event.rpartition(" ")[2]
    if last.endswith("ed") or last in _DONE:
        again = "last " if event in ("updated", "modified", "changed") else ""
        return f"When the {owner} was {again}{_readable(event)}"
    return f"Time of {_readable(event)} of the {owner}" if event else f"Time of the {owner}"


def _counted(field: str) -> str:
    """What a number counts; nothing if it is not a count."""
    first, _, rest = field.partition(" ")
    if first in _COUNTS and rest:
        return rest.removeprefix("of ")
    head, _, last = field.rpartition(" ")
    return head if last in _COUNTS else ""


def _of(owner: str, record: str) -> str:
    return "" if owner == record else f" of the {record}"


def _without(text: str, *endings: str) -> str:
    head, _, last = text.rpartition(" ")
    return head if last in endings else text


def _readable(text: str) -> str:
    return " ".join(word.upper() if word in _ACRONYMS else word for word in text.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
