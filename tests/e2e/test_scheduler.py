"""Airflow as it runs in production: scheduler, Dag processor, triggerer and api-server."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from lotus_lake.bucket.objects import s3_client
from samples import generate, write_files
from tests.e2e.conftest import STREAMS
from tests.standalone import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

MODELS = (*(f"int_shopify__{stream}" for stream in STREAMS), "fct_sales")


def test_files_reach_fct_sales_through_asset_events_with_no_manual_step(
    deployment: Deployment,
) -> None:
    history = generate()
    files = [file for file in history.files if file.source == "shopify"]
    Random(3).shuffle(files)
    client = s3_client(deployment.settings.s3)
    half = len(files) // 2
    for wave, landed in ((files[:half], files[:half]), (files[half:], files)):
        write_files(wave, deployment.settings.raw_uri, client)
        keys = [file.key for file in landed]
        expected = {model: history.expected(model, keys) for model in MODELS}
        deployment.wait_until(
            lambda expected=expected: deployment.tables(MODELS) == expected,
            "tables equal the records",
            pause=5,  # a look opens the lake, and Airflow needs the processors itself
        )
    # The sales may be right before the last stream says so: another one has triggered them.
    seen = {stream: [file for file in files if file.stream == stream] for stream in STREAMS}
    deployment.wait_until(
        lambda: all(
            sum(extra["files"] for extra in _extras(deployment, f"int_shopify__{stream}"))
            >= len(some)
            for stream, some in seen.items()
        ),
        "every stream has updated its asset",
    )
    deployment.wait_until(
        lambda: {run["state"] for run in _runs(deployment, "enriched__sales")} == {"success"},
        "enriched runs end",
    )
    assert {run["run_type"] for run in _runs(deployment, "enriched__sales")} == {"asset_triggered"}
    assert len(_extras(deployment, "fct_sales")) > 0
    for stream, some in seen.items():
        extras = _extras(deployment, f"int_shopify__{stream}")
        assert sum(extra["files"] for extra in extras) == len(some)
        assert sum(extra["rows"] for extra in extras) == sum(file.row_count for file in some)
        assert all(extra["stream"] == f"shopify__{stream}" for extra in extras)
        assert all(extra["snapshot_id"] > 0 for extra in extras)
    assert deployment.get("/importErrors")["total_entries"] == 0


def test_a_person_who_triggers_a_stream_gets_an_answer_although_a_run_waits_for_files(
    deployment: Deployment,
) -> None:
    deployment.wait_until(lambda: deployment.waiting_streams() == len(STREAMS), "sensors wait")
    run = deployment.trigger("shopify__customers")
    deployment.wait_until(
        lambda: any(
            found["dag_run_id"] == run and found["state"] == "success"
            for found in _runs(deployment, "shopify__customers")
        ),
        "the run ends",
        seconds=120,
    )


def _extras(deployment: Deployment, asset: str) -> list[dict[str, Any]]:
    """What each update of an asset said."""
    events = deployment.get("/assets/events?limit=100")["asset_events"]
    assert {event["name"] for event in events} <= set(MODELS)
    return [event["extra"] for event in events if event["name"] == asset]


def _runs(deployment: Deployment, dag_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = deployment.get(f"/dags/{dag_id}/dagRuns")["dag_runs"]
    return runs
