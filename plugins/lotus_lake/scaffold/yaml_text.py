"""Lines of YAML in the layout of this project."""

from __future__ import annotations

import re
import textwrap

import yaml

WIDTH = 100


def scalar(text: str) -> str:
    """A string as a YAML scalar on one line, quoted only if necessary."""
    dumped: str = yaml.safe_dump(text, width=10**6, allow_unicode=True)
    return dumped.removesuffix("\n...\n").rstrip("\n")


def entry(indent: int, key: str, text: str) -> list[str]:
    """Lines of `key: text`, folded if it is too long for one."""
    line = f"{' ' * indent}{key}: {scalar(text)}"
    if len(line) <= WIDTH:
        return [line]
    inner = " " * (indent + 2)
    wrapped = textwrap.wrap(
        text, WIDTH - len(inner), break_long_words=False, break_on_hyphens=False
    )
    return [f"{' ' * indent}{key}: >-", *(inner + part for part in wrapped)]


def prose(text: str) -> str:
    """Foreign text as a description: on one line, and nothing that dbt would take for Jinja."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return re.sub(r"\{(?=[{%#])", "{ ", " ".join(printable.split()))
