"""The SQL of a model as dbt would compile it for a first run, from the manifest alone.

dbt takes seconds to start. A manifest has the text of every model and macro: Jinja renders them,
with stand-ins for what dbt gives them. What asks the lake, or dbt itself, cannot be rendered here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from lotus_lake.errors import PermanentError
from lotus_lake.sql import identifier


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as models name it."""

    database: str
    schema: str
    identifier: str

    def __str__(self) -> str:
        """Its quoted name."""
        return identifier(self.database, self.schema, self.identifier)


class UnrenderedModelError(PermanentError):
    """A model calls what only dbt can give."""


@dataclass(frozen=True, slots=True)
class _Config:
    """`config` of a model: a call declares, `get` asks."""

    values: Mapping[str, Any]

    def __call__(self, *_: object, **__: object) -> str:
        return ""

    def get(self, name: str, default: object = None) -> Any:
        value = self.values.get(name)
        return default if value is None else value


def render_model(manifest: Path, name: str, *, is_incremental: bool = False) -> str:
    """SQL of a model, for a first run of it or for an increment.

    Args:
        manifest: dbt's manifest.
        name: The model.
        is_incremental: For an increment.

    Raises:
        UnrenderedModelError: It cannot be rendered without dbt.
    """
    document = read_document(manifest)
    node = model_node(document, name)
    environment = _environment(document, node)
    environment.globals["is_incremental"] = lambda: is_incremental
    try:
        return environment.from_string(node["raw_code"]).render()
    except (jinja2.TemplateError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnrenderedModelError(f"{name} cannot be rendered without dbt: {error}") from error


def read_document(manifest: Path) -> dict[str, Any]:
    """The whole manifest."""
    return _document(manifest, manifest.stat().st_mtime_ns)


def model_node(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a manifest has of a model."""
    nodes = document["nodes"].values()
    (node,) = (n for n in nodes if n["resource_type"] == "model" and n["name"] == name)
    return dict(node)


@lru_cache(maxsize=2)
def _document(manifest: Path, _mtime_ns: int) -> dict[str, Any]:
    return dict(json.loads(manifest.read_text(encoding="utf-8")))


def _environment(document: Mapping[str, Any], node: Mapping[str, Any]) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"]
    )
    tables = {
        n["name"]: Relation(n["database"], n["schema"], n["alias"])
        for n in document["nodes"].values()
        if n["resource_type"] in ("model", "seed", "snapshot")
    }
    sources = {
        (s["source_name"], s["name"]): Relation(s["database"], s["schema"], s["identifier"])
        for s in document["sources"].values()
    }
    environment.globals |= {
        macro["name"]: _macro(environment, macro)
        for macro in document["macros"].values()
        if macro["package_name"] == node["package_name"]
    }
    environment.globals |= {
        "ref": lambda *words, **_: tables[words[-1]],
        "source": lambda source, name: sources[source, name],
        "config": _Config(node["config"]),
        "model": node,
        "this": Relation(node["database"], node["schema"], node["alias"]),
        "execute": False,
        "var": lambda _, default="": default,
    }
    return environment


def _macro(environment: SandboxedEnvironment, macro: Mapping[str, Any]) -> Callable[..., str]:
    def call(*words: object, **named: object) -> str:
        module = environment.from_string(macro["macro_sql"]).make_module()
        return str(getattr(module, macro["name"])(*words, **named))

    return call
