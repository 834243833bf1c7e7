"""Judges of values that got another type: by Python alone, with no SQL of ours.

What arrived has to be in its column, or among the entries of `_lake_rescued`, part by part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from lotus_lake.sql import identifier

# No value of a type is the one that arrived.
LOST = object()


def as_number(text: str, target: str) -> Any:
    """The number in a text; LOST if the type has no such number."""
    if target in ("DOUBLE", "FLOAT") and text.lower() in ("nan", "inf", "-inf"):
        return float(text)
    if text != text.strip():
        return LOST
    try:
        json.loads(text, parse_constant=lambda name: 1 / 0)
        number = Decimal(text)
    except (ValueError, ArithmeticError):
        return LOST
    near = float(text)
    if "e" in text:
        shown, spelt = (re.sub(r"e(-?)\+?0*", r"e\1", number) for number in (repr(near), text))
        return near if target == "DOUBLE" and shown == spelt else LOST
    if target == "BIGINT":
        return int(number) if number == number.to_integral() and abs(number) < 2**63 else LOST
    if target == "DECIMAL(18,2)":
        exact = round(number, 2) if abs(number) < 10**16 else number
        return exact if exact == number and abs(number) < 10**16 else LOST
    return near if Decimal(repr(near)) == number else LOST


def as_moment(text: str, target: str) -> Any:
    """The instant in a text, with UTC where it has no zone."""
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return LOST
    fraction = re.search(r"\.\d{6}(\d+)", text)
    if fraction and int(fraction[1]):
        return LOST
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return LOST
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    moment = moment.astimezone(UTC)
    if target == "TIMESTAMP":
        return moment.replace(tzinfo=None)
    if target == "DATE":
        return moment.date() if moment.time() == time(0) else LOST
    return moment


def as_boolean(text: str, target: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), LOST)


JUDGES = {
    "BIGINT": as_number,
    "DOUBLE": as_number,
    "DECIMAL(18,2)": as_number,
    "TIMESTAMP WITH TIME ZONE": as_moment,
    "TIMESTAMP": as_moment,
    "DATE": as_moment,
    "BOOLEAN": as_boolean,
}


def plain(value: Any) -> Any:
    """A value as JSON shows it, in Python."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            shown = (
                chr(b) if 32 <= b < 127 and b not in b"\"'\\" else f"\\x{b:02X}" for b in value
            )
            return "".join(shown)
    return value


def is_same(arrived: Any, there: Any) -> bool:
    """Whether two values that are not nested are the same one."""
    if isinstance(arrived, str | bytes) and isinstance(there, bytes):
        return (arrived if isinstance(arrived, bytes) else arrived.encode()) == there
    arrived = plain(arrived)
    if isinstance(there, bool) or isinstance(arrived, bool):
        return str(arrived).lower() == str(there).lower()
    if isinstance(there, date) or isinstance(arrived, date):
        one, other = as_moment(str(arrived), "TIMESTAMP"), as_moment(str(there), "TIMESTAMP")
        return one == other and one is not LOST
    if isinstance(there, str) and isinstance(arrived, str):
        return arrived == there
    numbers = [Decimal(str(value)) for value in (arrived, there)]
    return numbers[0] == numbers[1] or all(number.is_nan() for number in numbers)


def in_path(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else identifier(name)


def account(arrived: Any, there: Any, name: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """See that each part of a value is in its column or rescued, and that nothing else is."""
    found = [(entry["path"], entry["value"]) for entry in entries]
    rescued = dict(found)
    assert len(rescued) == len(found)
    _account(arrived, there, in_path(name), rescued)
    assert rescued == {}


def _account(arrived: Any, there: Any, path: str, rescued: dict[str, str]) -> None:
    if path in rescued:
        kept = json.loads(rescued.pop(path))
        assert there is None, path
        _assert_same(arrived, kept, path)
    else:
        _assert_same(arrived, there, path, rescued)


def _assert_same(
    arrived: Any, there: Any, path: str, rescued: dict[str, str] | None = None
) -> None:
    """Compare a value with another one of which parts may have been rescued."""
    rescued = {} if rescued is None else rescued
    if isinstance(arrived, str | bytes) and isinstance(there, dict | list):
        arrived = json.loads(arrived)
    if isinstance(there, str) and isinstance(arrived, dict | list):
        there = json.loads(there)
    if arrived is None and there is None:
        return
    if isinstance(arrived, dict) and isinstance(there, dict):
        for name in arrived.keys() | there.keys():
            keyed = "['" + name.replace("'", "''") + "']"
            below = next(
                (p for p in (f"{path}{keyed}", f"{path}.{in_path(name)}") if any_below(p, rescued)),
                f"{path}.{in_path(name)}",
            )
            _account(arrived.get(name), there.get(name), below, rescued)
    elif isinstance(arrived, list) and isinstance(there, list):
        assert len(arrived) == len(there), path
        for number, pair in enumerate(zip(arrived, there, strict=True), start=1):
            _account(*pair, f"{path}[{number}]", rescued)
    elif arrived in ("null", b"null") and there is None:
        return  # JSON's null is no value
    else:
        assert arrived is not None, path
        assert there is not None, path
        assert is_same(arrived, there), (path, arrived, there)


def any_below(path: str, rescued: Mapping[str, str]) -> bool:
    return any(other.startswith(path) for other in rescued)
