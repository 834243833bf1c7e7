"""dbt's manifest, always current: which models there are, and what they read.

`dbt parse` writes it whenever a file of the dbt project has changed, so that a bare checkout needs
no build step; an image contains it. Beside the manifest lies a copy of the files that it was made
from. A project that does not parse leaves both in place, so that models can be built from them, and
is not parsed again until a file of it changes or some minutes pass. Each group of models that a Dag
renders has a small manifest of its own: for each Dag, Cosmos reads one and visits all its nodes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lotus_lake.errors import DbtProjectError
from lotus_lake.sql import is_plain_name

_INPUTS = (
    "dbt_project.yml", "profiles.yml", "packages.yml", "models", "macros", "tests", "seeds",
    "snapshots",
)  # fmt: skip
_GROUPS = "groups"
_STAMP = "lotus_lake_inputs.json"
_FAILURE = "lotus_lake_failure.json"
_BESIDE = "parsing"
_LAST_GOOD = "last_good"
_PARSE_TIMEOUT_SECONDS = 300
# The cause may lie outside the project, such as a full disk.
_FAILURE_SECONDS = 600


# The incremental strategy that makes a model a history: macros/versions.sql.
HISTORY_STRATEGY = "versions"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What dbt made of its project.

    Attributes:
        file: The manifest.
        is_current: Whether it is the project as it is now, or as it was when it last parsed.
        dbt_dir: A dbt project that it is the manifest of: the project itself, or a copy of its
            files as they last parsed.
    """

    file: Path
    is_current: bool
    dbt_dir: Path


@dataclass(frozen=True, slots=True)
class Model:
    """A dbt model.

    Attributes:
        name: Name of the model, which is its table's name in the schema `main`.
        layer: First folder below `models`: `processed` or `enriched`.
        folder: Second folder: the source of a processed model, the domain of an enriched one.
        tags: dbt tags; a processed model is tagged with its stream.
        parents: Names of the models it reads.
        description: First line of its description.
        unique_key: Columns that a model merges by; empty if every run rebuilds it.
        key: Columns that say which row is which: those that it merges by, in a history with
            Airbyte's id of the row, or else those that a data test of it, `unique` or
            `unique_together`, finds unique.
        follows_log: Whether its versions are ordered by the log of their source.
        is_history: Whether it has a row for every version of a record, and not one per key.
        freshness: What its YAML says under `config.meta.freshness`, as it is.
    """

    name: str
    layer: str
    folder: str
    tags: tuple[str, ...]
    parents: tuple[str, ...]
    description: str
    unique_key: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    follows_log: bool = False
    is_history: bool = False
    freshness: Any = None

    @property
    def order(self) -> tuple[str, ...]:
        """Columns that the order of versions compares, as the macro `newest_wins` does."""
        log = ("_log_position",) if self.follows_log else ()
        return (*log, "_airbyte_extracted_at", "_source_updated_at", "_airbyte_raw_id")


def dbt_project_dir(project_dir: Path) -> Path:
    """Where the dbt project is."""
    return project_dir / "include" / "dbt"


def dbt_executable() -> str:
    """The dbt next to this Python, else the one on PATH."""
    beside = Path(sys.executable).with_name("dbt")
    return str(beside) if beside.exists() else shutil.which("dbt") or "dbt"


