"""What a JSON Schema allows, and what breaks it, in the words of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from lotus_lake.errors import did_you_mean

JsonSchema = Mapping[str, Any]
_SHOWN_CHARACTERS = 80


def json_problems(
    error: ValidationError, document: Any, schema: JsonSchema, root: str = "$"
) -> list[str]:
    """What is wrong with a document, one line for each place: JSON path, value, what is allowed.

    Args:
        error: What pydantic found; of several errors at one place the first is reported.
        document: What was validated.
        schema: Its JSON Schema.
        root: What the paths begin with.
    """
    problems: dict[str, str] = {}
    for item in error.errors(include_url=False):
        location = item.get("ctx", {}).get("path", item["loc"])
        path, value, node = _place(location, document, schema)
        if item["type"] == "missing":
            path, node = [*path, location[-1]], _child(node, location[-1], schema) or {}
            reason = f" is required: {_allowed(node, schema)}"
        elif item["type"] == "extra_forbidden":
            known = _resolved(_place(location[:-1], document, schema)[2], schema)["properties"]
            reason = f"{_shown(value)}: unknown field; {did_you_mean(str(path[-1]), known)}"
        elif "path" in item.get("ctx", {}):
            reason = f"{_shown(value)}: {item['msg']}"
        else:
            reason = f"{_shown(value)}: should be {_allowed(node, schema)}"
        name = root + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
        problems.setdefault(name, name + reason)
    return list(problems.values())


def type_words(node: JsonSchema) -> str:
    """The type of a value, such as `non-empty list of lists of field names`."""
    if "anyOf" in node:
        return ", or a ".join(type_words(choice) for choice in _choices(node))
    if "enum" in node:
        *others, last = map(json.dumps, node["enum"])
        return f"{', '.join(others)} or {last}" if others else last
    if "$ref" in node:
        return "field" if node["$ref"].endswith("/FieldSchema") else "object"
    kind = node.get("type", "value")
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        return _bounded(f"list of {_plural(node['items'])}", node, "Items")
    if kind == "object" and isinstance(node.get("additionalProperties"), dict):
        return _bounded(f"object of {_plural(node['additionalProperties'])}", node, "Properties")
    # pydantic makes a title of the name of each property; those in lower case are ours.
    title = str(node.get("title", ""))
    return _bounded(_bounded(title if title.islower() else kind, node, "Length"), node, "imum")


def _place(
    location: Iterable[int | str], document: Any, schema: JsonSchema
) -> tuple[list[int | str], Any, JsonSchema]:
    """The path, the value and the schema that a location of pydantic leads to.

    A location goes on with the choices of a union, where the document has ended. Elements of a list
    are entered only if they are objects: what a key may look like is said of the whole key.
    """
    path: list[int | str] = []
    value, node = document, schema
    for part in location:
        child = _child(node, part, schema)
        if isinstance(part, int):
            is_inside = isinstance(value, list) and "$ref" in (child or {})
        else:
            is_inside = isinstance(value, dict) and part in value
        if not is_inside:
            break
        path, value, node = [*path, part], value[part], child or {}
    return path, value, node


def _child(node: JsonSchema, part: int | str, schema: JsonSchema) -> JsonSchema | None:
    for choice in _choices(node):
        of = _resolved(choice, schema)
        if isinstance(part, int):
            child = of.get("items")
        else:
            child = of.get("properties", {}).get(part) or of.get("additionalProperties")
        if child:
            return dict(child)
    return None


def _choices(node: JsonSchema) -> list[JsonSchema]:
    return [choice for choice in node.get("anyOf", [node]) if choice.get("type") != "null"]


def _resolved(node: JsonSchema, schema: JsonSchema) -> JsonSchema:
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _allowed(node: JsonSchema, schema: JsonSchema) -> str:
    """What a place may hold, with its article and an example if the schema has one."""
    choices = _choices(node)
    kind = _resolved(choices[0], schema) if len(choices) == 1 else node
    words = type_words(kind)
    article = "" if words.startswith(('"', "true")) else "an " if words[0] in "aeiou" else "a "
    examples = node.get("examples") or kind.get("examples")
    return f"{article}{words}{f', such as {json.dumps(examples[0])}' if examples else ''}"


def _plural(node: JsonSchema) -> str:
    if "enum" in node:
        return "these"
    one = type_words(node)
    return f"lists of {one.removeprefix('list of ')}" if one.startswith("list of") else f"{one}s"


def _bounded(words: str, node: JsonSchema, bound: str) -> str:
    low, high = node.get(f"min{bound}"), node.get(f"max{bound}")
    if low is not None and high is not None:
        return f"{words}, {low} to {high}"
    if low == 1 and bound != "imum":
        return f"non-empty {words}"
    if low is not None or high is not None:
        return f"{words}, at {'most' if low is None else 'least'} {high if low is None else low}"
    return words


def _shown(value: Any) -> str:
    """A value behind its path; of an object the path says enough."""
    if isinstance(value, dict):
        return ""
    text = json.dumps(value, default=str)
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    return f" = {cut}"
