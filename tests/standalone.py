"""`airflow standalone` with a lake and a bucket of its own, as in production but for its size."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import jwt
import psutil

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from samples import embedded_s3
from samples.demo_airflow import PROJECT, airflow, airflow_environment, web_environment
from samples.demo_tables import table_rows
from tests.processes import free_port

JWT_SECRET = "for-the-tests-of-this-checkout-only-" * 2


@dataclass(frozen=True)
class Deployment:
    """A running Airflow with a lake and a bucket of its own."""

    url: str
    settings: Settings
    logs: Path
    pid: int | None = None

    def cpu_seconds(self) -> float:
        """CPU time of all processes that there are, and of those that they have waited for."""
        first = psutil.Process(self.pid)
        seconds = 0.0
        for process in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                seconds += sum(process.cpu_times()[:4])  # own and children's, user and system
        return seconds

    def get(self, path: str) -> Any:
        """Read from Airflow's public API.

        It cannot show asset events while a run that they have triggered has not begun, and answers
        with 500; so that is asked again for a minute.
        """
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._request(f"/api/v2{path}", {"authorization": f"Bearer {token_of()}"})
            except urllib.error.HTTPError as error:
                if error.code != 500 or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def log_of(self, dag_id: str, run: str, task: str) -> str:
        """The log of a task."""
        path = f"/dags/{dag_id}/dagRuns/{run}/taskInstances/{task}/logs/1?full_content=true"
        return json.dumps(self.get(path)["content"])

    def trigger(self, dag_id: str) -> str:
        """Trigger a Dag as a person does; returns the id of the run."""
        headers = {"authorization": f"Bearer {token_of()}", "content-type": "application/json"}
        run = self._request(f"/api/v2/dags/{dag_id}/dagRuns", headers, b'{"logical_date": null}')
        return str(run["dag_run_id"])

    def _request(self, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        request = urllib.request.Request(self.url + path, body, headers)
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
        self, true: Callable[[], bool], what: str, seconds: float = 600, pause: float = 1
    ) -> None:
        """Wait for something to come true.

        Raises:
            TimeoutError: It did not; the text has the ends of Airflow's logs.
        """
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                ends = [f"{log}:\n{_end(log)}" for log in sorted(self.logs.glob("*.log"))]
                raise TimeoutError("\n".join([f"{what}: not in {seconds} s", *ends]))
            time.sleep(pause)


def token_of(role: str = "ADMIN") -> str:
    """The token of a user of Airflow's simple auth manager, for an hour."""
    now = int(time.time())
    claims = {
        "sub": role.lower(), "role": role, "aud": "apache-airflow", "iat": now, "nbf": now,
        "exp": now + 3600,
    }  # fmt: skip
    return jwt.encode(claims, JWT_SECRET, algorithm="HS512")


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
        # Users of every role: the tests make their tokens.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,user:user,viewer:viewer",
        "AIRFLOW__API_AUTH__JWT_SECRET": JWT_SECRET,
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
    port = free_port()
    env = dict(variables) | web_environment(port)
    logs = root / "logs"
    logs.mkdir()
    process = start_airflow(["standalone"], env, logs / "standalone.log")
    try:
        yield Deployment(f"http://127.0.0.1:{port}", Settings.from_env(env), logs, process.pid)
    finally:
        stop_airflow(process)


def start_airflow(
    arguments: Sequence[str], env: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a part of Airflow as a process group of its own."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [airflow(), *arguments],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop_airflow(*processes: subprocess.Popen[bytes]) -> None:
    """End parts of Airflow, all at once."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-8000:]
