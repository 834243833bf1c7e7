"""Airflow with CeleryExecutor: each part a process group, kept running as compose keeps its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from lotus_lake.config.settings import Settings
from samples.demo_airflow import PROJECT, web_environment
from tests.processes import free_port
from tests.servers import PostgresServer, run_redis
from tests.standalone import Deployment, start_airflow, stop_airflow

WORKERS = ("worker-1", "worker-2")
CONCURRENCY = 2
HEARTBEAT_TIMEOUT_SECONDS = 30
_PARTS: Mapping[str, Sequence[str]] = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    **{
        name: ["celery", "worker", "--celery-hostname", name, "--skip-serve-logs"]
        for name in WORKERS
    },
}


@dataclass
class Cluster:
    """The parts of a running Airflow.

    Attributes:
        deployment: To ask its API, and the lake.
        database: How to reach Airflow's own database, in libpq's words.
        environment: Variables of all parts.
        parts: The running processes.
        kills: Of parts, by name.
        ends: Of parts that ended by themselves and were started again, by name.
        peak_bytes: Most memory that each worker took, with all its children.
    """

    deployment: Deployment
    database: str
    environment: Mapping[str, str]
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    peak_bytes: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        """Start a part."""
        log = self.deployment.logs / f"{name}.log"
        self.parts[name] = start_airflow(_PARTS[name], {**self.environment, "PART": name}, log)

    def kill(self, name: str) -> None:
        """Kill a part and all that it has started, as when its machine fails; start it again."""
        for process in _family(self.parts[name].pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.parts[name].wait()
        self.kills[name] += 1
        self.start(name)

    def tend(self) -> None:
        """Start again what has ended, and look at the workers' memory."""
        for name, process in self.parts.items():
            if process.poll() is not None:
                self.ends[name] += 1
                self.start(name)
        for name in WORKERS:
            used = sum(map(_proportional_bytes, _family(self.parts[name].pid)))
            self.peak_bytes[name] = max(self.peak_bytes[name], used)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask Airflow's database."""
        with (
            contextlib.closing(psycopg2.connect(self.database)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, values)
            return cursor.fetchall()


@contextlib.contextmanager
def run_cluster(
    root: Path, variables: Mapping[str, str], postgres: PostgresServer
) -> Iterator[Cluster]:
    """Run all parts on a lake, with Airflow's database on a server."""
    port, database = free_port(), postgres.create_database("airflow")
    address = f"postgresql+psycopg2://postgres@127.0.0.1:{postgres.port}/airflow"
    logs = root / "logs"
    logs.mkdir()
    with run_redis() as broker:
        env = {
            **variables,
            **web_environment(port),
            "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)]),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "tests.distributed.hostname.hostname",
            # No more than the workers have room for: what waits in Redis has a token that expires.
            "AIRFLOW__CORE__PARALLELISM": str(len(WORKERS) * CONCURRENCY),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{address}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(CONCURRENCY),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT_SECONDS),
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",
            # A task that a worker took and had not begun when it was killed is sent again.
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "15",
        }
        migration = start_airflow(["db", "migrate"], env, logs / "db-migrate.log")
        if migration.wait(300) != 0:
            raise RuntimeError((logs / "db-migrate.log").read_text()[-2000:])
        url = f"http://127.0.0.1:{port}"
        cluster = Cluster(Deployment(url, Settings.from_env(env), logs), database, env)
        try:
            for name in _PARTS:
                cluster.start(name)
            yield cluster
        finally:
            families = [one for part in cluster.parts.values() for one in _family(part.pid)]
            stop_airflow(*cluster.parts.values())
            for process in families:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that come from it: dbt has a process group of its own."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _proportional_bytes(process: psutil.Process) -> int:
    """Memory of a process; what it shares with others counts in part."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
