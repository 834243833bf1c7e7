"""JSON text in the layout of this project: whatever fits on a line is on one line."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 100
_INDENT = 2


def json_text(document: Any) -> str:
    """Render a document: two spaces of indent, and lines of up to 100 columns where possible.

    Args:
        document: What `json` can render. The outermost object or list always gets lines of its own.
    """
    return _broken(document, 0) + "\n"


def _value(value: Any, indent: int, taken: int) -> str:
    """One line if it fits after the `taken` columns of its line, else a line for each member."""
    flat = json.dumps(value, ensure_ascii=False)
    return flat if indent + taken + len(flat) <= WIDTH else _broken(value, indent)


def _broken(value: Any, indent: int) -> str:
    if not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + _INDENT
    if isinstance(value, dict):
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        members = list(value.values())
    else:
        names, members = [""] * len(value), value
    last = len(members) - 1
    lines = [
        " " * inner + name + _value(member, inner, len(name) + (number < last))
        for number, (name, member) in enumerate(zip(names, members, strict=True))
    ]
    brackets = "{}" if isinstance(value, dict) else "[]"
    return f"{brackets[0]}\n" + ",\n".join(lines) + f"\n{' ' * indent}{brackets[1]}"
