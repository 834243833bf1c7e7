"""`airflow standalone` with a lake and a bucket of its own, as in production but for its size."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lotus_lake.catalog import open_lake
from lotus_lake.settings import Settings
from lotus_lake.storage import s3_client
from samples import embedded_s3
from samples.demo import PROJECT, airflow, airflow_environment, table_rows, web_environment


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

    def tables(self, models: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Rows of some tables, empty where there is none yet."""
        try:
            with open_lake(self.settings, read_only=True) as lake:
                return {model: table_rows(lake, model) for model in models}
        except duckdb.CatalogException:
            return {}

    def waiting_streams(self) -> int:
        """How many sensors wait in the triggerer; none while the api-server is not up."""
        try:
            instances = self.get("/dags/~/dagRuns/~/taskInstances?state=deferred")
        except OSError:
            return 0
        return int(instances["total_entries"])

    def wait_until(
        self, true: Callable[[], bool], what: str, seconds: float = 300, pause: float = 1
    ) -> None:
        """Wait for something to come true.

        Raises:
            TimeoutError: It did not; the text has the end of Airflow's log.
        """
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not in {seconds} s\n{self.log.read_text()[-8000:]}")
            time.sleep(pause)


@contextlib.contextmanager
def lake_with_bucket(root: Path, streams: Sequence[str]) -> Iterator[dict[str, str]]:
    """Variables of an empty lake and bucket below a folder, for some of Shopify's streams."""
    folder = root / "streams" / "shopify"
    folder.mkdir(parents=True)
    for stream in streams:
        shutil.copy(PROJECT / "include" / "streams" / "shopify" / f"{stream}.json", folder)
    env = dict(os.environ) | embedded_s3.start(root / "s3", root / "s3.json")
    env |= airflow_environment(env, root / "airflow")
    env |= {
        "LAKE_CATALOG": f"sqlite:{root / 'catalog.sqlite'}",
        "LAKE_DATA_PATH": str(root / "data"),
        "LAKE_STREAMS_DIR": str(root / "streams"),
        "LAKE_TEMP_DIR": str(root / "tmp"),
    }
    settings = Settings.from_env(env)
    s3_client(settings.s3).create_bucket(Bucket=settings.bucket)
    try:
        yield env
    finally:
        embedded_s3.stop(root / "s3.json")


@contextlib.contextmanager
def run_standalone(root: Path, variables: Mapping[str, str]) -> Iterator[Deployment]:
    """Run scheduler, Dag processor, triggerer and api-server on such a lake."""
    port = _free_port()
    env = dict(variables) | web_environment(port)
    log = root / "airflow.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [airflow(), "standalone"],
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Deployment(f"http://127.0.0.1:{port}", Settings.from_env(env), log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
