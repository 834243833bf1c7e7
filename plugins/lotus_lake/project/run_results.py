"""What became of models and tests in a dbt process, from the file that dbt writes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FAILED = ("error", "fail", "runtime error")
_SQL_CHARS = 30_000


@dataclass(frozen=True, slots=True)
class FailedNode:
    """A model or test that failed.

    Attributes:
        name: Its name.
        message: What dbt says of it.
        sql: What dbt made of it, if it came that far; at most 30,000 characters.
    """

    name: str
    message: str
    sql: str


@dataclass(frozen=True, slots=True)
class DataTest:
    """A data test that was run, and what it has found.

    Attributes:
        name: Its name.
        kind: What it tests, such as `unique`; its name if it is a query of its own.
        column: The column that it is about, if it is about one.
        severity: `error` or `warn`.
        failures: Rows that fail it; `None` if only that there are some is known.
        tables: The models that it is about.
    """

    name: str
    kind: str
    column: str | None
    severity: str
    failures: int | None
    tables: tuple[str, ...]


def built_nodes(results: Mapping[str, Any]) -> set[str]:
    """Ids of the nodes that dbt has built.

    Args:
        results: What is in dbt's `run_results.json`.
    """
    return {r["unique_id"] for r in results["results"] if r["status"] == "success"}


def data_tests(results: Mapping[str, Any], document: Mapping[str, Any]) -> list[DataTest]:
    """What the data tests have found; those that could not be run are left out.

    Args:
        results: What is in dbt's `run_results.json`.
        document: dbt's manifest.
    """
    found: list[DataTest] = []
    for result in results["results"]:
        node_id, status = result["unique_id"], result["status"]
        if node_id.startswith("test.") and status in ("pass", "warn", "fail"):
            failures = 0 if status == "pass" else result["failures"]
            found.append(_outcome(document, node_id, failures))
        elif status == "error":
            # The macro `audit` names each test that has kept a model from being published.
            lines = (result["message"] or "").splitlines()
            refused = {line.strip().partition(":")[0] for line in lines}
            found += [
                _outcome(document, test, None)
                for test in document["child_map"].get(node_id, ())
                if test.startswith("test.") and document["nodes"][test]["name"] in refused
            ]
    return found


def _outcome(document: Mapping[str, Any], test: str, failures: int | None) -> DataTest:
    nodes = document["nodes"]
    node = nodes[test]
    about = [node["attached_node"]] if node.get("attached_node") else node["depends_on"]["nodes"]
    return DataTest(
        name=node["name"],
        kind=(node.get("test_metadata") or node)["name"],
        column=node.get("column_name"),
        severity=node["config"]["severity"].lower(),
        failures=failures,
        tables=tuple(nodes[one]["name"] for one in about if one in nodes),
    )


def failed_nodes(target: Path) -> list[FailedNode] | None:
    """What failed in the last run of dbt; `None` if it never came to run anything.

    Args:
        target: dbt's target folder.
    """
    file = target / "run_results.json"
    if not file.exists():
        return None
    return [
        FailedNode(
            name=result["unique_id"].split(".")[2],
            message=(result["message"] or "").strip(),
            sql=(result.get("compiled_code") or "").strip()[:_SQL_CHARS],
        )
        for result in json.loads(file.read_text(encoding="utf-8"))["results"]
        if result["status"] in _FAILED
    ]
