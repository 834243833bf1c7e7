"""What dbt costs inside Airflow: a model's task, beside plain `dbt build` and an empty task.

The stream is this repository's `shopify/orders`, with sample files, and the Dags run by `airflow
dags test`. *Task* is the time between start and end in Airflow's database. The task builds and
tests one model in one dbt process; the original starts dbt in the same way. An idle run must start
none.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from benchmarks.dbtrun import DBT_DIR
from benchmarks.results import Report, median
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.project.manifest import dbt_executable, ensure_manifest
from samples import SampleFile, generate, write_files
from samples.demo_airflow import PROJECT, airflow
from tests.standalone import lake_with_bucket

TITLE = "dbt inside Airflow"
_STREAM, _MODEL = "shopify__orders", "int_shopify__orders"
_BUILD = f"processed.{_MODEL}_model_build"
_AT_MOST = 1.3
_BARE_DAG = """\
from airflow.sdk import dag, task


@dag(dag_id="bare", schedule=None)
def bare():
    @task.bash
    def nothing():
        return "true"

    @task.bash
    def warm_up():
        return "true"

    warm_up() >> nothing()


bare()
"""


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    files = [file for file in generate().files if file.stream == "orders"]
    repeats = 1 if quick else 2
    waves = [files[number :: 2 * repeats] for number in range(2 * repeats)]
    with lake_with_bucket(folder, ["orders"]) as variables:
        bare_dags = folder / "bare"
        bare_dags.mkdir()
        (bare_dags / "bare.py").write_text(_BARE_DAG)
        _prepare(report, variables)
        # Run and test in turn with and without Airflow, always with new rows.
        tasks, plain, bare, started = [], [], [], []
        for number in range(repeats):
            _arrive(variables, waves[2 * number])
            output = _test_dag(report, variables, _STREAM)
            started.append(_dbt_processes(output))
            tasks.append(_task_seconds(variables, _STREAM, _BUILD))
            _arrive(variables, waves[2 * number + 1])
            _call([str(Path(airflow()).with_name("lotus-lake")), "feed", "shopify", "orders"],
                  variables)  # fmt: skip
            plain.append(_plain_build(folder, variables))
            _call([airflow(), "dags", "test", "bare"],
                  variables | {"AIRFLOW__CORE__DAGS_FOLDER": str(bare_dags)})  # fmt: skip
            bare.append(_task_seconds(variables, "bare", "nothing"))
        idle = _dbt_processes(_test_dag(report, variables, _STREAM))
    for what, seconds in (
        ("task of the model", tasks),
        ("plain dbt build", plain),
        ("task that does nothing", bare),
    ):
        report.row("Seconds", what=what, median=median(seconds), lowest=min(seconds),
                   highest=max(seconds), runs=len(seconds))  # fmt: skip
    ratio = median(tasks) / (median(plain) + median(bare))
    report.target(
        f"at most {_AT_MOST} times plain dbt build and a bare task", f"{ratio:.2f}x",
        ratio <= _AT_MOST,
    )  # fmt: skip
    report.target("one dbt process a run", f"{max(started)}", max(started) == min(started) == 1)
    report.target("an idle run starts none", f"{idle}", idle == 0)


def _prepare(report: Report, variables: Mapping[str, str]) -> None:
    report.step("Airflow's database, dbt's manifest")
    ensure_manifest(PROJECT)
    _call([airflow(), "db", "migrate"], variables)
    _call([airflow(), "dags", "reserialize"], variables)


def _arrive(variables: Mapping[str, str], files: Sequence[SampleFile]) -> None:
    settings = Settings.from_env(variables)
    assert write_files(files, settings.raw_uri, s3_client(settings.s3)) == len(files) > 0


def _test_dag(report: Report, variables: Mapping[str, str], dag_id: str) -> str:
    started = time.monotonic()
    output = _call([airflow(), "dags", "test", dag_id], variables)
    report.step(f"airflow dags test {dag_id}: {time.monotonic() - started:.0f} s")
    return output


def _plain_build(folder: Path, variables: Mapping[str, str]) -> float:
    """Seconds of `dbt build` of the same selection, with what dbt has parsed before."""
    target = folder / "target"
    if not target.exists():
        shutil.copytree(DBT_DIR / "target", target)
    started = time.monotonic()
    _call(
        [dbt_executable(), "build", "--select", _MODEL, "--exclude-resource-type", "unit_test",
         "--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR),
         "--target-path", str(target), "--log-path", str(folder / "logs")],
        variables,
    )  # fmt: skip
    return time.monotonic() - started


def _dbt_processes(output: str) -> int:
    """How many processes of dbt have said that they run."""
    return output.count("Running with dbt=")


def _task_seconds(variables: Mapping[str, str], dag_id: str, task_id: str) -> float:
    """Seconds of the latest instance of a task."""
    file = Path(variables["AIRFLOW_HOME"]) / "airflow.db"
    with closing(sqlite3.connect(file)) as database:
        [(start, end, state)] = database.execute(
            "SELECT start_date, end_date, state FROM task_instance WHERE dag_id = ? "
            "AND task_id = ? ORDER BY start_date DESC LIMIT 1",
            [dag_id, task_id],
        ).fetchall()
    assert state == "success", (dag_id, task_id, state)
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _call(command: Sequence[str], variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{output[-3000:]}")
    return output
