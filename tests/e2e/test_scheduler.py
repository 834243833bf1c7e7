"""Airflow as it runs in production: scheduler, Dag processor, triggerer and api-server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from lotus_lake.catalog import open_lake
from lotus_lake.settings import Settings
from lotus_lake.storage import s3_client
from samples import embedded_s3, generate, write_files
from samples.demo import PROJECT, airflow, airflow_environment, table_rows, web_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

STREAMS = ("orders", "order_refunds", "customers")
MODELS = (*(f"int_shopify__{stream}" for stream in STREAMS), "fct_sales")


@dataclass(frozen=True)
class Deployment:
    """A running Airflow with a lake and a bucket of its own."""

    url: str
    settings: Settings
    log: Path

    def get(self, path: str) -> Any:
        """Read from Airflow's public API."""
        token = self._request("/auth/token", {})["access_token"]
        return self._request(f"/api/v2{path}", {"authorization": f"Bearer {token}"})

    def _request(self, path: str, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of all tables, empty where there is none yet."""
        try:
            with open_lake(self.settings, read_only=True) as lake:
                return {model: table_rows(lake, model) for model in MODELS}
        except duckdb.CatalogException:
            return {}

    def wait_until(self, true: Callable[[], bool], what: str, seconds: float = 300) -> None:
        """Wait for something to come true; when it does not, show the end of Airflow's log."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not in {seconds} s\n{self.log.read_text()[-8000:]}")
            time.sleep(1)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """`airflow standalone` on an empty bucket, with the three Shopify streams."""
    root = tmp_path_factory.mktemp("deployment")
    streams = root / "streams"
    for stream in STREAMS:
        target = streams / "shopify" / f"{stream}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / "include" / "streams" / "shopify" / target.name, target)
    port = _free_port()
    env = dict(os.environ) | embedded_s3.start(root / "s3", root / "s3.json")
    env |= airflow_environment(env, root / "airflow") | web_environment(port)
    env |= {
        "LAKE_CATALOG": f"sqlite:{root / 'catalog.sqlite'}",
        "LAKE_DATA_PATH": str(root / "data"),
        "LAKE_STREAMS_DIR": str(streams),
        "LAKE_TEMP_DIR": str(root / "tmp"),
    }
    settings = Settings.from_env(env)
    s3_client(settings.s3).create_bucket(Bucket=settings.bucket)
    log = root / "airflow.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [airflow(), "standalone"],
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Deployment(f"http://127.0.0.1:{port}", settings, log)
    try:
        running.wait_until(lambda: _waiting_streams(running) == len(STREAMS), "sensors wait")
        yield running
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        embedded_s3.stop(root / "s3.json")


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
            lambda expected=expected: deployment.tables() == expected, "tables equal the records"
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


def _waiting_streams(deployment: Deployment) -> int:
    try:
        instances = deployment.get("/dags/~/dagRuns/~/taskInstances?state=deferred")
    except OSError:  # the api-server is not up yet
        return 0
    return int(instances["total_entries"])


def _extras(deployment: Deployment, asset: str) -> list[dict[str, Any]]:
    """What each update of an asset said."""
    events = deployment.get("/assets/events?limit=100")["asset_events"]
    assert {event["name"] for event in events} <= set(MODELS)
    return [event["extra"] for event in events if event["name"] == asset]


def _runs(deployment: Deployment, dag_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = deployment.get(f"/dags/{dag_id}/dagRuns")["dag_runs"]
    return runs


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
