"""Child processes that write down what they say, so that a test can wait for it and kill them.

A dbt that is forked from a server which has imported dbt and parsed the project starts 4 s faster
than `dbt` itself, and is otherwise like any other.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests import children

children.context.set_forkserver_preload(["tests.children", "tests.pipeline.warm"])


@dataclass(frozen=True, slots=True)
class LoggedChild:
    """A process and the file with what it says."""

    process: BaseProcess
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        return children.finish(self.process)[0]

    def kill_after(self, text: str, seconds: float) -> int:
        """Kill with SIGKILL, some time after it has said something; returns the exit code."""
        while text not in self.output:
            assert self.process.is_alive() or text in self.output, self.output
            time.sleep(0.01)
        time.sleep(seconds)
        self.process.kill()
        return self.wait()


def start(
    function: Callable[..., None], *arguments: str, environment: Mapping[str, str], log: Path
) -> LoggedChild:
    """Run a function of a module in a process of its own."""
    return LoggedChild(children.start(_run, function, arguments, dict(environment), log), log)


def run_dbt(*arguments: str) -> None:
    """The program `dbt`."""
    from dbt.cli.main import cli

    sys.argv = ["dbt", *arguments]
    cli(arguments)


def _run(
    function: Callable[..., None],
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    log: Path,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    function(*arguments)
