"""Assets: one per dbt model, named after its table, updated when a run has built it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset

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
