"""Airflow on this checkout, for the demo: variables, database, and `airflow dags test`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from lotus_lake.config.connections import EMBEDDED_S3_FILE
from lotus_lake.config.project_dir import LAKE_DIR, find_project_dir
from lotus_lake.project.manifest import ensure_manifest
from lotus_lake.quantities import counted
from samples import embedded_s3

# A pipe has no width of its own; the tables need some.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
PROJECT = find_project_dir(os.environ)
LAKE = PROJECT / LAKE_DIR
ACCESS_FILE = LAKE / EMBEDDED_S3_FILE
# Two at a time: one `airflow dags test` keeps one core busy.
PARALLEL_DAGS = 2


@dataclass(frozen=True, slots=True)
class DagResult:
    """How a Dag's test run ended."""

    dag_id: str
    succeeded: bool
    seconds: float
    log: Path


def environment() -> dict[str, str]:
    """Variables for the demo's processes; starts the embedded S3 server when it is needed."""
    env = dict(os.environ)
    if not {"AWS_ENDPOINT_URL", "AIRFLOW_CONN_AWS_DEFAULT"} & env.keys():
        env |= embedded_s3.start(LAKE / "s3", ACCESS_FILE)
    return env | airflow_environment(env, LAKE / "airflow")


def web_environment(port: int) -> dict[str, str]:
    """Variables that put Airflow's api-server on a port of the loopback."""
    url = f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
    }


def airflow_environment(env: Mapping[str, str], airflow_home: Path) -> dict[str, str]:
    """Variables that make Airflow run this checkout, offline, with its files in a folder."""
    return {
        # `airflow standalone` starts its parts by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),
        "LAKE_PROJECT_DIR": str(PROJECT),
        "LAKE_POKE_INTERVAL_SECONDS": env.get("LAKE_POKE_INTERVAL_SECONDS", "5"),
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # Each task is a process of its own: more of them than cores only wait for each other.
        "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "10",
        # 5 s by default, which an api-server that has just started may need for its first answers.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        # After an edit of a model, parsing the Dag files includes `dbt parse`.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
        # What an idle Airflow does most: parse Dag files, 30 s after the last time by default, and
        # count what nobody reads. A new stream appears within two minutes.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
        "AIRFLOW__SCHEDULER__POOL_METRICS_INTERVAL": "60",
        "AIRFLOW__SCHEDULER__TI_METRICS_INTERVAL": "60",
        "AIRFLOW__SCHEDULER__DAGRUN_METRICS_INTERVAL": "60",
        "AIRFLOW__API__HOST": "127.0.0.1",
    }


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show what is going on, and how long it took."""
    started = time.monotonic()
    console.print(f"  {name} ...", end="")
    yield
    console.print(f" {time.monotonic() - started:.0f} s")


def expect_free(port: int) -> None:
    """Fail now, and not when the scheduler runs already beside that of an earlier `demo-ui`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SystemExit(
                f"port {port} of 127.0.0.1: {error.strerror}\n"
                "hint: end the `make demo-ui` that is running; for another program, "
                "make demo-ui PORT=8090"
            ) from None


def prepare(env: dict[str, str]) -> None:
    """Migrate Airflow's database and parse the dbt project, both only when needed."""
    (LAKE / "logs").mkdir(parents=True, exist_ok=True)
    with step("parsing the dbt project"):
        ensure_manifest(PROJECT)
    with step("migrating Airflow's database"):
        call([airflow(), "db", "migrate"], env, LAKE / "logs" / "db_migrate.log")
    # Two processes that both find a new Dag would both insert it.
    with step("serializing the Dags"):
        call([airflow(), "dags", "reserialize"], env, LAKE / "logs" / "reserialize.log")


def run_all(dag_ids: Sequence[str], env: dict[str, str]) -> None:
    """Run Dags, two at a time, and report each as it ends; stop the demo when one fails."""
    failed = []
    console.print(f"\nrunning {counted(len(dag_ids), 'Dag')}, {PARALLEL_DAGS} at a time:")
    with ThreadPoolExecutor(PARALLEL_DAGS) as pool:
        runs = [pool.submit(test_dag, dag_id, env) for dag_id in dag_ids]
        for run_ended in as_completed(runs):
            result = run_ended.result()
            mark = "[green]ok[/]" if result.succeeded else "[red]failed[/]"
            console.print(f"  {result.dag_id:<28} {mark} {result.seconds:4.0f} s")
            failed += [] if result.succeeded else [result]
    for result in failed:
        console.print(f"{result.dag_id} failed; the end of {result.log}:", style="red")
        console.print("\n".join(result.log.read_text().splitlines()[-40:]), markup=False)
    if failed:
        raise typer.Exit(1)


def test_dag(dag_id: str, env: dict[str, str]) -> DagResult:
    """Run one Dag as a person or a CI job would: `airflow dags test`."""
    log, started = LAKE / "logs" / f"{dag_id}.log", time.monotonic()
    console.print(f"  {dag_id:<28} [dim]starts[/]")
    code = call([airflow(), "dags", "test", dag_id], env, log, check=False)
    return DagResult(dag_id, code == 0, time.monotonic() - started, log)


def call(command: Sequence[str], env: dict[str, str], log: Path, *, check: bool = True) -> int:
    """Run a command into a log file.

    Raises:
        typer.Exit: It failed, and `check` is set.
    """
    with log.open("w") as output:
        code = subprocess.run(
            command, env=env, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if check and code:
        console.print(f"{' '.join(command)} failed, see {log}", style="red")
        raise typer.Exit(1)
    return code


def airflow() -> str:
    """The airflow next to this Python."""
    return str(Path(sys.executable).with_name("airflow"))
