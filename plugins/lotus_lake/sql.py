"""Quoting: the only place where a value enters SQL text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date

_CAPITALS = re.compile(r"[A-Z]+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifier(*parts: str) -> str:
    """Quote a name of one or more parts, such as `"lakehouse"."meta"."file_events"`."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(value: str | int | bool | None) -> str:
    """Render a value as a SQL literal, for statements that take no bound parameters."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"


def json_array(values: Iterable[object]) -> str:
    """Values as the JSON text of one parameter, for `?::JSON::VARCHAR[]` or another type.

    For every value of a bound list DuckDB looks for pandas, in vain and for 0.08 ms: two minutes
    for the ledger rows of 100,000 files.
    """
    return json.dumps([str(v) if isinstance(v, date) else v for v in values])


def folded(name: str) -> str:
    """A name as DuckDB compares names: without case, and only ASCII letters have one."""
    return _CAPITALS.sub(lambda letters: letters[0].lower(), name)


def is_plain_name(name: str) -> bool:
    """Whether a name needs no quoting and is safe in a file name, a Dag id and a dbt tag."""
    return _IDENTIFIER.fullmatch(name) is not None
