"""Ctrl-C ends a command, also one that waits for a server that has frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feeds import Feed
from tests.gate import Gate, run_gate
from tests.servers import PostgresServer

pytestmark = pytest.mark.postgres


@pytest.fixture
def gate(postgres: PostgresServer) -> Iterator[Gate]:
    """What the command reaches Postgres through."""
    with run_gate(postgres.port) as running:
        yield running


@pytest.fixture
def catalog(postgres: PostgresServer, gate: Gate, tmp_path: Path) -> str:
    """A Postgres catalog, behind the gate."""
    dsn = postgres.create_database(f"lake_{tmp_path.name}")
    return f"postgres:{dsn.replace(f'port={postgres.port}', f'port={gate.port}')}"


def test_a_second_ctrl_c_ends_a_command_that_waits_for_a_frozen_server(
    gate: Gate, feed: Feed, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "lotus_lake.cli"]
    variables = os.environ | environment
    feed.run_afresh()
    gate.closes_at = b"ducklake_snapshot"
    with subprocess.Popen(
        [*command, "status"], env=variables, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr
        try:
            assert gate.shut.wait(100)
            waiting.send_signal(signal.SIGINT)
            assert "press Ctrl-C again" in waiting.stderr.readline()
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(100) == 128 + signal.SIGINT
        finally:
            waiting.kill()
