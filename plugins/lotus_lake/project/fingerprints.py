"""What the table of a model depends on beside its inputs, as one short text.

If two builds of a model have the same fingerprint and read the same inputs, they make the same
table. DuckDB's own parser says what a query is, whatever its comments and white space, and which
functions give another answer every time. A model of which that cannot be known has no fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from lotus_lake.project.rendering import (
    UnrenderedModelError,
    model_node,
    read_document,
    render_model,
)

# Parsed as columns, or said by DuckDB to be consistent, and no function of their arguments alone.
_VOLATILE = {
    "age", "current_date", "current_role", "current_time", "current_timestamp", "current_user",
    "localtime", "localtimestamp", "session_user", "user",
}  # fmt: skip
# Table functions that read nothing.
_PURE_TABLE_FUNCTIONS = {"generate_series", "json_each", "json_tree", "range", "unnest"}
# Of these, a model is not what it is rendered to without dbt.
_OF_DBT = ("execute", "run_started_at", "invocation_id", "env_var", "modules.", "var(")
# `meta` of a model's config that says that it is built every time.
ALWAYS_BUILD = "always_build"


def fingerprint(manifest: Path, name: str) -> str | None:
    """The fingerprint of a model; `None` if every build of it may give another table.

    Args:
        manifest: dbt's manifest of the whole project.
        name: The model.
    """
    document = read_document(manifest)
    node = model_node(document, name)
    parents = [document["nodes"].get(parent) for parent in node["depends_on"]["nodes"]]
    if (
        node["config"].get("meta", {}).get(ALWAYS_BUILD)
        or any(word in node["raw_code"] for word in _OF_DBT)
        or any(parent is None or parent["resource_type"] != "model" for parent in parents)
    ):
        return None
    own = node["alias"]  # and, of an increment, up to where it has read its inputs
    tables = {parent["alias"] for parent in parents if parent} | {own, f"inputs_{own}"}
    trees = [_parsed(manifest, name, is_incremental=increment) for increment in (False, True)]
    if any(tree is None or _is_volatile(tree, tables) for tree in trees):
        return None
    parts = [
        trees,
        {key: node[key] for key in ("alias", "config", "columns", "description", "contract")},
        sorted(tables),
        sorted(_macros(document, node)),
        sorted(_tests(document, node)),
        [document["metadata"].get("dbt_version"), duckdb.__version__, _project_file(manifest)],
    ]
    text = json.dumps(parts, sort_keys=True, default=str)
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()}"


def _parsed(manifest: Path, name: str, *, is_incremental: bool) -> Any:
    """The query of a model as DuckDB parses it; `None` if it cannot be known."""
    try:
        query = render_model(manifest, name, is_incremental=is_incremental)
    except UnrenderedModelError:
        return None
    with duckdb.connect() as con:
        (text,) = con.execute("SELECT json_serialize_sql(?)", [query]).fetchone() or ("",)
    parsed = json.loads(text)
    return None if parsed["error"] else _without_places(parsed["statements"])


def _without_places(tree: Any) -> Any:
    """The same without where each part stands in the text."""
    if isinstance(tree, dict):
        return {key: _without_places(v) for key, v in tree.items() if key != "query_location"}
    return [_without_places(part) for part in tree] if isinstance(tree, list) else tree


def _is_volatile(tree: Any, tables: set[str]) -> bool:
    """Whether a query may give another answer on the same tables, or reads others."""
    ctes = {cte["key"] for part in _parts(tree) for cte in part.get("cte_map", {}).get("map", ())}
    for part in _parts(tree):
        names = part.get("column_names") or [part.get("function_name")]
        if str(names[-1]).lower() in _volatile_functions():
            return True
        if part.get("sample"):
            return True
        if part.get("type") == "TABLE_FUNCTION":
            if part["function"]["function_name"].lower() not in _PURE_TABLE_FUNCTIONS:
                return True
        elif part.get("type") == "BASE_TABLE" and part["table_name"] not in tables | ctes:
            return True
    return False


def _parts(tree: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _parts(part)


@lru_cache(maxsize=1)
def _volatile_functions() -> frozenset[str]:
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
            "WHERE stability <> 'CONSISTENT'"
        ).fetchall()
    return frozenset(name for (name,) in rows) | _VOLATILE


def _macros(document: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    """Text of all macros of the project that a model calls, also in its hooks."""
    known = list(node["depends_on"]["macros"])
    for macro_id in known:
        macro = document["macros"].get(macro_id)
        if macro and macro["package_name"] == node["package_name"]:
            yield macro["macro_sql"]
            known += [m for m in macro["depends_on"]["macros"] if m not in known]


def _tests(document: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    """The data tests that a build of the model has to pass."""
    for other in document["nodes"].values():
        if other["resource_type"] == "test" and node["unique_id"] in other["depends_on"]["nodes"]:
            told = [other["raw_code"], other.get("test_metadata"), other["config"]]
            yield json.dumps(told, sort_keys=True, default=str)


def _project_file(manifest: Path) -> str:
    """The file that has the values of variables."""
    file = manifest.parent.parent / "dbt_project.yml"
    return file.read_text(encoding="utf-8") if file.exists() else ""
