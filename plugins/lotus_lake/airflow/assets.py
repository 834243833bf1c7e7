"""Assets: one per dbt model, named after its table."""

from __future__ import annotations

from airflow.sdk import Asset

from lotus_lake.lake.session import LAKE
from lotus_lake.project.manifest import Model


def model_asset(model: Model) -> Asset:
    """The asset that a model's table is; its group is the layer."""
    return Asset(name=model.name, uri=f"ducklake://{LAKE}/main/{model.name}", group=model.layer)
