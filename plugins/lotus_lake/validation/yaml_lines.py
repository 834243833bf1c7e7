"""YAML and JSON with the line of each mapping, for messages that point at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

LINE = "__line__"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _LineLoader(_Loader):  # type: ignore[misc]
    """Puts the line where a mapping starts into it, under a key of its own."""


def _mapping_with_line(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    mapping[LINE] = node.start_mark.line + 1
    return mapping


_LineLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_with_line)


def load_with_lines(text: str) -> Any:
    """Parse YAML; each mapping tells its line as `mapping[LINE]`.

    Raises:
        yaml.YAMLError: It is none.
    """
    return yaml.load(text, Loader=_LineLoader)  # noqa: S506  safe: it derives from CSafeLoader


def line_of(mapping: Any) -> int:
    """The line where a mapping starts; 0 if it is none."""
    return int(mapping.get(LINE, 0)) if isinstance(mapping, dict) else 0


def json_line(path: Path, json_path: str) -> int:
    """Line of a file that a path such as `$.fields.id.type` leads to, as far as it does."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return 0
    line, steps = 0, re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", json_path)
    for name, number in steps:
        found = _step(node, name, number)
        if found is None:
            break
        line, node = found
    return line


def _step(node: yaml.Node | None, name: str, number: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode) and name:
        for key, value in node.value:
            if key.value == name:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and number:
        members: Sequence[yaml.Node] = node.value
        if int(number) < len(members):
            return members[int(number)].start_mark.line + 1, members[int(number)]
    return None
