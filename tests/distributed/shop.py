"""Streams of one template, each with the model that the scaffold makes of it, and what arrives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lotus_lake.config.settings import Settings
from lotus_lake.project.manifest import dbt_project_dir, ensure_manifest
from lotus_lake.scaffold.stream_files import plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from tests.chaos.workload import Row, Subject
from tests.feeds import Shape
from tests.pipeline.driver import DBT_DIR, PROJECT

SOURCE, TOTALS = "shop", "fct_totals"
_TIME = pa.timestamp("ms", tz="UTC")
_SHAPE: Shape = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": _TIME,
    "id": pa.int64(),
    "amount": pa.float64(),
    "updated_at": _TIME,
}
_STREAM: dict[str, Any] = {
    "primary_key": [["id"]],
    "cursor_field": ["updated_at"],
    "fields": {
        "id": {"type": "integer"},
        "amount": {"type": "number"},
        "updated_at": {"type": "string", "format": "date-time"},
    },
    # Files of the first days are retired before the last ones arrive.
    "feeder": {"retention_days": 2},
}
_TOTALS_SQL = """\
select count(*) as records, sum(amount)::bigint as total from {{{{ ref('{model}') }}}}
"""
_TOTALS_YAML = """\
version: 2

models:
  - name: {name}
    columns:
      - {{name: records, data_type: bigint}}
      - {{name: total, data_type: bigint, data_tests: [not_null]}}
"""


def subjects(count: int) -> list[Subject]:
    """The streams."""
    return [
        Subject(
            SOURCE, f"orders_{number}", _SHAPE, _fields,
            landed_amount="amount", key=f"orders_{number}_id", amount="amount",
        )
        for number in range(count)
    ]  # fmt: skip


def write_project(folder: Path, some: Sequence[Subject]) -> Path:
    """A checkout with these streams, their models, and one that reads the first of them."""
    own = shutil.ignore_patterns("models", "tests", "target", "logs")
    dbt_dir = Path(shutil.copytree(DBT_DIR, dbt_project_dir(folder), ignore=own))
    processed, enriched = dbt_dir / "models" / "processed", dbt_dir / "models" / "enriched" / "sums"
    for path in (processed, enriched):
        path.mkdir(parents=True)
    shutil.copy(DBT_DIR / "models" / "processed" / "processed.md", processed)
    (folder / "plugins").symlink_to(PROJECT / "plugins")
    streams = folder / "include" / "streams"
    settings = Settings.from_env(
        {"LAKE_PROJECT_DIR": str(folder), "LAKE_STREAMS_DIR": str(streams)}
    )
    for subject in some:
        file = streams / subject.source / f"{subject.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_STREAM | {"stream": subject.name}))
        write_files(plan_files(settings, subject.source, subject.name, Choices()))
    (enriched / f"{TOTALS}.sql").write_text(_TOTALS_SQL.format(model=some[0].models[0]))
    (enriched / f"{TOTALS}.yml").write_text(_TOTALS_YAML.format(name=TOTALS))
    ensure_manifest(folder)
    return folder


def _fields(row: Row) -> dict[str, Any]:
    return {"id": row.key, "amount": float(row.amount), "updated_at": row.extracted_at}
