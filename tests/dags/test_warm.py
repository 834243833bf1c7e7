"""Scheduler and Dag processor load what their forked processes need; a broken module stops none."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
from logging.handlers import QueueHandler
from pathlib import Path

import pytest

from lotus_lake.airflow.warm import DBT_MODULES

# A part of Airflow starts, and forks: what does the child have?
START_AND_FORK = """
import json, os, sys
from airflow.jobs.job import Job
if len(sys.argv) > 1:
    import airflow.jobs.scheduler_job_runner
Job()  # calls the listeners of the plugins, as scheduler, triggerer and Dag processor do
from lotus_lake.airflow.warm import DBT_MODULES, MODULES
threads = len(os.listdir("/proc/self/task"))
sockets = sum("socket:" in os.readlink(f"/proc/self/fd/{fd.name}")
              for fd in os.scandir("/proc/self/fd") if os.path.lexists(fd.path))
sys.stdout.flush()
if os.fork() == 0:
    loaded = [name for name in MODULES if name in sys.modules]
    import boto3, duckdb
    assert duckdb.sql("SELECT count(*) FROM range(1000000)").fetchone() == (1000000,)
    from lotus_lake.lake import extensions
    connect, checks = duckdb.connect, []
    duckdb.connect = lambda *a, **o: checks.append(o.get("config")) or connect(*a, **o)
    with extensions.connect() as con:
        extensions.load_extensions(con, "sqlite")
    print("found", json.dumps([threads, sockets, loaded, list(MODULES),
                               boto3.DEFAULT_SESSION is not None,
                               [name for name in DBT_MODULES if name in sys.modules],
                               checks.count(None)]))
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


def start_and_fork(*arguments: str, **variables: str) -> list[object]:
    done = subprocess.run(
        [sys.executable, "-c", START_AND_FORK, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    found: list[object] = json.loads(line.removeprefix("found "))
    return found


def test_a_forked_process_has_what_its_parent_loaded_and_no_thread_or_socket_of_it() -> None:
    threads, sockets, loaded, wanted, has_session, of_dbt, checks = start_and_fork()
    assert loaded == wanted
    assert (threads, sockets, has_session, of_dbt, checks) == (1, 0, True, [], 0)


def test_a_scheduler_has_dbt_as_well() -> None:
    threads, sockets, loaded, wanted, _, of_dbt, _ = start_and_fork("scheduler")
    assert (loaded, of_dbt) == (wanted, list(DBT_MODULES))
    assert (threads, sockets) == (1, 0)


def test_it_can_be_switched_off() -> None:
    switch = {"LAKE_WARM_PROCESSES": "false"}
    _, _, loaded, _, has_session, of_dbt, checks = start_and_fork("scheduler", **switch)
    assert "lotus_lake.airflow.streams" not in loaded  # type: ignore[operator]
    assert not has_session
    assert not of_dbt
    assert checks == 3


def test_a_module_that_cannot_be_imported_is_logged_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lotus_lake.airflow import warm

    # Where Airflow's logs go depends on what this process has run before.
    said: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(said)
    warm.log.addHandler(handler)

    (tmp_path / "broken_for_warm.py").write_text("raise SystemError('broken')\n")
    (tmp_path / "fine_for_warm.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    warm.load(["broken_for_warm", "no_such_module", "fine_for_warm"])
    warm.log.removeHandler(handler)
    texts = "\n".join(said.get_nowait().getMessage() for _ in range(said.qsize()))
    for name in ("broken_for_warm", "no_such_module"):
        assert f"{name} could not be loaded in advance; each task loads it" in texts
    assert "fine_for_warm" in sys.modules


def test_a_task_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been forked already, and imports what it needs itself."""
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    from lotus_lake.airflow import warm

    def unexpected(modules: object) -> None:
        pytest.fail("a task loads modules")

    monkeypatch.setattr(warm, "load", unexpected)
    warm.on_starting(TaskRunnerMarker())
