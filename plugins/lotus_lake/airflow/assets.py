"""Assets: one per dbt model, named after its table, updated when a run has built it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.execution_time.context import InletEventsAccessor

from lotus_lake.lake.session import LAKE
from lotus_lake.project.manifest import Model

PUBLISH_DOC = "Updates the assets of the models, which triggers the Dags scheduled on them."

log = logging.getLogger(__name__)


def model_asset(model: Model) -> Asset:
    """The asset that a model's table is; its group is the layer."""
    return Asset(name=model.name, uri=f"ducklake://{LAKE}/main/{model.name}", group=model.layer)


def update_assets(assets: Sequence[Asset], outlet_events: Any, extra: Mapping[str, Any]) -> None:
    """Let the task that runs update assets.

    Args:
        assets: Outlets of the task.
        outlet_events: Of the task's context.
        extra: What the update says; clear text in Airflow's database, so no secrets.
    """
    for asset in assets:
        outlet_events[asset].extra = extra
    log.info(
        "updated %s: %s",
        ", ".join(asset.name for asset in assets),
        ", ".join(f"{name} {value}" for name, value in extra.items()),
    )


def is_published(models: Sequence[str], snapshot_id: int) -> bool:
    """Whether the last update of each model's asset says that it is at a snapshot.

    Airflow's own events are the record of what was published: an update and a mark of it in the
    lake could not be committed together.

    Args:
        models: Names of processed models; the task that runs need not have them as inlets, which
            would show the Dag as a reader of its own assets.
        snapshot_id: Up to which all of them have read; -1 if one never ran.
    """
    if snapshot_id < 0:
        return True
    newest = [InletEventsAccessor(asset_name=name).ascending(False).limit(1) for name in models]
    return all(
        events and (events[0].extra or {}).get("snapshot_id") == snapshot_id for events in newest
    )
