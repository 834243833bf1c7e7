"""A task that waits for what does not answer ends at its time limit, and nothing is half done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_lake.config.settings import Settings
from tests.dags.test_runs import DAG_ID, FILES, Deployment, deployment
from tests.gate import Gate, run_gate
from tests.servers import PostgresServer

__all__ = ["deployment"]
pytestmark = pytest.mark.usefixtures("airflow_database")


@pytest.fixture
def gate(postgres: PostgresServer) -> Iterator[Gate]:
    """What Airflow reaches Postgres through."""
    with run_gate(postgres.port) as running:
        yield running


@pytest.fixture
def catalog(postgres: PostgresServer, gate: Gate, tmp_path: Path) -> str:
    """A Postgres catalog, behind the gate."""
    dsn = postgres.create_database(f"lake_{tmp_path.name}")
    return f"postgres:{dsn.replace(f'port={postgres.port}', f'port={gate.port}')}"


def test_a_task_ends_when_the_catalog_freezes_and_the_next_run_goes_on(
    deployment: Callable[..., Deployment],
    gate: Gate,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployed = deployment()
    deployed.drop(FILES[0])
    monkeypatch.setenv("LAKE_TASK_TIMEOUT_SECONDS", "25")
    gate.closes_at = b"file_events"
    command = [str(Path(sys.executable).with_name("airflow")), "dags", "test", DAG_ID]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, env=os.environ
    )
    assert gate.shut.is_set()
    assert ended.returncode != 0
    assert "Timeout (0:00:27" in ended.stderr
    gate.closes_at = None
    gate.shut.clear()
    monkeypatch.delenv("LAKE_TASK_TIMEOUT_SECONDS")
    assert deployed.run().state == "success"
    assert deployed.landed() == FILES[0].row_count
