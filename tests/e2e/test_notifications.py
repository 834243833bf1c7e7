"""Airflow as it runs in production, with a bucket that announces its objects; `pytest -s` prints.

The poll is as long as a day: what lands was told of, or seen when a trigger began.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from lotus_lake.bucket.objects import s3_client
from samples import generate, write_files
from tests.announcing import announce_objects, make_queue
from tests.servers import run_announcing_s3
from tests.standalone import (
    Deployment,
    lake_with_bucket,
    run_standalone,
    start_airflow,
    stop_airflow,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

DAY_SECONDS = "86400"
MODEL = "int_shopify__customers"


@pytest.fixture(scope="module")
def announced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Any]]:
    """`airflow standalone` on a bucket that tells a queue of its objects, and its variables."""
    root = tmp_path_factory.mktemp("announced")
    with lake_with_bucket(root, ["customers"]) as env, run_announcing_s3() as server:
        queue = make_queue(server, "lake-events")
        client = s3_client(server.access)
        client.create_bucket(Bucket="landing")
        announce_objects("landing", client, queue)
        env |= server.environment() | {
            "LAKE_EVENTS_QUEUE": queue.url,
            "LAKE_EVENTS_POLL_SECONDS": DAY_SECONDS,
            "LAKE_POKE_INTERVAL_SECONDS": DAY_SECONDS,
        }
        with run_standalone(root, env) as running:
            running.wait_until(lambda: running.waiting_streams() == 1, "the sensor waits")
            yield running, env


def test_files_land_as_they_are_put_and_once_although_the_triggerer_is_killed(
    announced: tuple[Deployment, dict[str, str]],
) -> None:
    airflow, env = announced
    history = generate()
    files = [file for file in history.files if file.stream == "customers"][:3]
    client = s3_client(airflow.settings.s3)

    def put_and_wait(number: int) -> None:
        began = time.monotonic()
        write_files([files[number]], airflow.settings.raw_uri, client)
        expected = history.expected(MODEL, [file.key for file in files[: number + 1]])
        airflow.wait_until(
            lambda: airflow.tables([MODEL]) == {MODEL: expected}, "the file is processed", pause=2
        )
        print(f"\nfrom the put of file {number} to its rows: {time.monotonic() - began:.0f} s")
        airflow.wait_until(lambda: airflow.waiting_streams() == 1, "the sensor waits again")

    put_and_wait(0)
    put_and_wait(1)
    triggerers = []
    for process in psutil.Process(airflow.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "triggerer" in " ".join(process.cmdline()):
                triggerers.append(process)
    assert triggerers
    for process in triggerers:
        process.kill()
    triggerer = start_airflow(
        ["triggerer", "--skip-serve-logs"], env, airflow.logs / "triggerer.log"
    )
    try:
        put_and_wait(2)
    finally:
        stop_airflow(triggerer)
    runs = airflow.get("/dags/shopify__customers/dagRuns")["dag_runs"]
    assert "failed" not in {run["state"] for run in runs}
    assert airflow.get("/importErrors")["total_entries"] == 0
