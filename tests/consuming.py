"""What reads the landing tables and what makes them older, without dbt and without patience."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.events import landed_snapshot
from tests.feeds import Feed


def consume(feed: Feed, lake: Lake, *models: str) -> None:
    """What dbt does for a model: note that it has read everything that has landed."""
    landed = landed_snapshot(lake, feed.stream)
    for model in models:
        lake.con.execute(
            f"CREATE OR REPLACE TABLE {META}.watermark_{model} AS "
            f"SELECT 0 AS snapshot_id_from, {landed} AS snapshot_id_to, now() AS updated_at"
        )


def expire_and_clean(lake: Lake) -> None:
    """What upkeep does, without its patience."""
    lake.con.execute(
        f"CALL ducklake_expire_snapshots('{LAKE}', older_than => now() + INTERVAL 2 DAY)"
    )
    lake.con.execute(f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)")


def age(lake: Lake, by: timedelta) -> None:
    """Make everything in the catalog older."""
    metadata = f"__ducklake_metadata_{LAKE}"
    for table, column in (
        ("ducklake_snapshot", "snapshot_time"),
        ("ducklake_files_scheduled_for_deletion", "schedule_start"),
    ):
        lake.con.execute(
            f"UPDATE {metadata}.{table} SET {column} = "
            f"{column}::TIMESTAMPTZ - INTERVAL {int(by.total_seconds())} SECOND"
        )


def write_manifest(
    settings: Settings,
    *models: tuple[str, str],
    enriched: Mapping[str, Sequence[str]] = {},
    unique_key: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """A manifest with processed models, each with the tag of its stream, and enriched ones.

    Args:
        settings: Where the project is.
        models: Names of the processed models, with their tags.
        enriched: Names of the enriched models, with those of the models they read.
        unique_key: Of the processed models.
        meta: `config.meta` of the enriched models.
    """
    folder = settings.project_dir / "include" / "dbt" / "target"
    folder.mkdir(parents=True, exist_ok=True)
    nodes = {
        f"model.{name}": {
            "resource_type": "model",
            "name": name,
            "fqn": ["lotus_lake", "processed", "shop", name],
            "tags": [tag],
            "depends_on": {"nodes": []},
            "description": "",
            "config": {"unique_key": unique_key},
        }
        for name, tag in models
    } | {
        f"model.{name}": {
            "resource_type": "model",
            "name": name,
            "fqn": ["lotus_lake", "enriched", "sales", name],
            "tags": [],
            "depends_on": {"nodes": [f"model.{parent}" for parent in parents]},
            "description": "",
            "config": {"meta": dict(meta or {})},
        }
        for name, parents in enriched.items()
    }
    (folder / "manifest.json").write_text(json.dumps({"nodes": nodes}))
    (folder / "last_good").mkdir(exist_ok=True)
    (folder / "lotus_lake_inputs.json").write_text("{}")  # current as long as there is no project
