"""Processes that a test starts, waits for and kills.

They are forked from a server that has imported dbt and the library once: a dbt process is then 3 s
faster, and otherwise like any other.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["dbt.cli.main", "dbt.adapters.duckdb", "lotus_lake.dbt_plugin", "tests.pipeline.driver"]
)
_ENOUGH_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Child:
    """A process and the file with what it says."""

    process: ForkServerProcess
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait(self) -> int:
        """Wait for the end; returns the exit code, negative after a signal."""
        self.process.join(_ENOUGH_SECONDS)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"the process did not end:\n{self.output}")
        return self.process.exitcode

    def wait_for(self, text: str) -> None:
        """Wait until the process has said something."""
        while text not in self.output:
            assert self.process.exitcode is None, self.output
            time.sleep(0.01)

    def kill(self) -> int:
        """Kill the process with SIGKILL; returns its exit code, -9 if it was still alive."""
        self.process.kill()
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


def start(
    function: Callable[..., None], *arguments: Any, environment: Mapping[str, str], log: Path
) -> Child:
    """Run a function of a module in a process of its own."""
    process = _CONTEXT.Process(target=_run, args=(function, arguments, dict(environment), log))
    process.start()
    return Child(process, log)


def run_dbt(*arguments: str) -> None:
    """The program `dbt`."""
    from dbt.cli.main import cli

    sys.argv = ["dbt", *arguments]
    cli(arguments)


def _run(
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    environment: Mapping[str, str],
    log: Path,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    function(*arguments)
