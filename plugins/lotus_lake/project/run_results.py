"""Which models and tests of a dbt process failed, from the file in which dbt keeps its results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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