def ensure_manifest(project_dir: Path, *, again: bool = False) -> Path:
    """Path of a current manifest; runs `dbt parse` if it is not current.

    Args:
        project_dir: The checkout.
        again: Parse again even if these very files failed to parse a moment ago.

    Raises:
        DbtProjectError: dbt cannot parse the project; the last good manifest stays where it is.
    """
    dbt_dir = dbt_project_dir(project_dir)
    manifest = manifest_file(project_dir)
    target, stamp = manifest.parent, manifest.with_name(_STAMP)
    if _is_fresh(manifest, stamp, _signature(dbt_dir)) or not _writable(dbt_dir, manifest):
        return manifest
    try:
        target.mkdir(exist_ok=True)
        with (target / ".parse.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            signature = _signature(dbt_dir)
            if not _is_fresh(manifest, stamp, signature):
                if not again:
                    _raise_known_failure(dbt_dir, signature)
                _replace_manifest(project_dir, signature)
    except OSError as error:
        raise DbtProjectError(dbt_dir, f"{target} cannot be written: {error}") from error
    return manifest


def last_good_manifest(project_dir: Path) -> Manifest | None:
    """The manifest of the project as it last parsed; `None` if it never did. For Dags."""
    dbt_dir = dbt_project_dir(project_dir)
    try:
        return Manifest(ensure_manifest(project_dir), True, dbt_dir)
    except DbtProjectError:
        manifest = manifest_file(project_dir)
        copy = manifest.with_name(_LAST_GOOD)
        parsed = copy if copy.exists() else dbt_dir
        return Manifest(manifest, False, parsed) if manifest.exists() else None


def group_manifest(manifest: Path, layer: str, name: str) -> Path:
    """The manifest of one group of models; the whole manifest if it was made without groups.

    Args:
        manifest: The whole manifest.
        layer: `processed` or `enriched`.
        name: Tag of the processed models, which is their stream; folder of the enriched ones.
    """
    file = manifest.parent / _GROUPS / layer / f"{name}.json"
    return file if file.exists() else manifest


def manifest_file(project_dir: Path) -> Path:
    """Path of the manifest, whether it exists or not."""
    return dbt_project_dir(project_dir) / "target" / "manifest.json"


def built_models(project_dir: Path) -> dict[str, Model]:
    """Models of the manifest as it is; none without a manifest. Never starts dbt."""
    manifest = manifest_file(project_dir)
    return load_models(manifest) if manifest.exists() else {}


def manifest_problem(project_dir: Path) -> str | None:
    """Why the manifest is out of date and stays so; `None` if it is current or can be made."""
    dbt_dir, manifest = dbt_project_dir(project_dir), manifest_file(project_dir)
    if not (dbt_dir / "dbt_project.yml").exists():
        return f"{dbt_dir} contains no dbt project"
    if _is_fresh(manifest, manifest.with_name(_STAMP), _signature(dbt_dir)):
        return None
    if not os.access(manifest.parent if manifest.parent.exists() else dbt_dir, os.W_OK):
        state = "is older than the models" if manifest.exists() else "is missing"
        return f"{manifest} {state} and its folder is not writable"
    return None


def load_models(manifest: Path) -> dict[str, Model]:
    """All models of the project by name."""
    return _load_models(manifest, manifest.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load_models(manifest: Path, _mtime_ns: int) -> dict[str, Model]:
    nodes: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["nodes"]
    models = {key: node for key, node in nodes.items() if node["resource_type"] == "model"}
    tested = _tested_keys(nodes)
    return {
        node["name"]: _model(node, models, tested.get(unique_id, ()))
        for unique_id, node in sorted(models.items())
    }


def _model(node: Mapping[str, Any], models: Mapping[str, Any], tested: tuple[str, ...]) -> Model:
    config = node.get("config", {})
    unique_key = _columns(config.get("unique_key"))
    is_history = config.get("incremental_strategy") == HISTORY_STRATEGY
    return Model(
        name=node["name"],
        layer=node["fqn"][1],
        folder=node["fqn"][2] if len(node["fqn"]) > 3 else "",
        tags=tuple(node["tags"]),
        parents=tuple(
            models[parent]["name"] for parent in node["depends_on"]["nodes"] if parent in models
        ),
        description=node["description"].strip().split("\n\n")[0].replace("\n", " "),
        unique_key=unique_key,
        key=(*unique_key, "_airbyte_raw_id") if is_history else unique_key or tested,
        follows_log=config.get("meta", {}).get("order") == "log",
        is_history=is_history,
        freshness=config.get("meta", {}).get("freshness"),
    )


def _tested_keys(nodes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The columns that data tests find unique, by the id of their model."""
    found: dict[str, tuple[str, ...]] = {}
    for node in nodes.values():
        test = node.get("test_metadata") or {}
        if test.get("name") == "unique":
            found[node["attached_node"]] = (str(node["column_name"]),)
        elif test.get("name") == "unique_together":
            found.setdefault(node["attached_node"], tuple(test["kwargs"]["columns"]))
    return found


def _columns(unique_key: str | list[str] | None) -> tuple[str, ...]:
    return (unique_key,) if isinstance(unique_key, str) else tuple(unique_key or ())


def processed_models(models: Mapping[str, Model], stream_id: str) -> list[Model]:
    """The processed models of a stream: those tagged with it."""
    return [
        model for model in models.values() if model.layer == "processed" and stream_id in model.tags
    ]


def _signature(dbt_dir: Path) -> dict[str, list[int]]:
    """Size and time of change of every file that dbt parses.

    In whole seconds: the layers of an image keep no more.
    """
    files: dict[str, list[int]] = {}
    for name in _INPUTS:
        root = dbt_dir / name
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file():
                stat = path.stat()
                files[str(path.relative_to(dbt_dir))] = [stat.st_size, int(stat.st_mtime)]
    return files


def _is_fresh(manifest: Path, stamp: Path, signature: Mapping[str, list[int]]) -> bool:
    try:
        made = manifest.exists() and manifest.with_name(_LAST_GOOD).exists()
        return made and json.loads(stamp.read_text()) == signature
    except (OSError, ValueError):
        return False


def _writable(dbt_dir: Path, manifest: Path) -> bool:
    """A read-only deployment uses the manifest it was built with."""
    return not manifest.exists() or os.access(dbt_dir, os.W_OK)


def _raise_known_failure(dbt_dir: Path, signature: Mapping[str, list[int]]) -> None:
    """Raise what dbt said of these very files, unless that was long ago."""
    try:
        failure = json.loads((dbt_dir / "target" / _FAILURE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if failure["signature"] == signature and time.time() - failure["at"] < _FAILURE_SECONDS:
        raise DbtProjectError(dbt_dir, failure["output"])


def _replace_manifest(project_dir: Path, signature: Mapping[str, list[int]]) -> None:
    """Parse into a folder next to the manifest, and put its files in place if that succeeded."""
    dbt_dir = dbt_project_dir(project_dir)
    target = dbt_dir / "target"
    beside = target / _BESIDE
    failure = target / _FAILURE
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    if (known := target / "partial_parse.msgpack").exists():
        shutil.copy2(known, beside)
    try:
        _parse(project_dir, dbt_dir, beside)
    except DbtProjectError as error:
        text = {"signature": signature, "at": time.time(), "output": error.output}
        failure.write_text(json.dumps(text), encoding="utf-8")
        raise
    _write_groups(beside / "manifest.json")
    _keep_copy(dbt_dir, target / _LAST_GOOD)
    _move(beside, target)
    (target / _STAMP).write_text(json.dumps(signature))
    failure.unlink(missing_ok=True)


def _keep_copy(dbt_dir: Path, copy: Path) -> None:
    """Copy what dbt has parsed, for the time when it can be parsed no more."""
    new = copy.with_name(f"{_LAST_GOOD}_new")
    for folder in (new, copy.with_name(f"{_LAST_GOOD}_old")):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir()
    for name in (*_INPUTS, "dbt_packages"):
        source = dbt_dir / name
        if source.is_dir():
            shutil.copytree(source, new / name)
        elif source.exists():
            shutil.copy2(source, new / name)
    if copy.exists():
        copy.rename(copy.with_name(f"{_LAST_GOOD}_old"))
    new.rename(copy)


def _move(beside: Path, target: Path) -> None:
    """Put each file in the place of its old version: Dags may be reading them."""
    made = {path.relative_to(beside) for path in beside.rglob("*") if path.is_file()}
    for name in made:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (beside / name).replace(target / name)
    for path in (target / _GROUPS).rglob("*.json"):
        if path.relative_to(target) not in made:
            path.unlink()


def _write_groups(manifest: Path) -> None:
    """Write the manifest of each group next to the whole one."""
    document = json.loads(manifest.read_text(encoding="utf-8"))
    groups: dict[Path, dict[str, Any]] = {}
    for key, node in document["nodes"].items():
        if node["resource_type"] == "model" and len(node["fqn"]) > 2:
            layer, folder = node["fqn"][1], node["fqn"][2]
            names = node["tags"] if layer == "processed" else [folder]
            for name in filter(is_plain_name, names):
                groups.setdefault(Path(layer, f"{name}.json"), {})[key] = node
    for file, nodes in groups.items():
        path = manifest.parent / _GROUPS / file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"metadata": document["metadata"], "nodes": nodes})
        path.write_text(text, encoding="utf-8")


def _parse(project_dir: Path, dbt_dir: Path, target: Path) -> None:
    try:
        result = subprocess.run(
            [dbt_executable(), "--quiet", "--no-use-colors", "parse", "--project-dir", str(dbt_dir),
             "--profiles-dir", str(dbt_dir), "--target-path", str(target),
             "--log-path", str(target)],
            env={**os.environ, "LAKE_PROJECT_DIR": str(project_dir)},
            capture_output=True, text=True, timeout=_PARSE_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DbtProjectError(
            dbt_dir, f"dbt parse took more than {_PARSE_TIMEOUT_SECONDS} s"
        ) from error
    if result.returncode != 0:
        raise DbtProjectError(dbt_dir, f"{result.stdout}{result.stderr}".rstrip())
