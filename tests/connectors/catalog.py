"""The catalog that a connector's `discover` would print, from the files of its package.

Streams are defined in one of two ways. A low-code manifest lists them, with `$ref`s, parameters
that are handed down, and schemas inline or in files. In Python, a class per stream names key and
cursor, and its schema is the file of the stream's name. A connector that asks an account for its
schemas has none here; such streams are named with the reason.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a package says of its streams.

    Attributes:
        catalog: An AirbyteCatalog.
        without_schema: Streams whose schema only an account can tell, with the kind of its loader.
    """

    catalog: Json
    without_schema: Mapping[str, str]


def discover(package: Path) -> Discovered:
    """The catalog of a connector, from its unpacked package."""
    manifest = package / "manifest.yaml"
    streams = list(_from_manifest(package, manifest) if manifest.exists() else _from_code(package))
    found = [stream for stream in streams if "json_schema" in stream]
    return Discovered(
        {"streams": found},
        {stream["name"]: stream["loader"] for stream in streams if "json_schema" not in stream},
    )


def _stream(name: str, schema: Json, key: Any, cursor: str) -> Json:
    return {
        "name": name,
        "json_schema": schema,
        "supported_sync_modes": ["full_refresh", *(["incremental"] if cursor else [])],
        "source_defined_cursor": bool(cursor),
        "default_cursor_field": [cursor] if cursor else [],
        "source_defined_primary_key": _key(key),
    }


def _key(key: Any) -> list[list[str]]:
    parts = [key] if isinstance(key, str) else key or []
    return [part if isinstance(part, list) else [part] for part in parts if part]


# Low-code manifests


def _from_manifest(package: Path, manifest: Path) -> Iterator[Json]:
    document = yaml.load(manifest.read_bytes(), yaml.CSafeLoader)
    for stream in _References(document).resolved(document["streams"]):
        parts = {**stream, **_inherited(stream, {})}
        # Both streams behind such a delegate have its schema.
        inner = parts.get("incremental_stream") or parts
        parameters = {**_parameters(parts), **_parameters(inner)}
        inner = {**inner, **_inherited(inner, parameters)}
        name = str(inner.get("name") or parts["name"])
        schema = _schema(package, name, inner.get("schema_loader"), parameters)
        if isinstance(schema, str):
            yield {"name": name, "loader": schema}
            continue
        cursor = (inner.get("incremental_sync") or {}).get("cursor_field") or ""
        key = _rendered(inner.get("primary_key"), parameters)
        yield _stream(name, schema, key, str(_rendered(cursor, parameters)))


def _parameters(component: Json) -> Json:
    return component.get("$parameters") or {}


def _inherited(component: Json, parameters: Json) -> Json:
    """What a component takes over from its parameters, where it does not say so itself."""
    given = {**parameters, **_parameters(component)}
    return {word: value for word, value in given.items() if not component.get(word)}


def _rendered(value: Any, parameters: Json) -> Any:
    if isinstance(value, list):
        return [_rendered(part, parameters) for part in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    template = jinja2.Environment(autoescape=False).from_string(value)
    return template.render(parameters=parameters, config={})


def _schema(package: Path, name: str, loader: Any, parameters: Json) -> Json | str:
    """The schema that a loader gives, or the kind of a loader that needs an account."""
    loaders = loader if isinstance(loader, list) else [loader or {"type": "JsonFileSchemaLoader"}]
    merged: Json = {}
    for one in loaders:
        if one["type"] == "InlineSchemaLoader":
            merged |= (one.get("schema") or {}).get("properties") or {}
        elif one["type"] == "JsonFileSchemaLoader":
            default = "./schemas/{{ parameters['name'] }}.json"
            path = one.get("file_path") or default
            file = Path(str(_rendered(path, {"name": name, **parameters})))
            merged |= _schema_file(package / "schemas" / file.name).get("properties") or {}
    return {"type": "object", "properties": merged} if merged else str(loaders[0]["type"])


class _References:
    """`$ref`s of a manifest: what stands beside one wins over what it refers to."""

    def __init__(self, document: Json) -> None:
        self.document = document

    def resolved(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.resolved(member) for member in node]
        if isinstance(node, str) and node.startswith("#/"):
            return self.resolved(self._at(node))
        if not isinstance(node, dict):
            return node
        own = {word: self.resolved(value) for word, value in node.items() if word != "$ref"}
        if not isinstance(node.get("$ref"), str):
            return own
        base = self.resolved(node["$ref"])
        if not isinstance(base, dict):
            return base
        given = {**_parameters(base), **_parameters(own)}
        return {**base, **own, **({"$parameters": given} if given else {})}

    def _at(self, reference: str) -> Any:
        node: Any = self.document
        for step in reference[2:].split("/"):
            if isinstance(node, dict) and step not in node and "$ref" in node:
                node = self.resolved(node)
            node = node[int(step)] if isinstance(node, list) else node[step]
        return node


# Schema files


def _schema_file(path: Path) -> Json:
    """A JSON schema, with the shared ones that it refers to put in."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    return dict(_expanded(document, document, path.parent / "shared"))


def _expanded(node: Any, document: Json, shared: Path) -> Any:
    if isinstance(node, list):
        return [_expanded(member, document, shared) for member in node]
    if not isinstance(node, dict):
        return node
    if not isinstance(node.get("$ref"), str):
        return {word: _expanded(value, document, shared) for word, value in node.items()}
    file, _, pointer = node["$ref"].partition("#")
    target: Any = json.loads((shared / file).read_text("utf-8")) if file else document
    whole = target
    for step in filter(None, pointer.split("/")):
        target = target[step]
    beside = {word: value for word, value in node.items() if word != "$ref"}
    return {**_expanded(target, whole, shared), **_expanded(beside, document, shared)}


# Streams in Python


def _from_code(package: Path) -> Iterator[Json]:
    classes = {
        node.name: node
        for file in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    names = {_stream_name(name): name for name in classes}
    for file in sorted((package / "schemas").glob("*.json")):
        words = dict(_attributes(names.get(file.stem, ""), classes))
        cursor = words.get("cursor_field")
        yield _stream(
            file.stem,
            _schema_file(file),
            words.get("primary_key"),
            cursor if isinstance(cursor, str) else "",
        )


def _stream_name(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _attributes(name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[tuple[str, Any]]:
    """Constants of a class, those of its bases first, so that its own win."""
    if name not in classes:
        return
    for base in reversed(classes[name].bases):
        yield from _attributes(base.id if isinstance(base, ast.Name) else "", classes)
    for statement in classes[name].body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                yield statement.targets[0].id, ast.literal_eval(statement.value)
            except ValueError:
                continue
