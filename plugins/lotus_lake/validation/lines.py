"""Line numbers in YAML and JSON files, for messages that point at them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def line_of(path: Path, *steps: str | int) -> int:
    """Line that a way through a document leads to, as far as the document goes along.

    Args:
        path: A YAML or JSON file.
        steps: Key of a mapping, index of a list, or the `name` of one of a list's members.

    Returns:
        The line, counted from 1; 0 if not even the first step is there.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return 0
    line = 0
    for step in steps:
        found = _step(node, step)
        if found is None:
            break
        start, node = found
        line = start.start_mark.line + 1
    return line


def json_line(path: Path, json_path: str) -> int:
    """Line that a path such as `$.fields.id.type` leads to."""
    steps = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", json_path)
    return line_of(path, *(name or int(number) for name, number in steps))


def _step(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node where a step starts, and the one where it leads."""
    if isinstance(node, yaml.MappingNode):
        return next((pair for pair in node.value if pair[0].value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return next(((member, member) for member in node.value[step : step + 1]), None)
    if isinstance(node, yaml.SequenceNode):
        return next(((m, m) for m in node.value if _is_named(m, str(step))), None)
    return None


def _is_named(node: yaml.Node, name: str) -> bool:
    pair = _step(node, "name") if isinstance(node, yaml.MappingNode) else None
    return pair is not None and pair[1].value == name
