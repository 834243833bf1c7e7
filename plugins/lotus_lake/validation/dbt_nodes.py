"""Models, seeds, snapshots and sources from dbt's manifest, as the checks need them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus_lake.project.manifest import HISTORY_STRATEGY


@dataclass(frozen=True, slots=True)
class ProcessedModel:
    """A model below `models/processed`.

    Attributes:
        name: Name of the model.
        file: Its SQL.
        code: What that file holds.
        properties_file: The YAML that describes it; `None` if none does.
        tags: Its tags, wherever they are set.
        unique_key: Columns of its key; empty if it has none.
        materialized: How dbt builds it.
        deletes: What it does with deletes at the source; empty if it says nothing.
        follows_log: Whether its versions are ordered by the log of their source.
        is_history: Whether it has a row for every version of a record.
        reads: Source and name of each dbt source that it reads, by itself or through a macro.
        macros: Names of the macros that it calls.
        column_tests: Names of the data tests of each column.
        tests: Names of its other data tests.
    """

    name: str
    file: Path
    code: str
    properties_file: Path | None
    tags: tuple[str, ...]
    unique_key: tuple[str, ...]
    materialized: str
    deletes: str
    follows_log: bool
    is_history: bool
    reads: tuple[tuple[str, str], ...]
    macros: frozenset[str]
    column_tests: Mapping[str, frozenset[str]]
    tests: frozenset[str]


@dataclass(frozen=True, slots=True)
class DbtNode:
    """A model of any layer, a seed or a snapshot.

    Attributes:
        name: Its name.
        kind: `model`, `seed` or `snapshot`.
        file: Where it is.
        code: What that file holds.
        layer: First folder below `models`.
        is_enabled: Whether dbt would build it.
        reads: Source and name of each dbt source that it reads.
        names: What its config says of its table's name: alias, schema, database, version.
    """

    name: str
    kind: str
    file: Path
    code: str
    layer: str
    is_enabled: bool
    reads: tuple[tuple[str, str], ...]
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table that a YAML declares as a dbt source."""

    file: Path
    source: str
    name: str
    identifier: str
    schema: str


def read_manifest(
    manifest: Path, dbt_dir: Path
) -> tuple[tuple[ProcessedModel, ...], tuple[SourceTable, ...]]:
    """The processed models and all sources of a manifest.

    Args:
        manifest: The file that `dbt parse` writes.
        dbt_dir: The dbt project, from which its paths go.
    """
    document = json.loads(manifest.read_text(encoding="utf-8"))
    tests: dict[str, dict[str, set[str]]] = {}
    for model, column, name in _data_tests(document):
        tests.setdefault(model, {}).setdefault(column, set()).add(name)
    models = tuple(
        _model(node, dbt_dir, {c: frozenset(names) for c, names in tests.get(key, {}).items()})
        for key, node in sorted(document["nodes"].items())
        if node["resource_type"] == "model" and node["path"].startswith("processed/")
    )
    sources = tuple(
        SourceTable(
            file=dbt_dir / node["original_file_path"],
            source=node["source_name"],
            name=node["name"],
            identifier=node["identifier"],
            schema=node["schema"],
        )
        for _, node in sorted(document["sources"].items())
    )
    return models, sources


def read_nodes(manifest: Path, dbt_dir: Path) -> tuple[DbtNode, ...]:
    """What has a table: models of all layers, disabled ones as well, seeds and snapshots."""
    document = json.loads(manifest.read_text(encoding="utf-8"))
    disabled = {key for key in document["disabled"] if key not in document["nodes"]}
    nodes = {**document["nodes"], **{key: document["disabled"][key][0] for key in disabled}}
    return tuple(
        _node(node, dbt_dir, key not in disabled)
        for key, node in sorted(nodes.items())
        if node["resource_type"] in ("model", "seed", "snapshot")
    )


def _node(node: Mapping[str, Any], dbt_dir: Path, is_enabled: bool) -> DbtNode:
    config = {**node["config"], "version": node.get("version")}
    return DbtNode(
        name=node["name"],
        kind=node["resource_type"],
        file=dbt_dir / node["original_file_path"],
        code=node["raw_code"],
        layer=node["fqn"][1],
        is_enabled=is_enabled,
        reads=tuple((source, name) for source, name in node.get("sources", ())),
        names={
            word: str(config[word])
            for word in ("alias", "schema", "database", "version")
            if config.get(word) not in (None, node["name"])
        },
    )


def _data_tests(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Model, column (empty for a test of the whole model) and name of each generic test."""
    for node in document["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node"):
            yield (
                node["attached_node"],
                node["column_name"] or "",
                node["test_metadata"]["name"],
            )


def _model(
    node: Mapping[str, Any], dbt_dir: Path, tests: Mapping[str, frozenset[str]]
) -> ProcessedModel:
    config, patch = node["config"], node["patch_path"]
    key = config["unique_key"] or ()
    return ProcessedModel(
        name=node["name"],
        file=dbt_dir / node["original_file_path"],
        code=node["raw_code"],
        properties_file=dbt_dir / patch.partition("://")[2] if patch else None,
        tags=tuple(node["tags"]),
        unique_key=(key,) if isinstance(key, str) else tuple(key),
        materialized=config["materialized"],
        deletes=str(config["meta"].get("deletes", "")),
        follows_log=config["meta"].get("order") == "log",
        is_history=config["incremental_strategy"] == HISTORY_STRATEGY,
        reads=tuple((source, name) for source, name in node["sources"]),
        macros=frozenset(macro.rpartition(".")[2] for macro in node["depends_on"]["macros"]),
        column_tests={column: names for column, names in tests.items() if column},
        tests=tests.get("", frozenset()),
    )
