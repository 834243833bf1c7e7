"""Child processes that feed a stream, and die or meet where a test wants them to.

The library has no hooks for this: a child wraps its DuckDB connection and looks at the statements
that pass. Children are forked from a server process that has imported everything already.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any, Protocol

import duckdb
import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import Registration, land_files, register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.repair.reconcile import reconcile as reconcile_stream
from tests.unsigned import skip_signatures

CHILD_SECONDS = 120.0
KILLED = -signal.SIGKILL
"""Exit code of a killed child."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([__name__])


class Hook(Protocol):
    """Is shown every statement before it runs."""

    def __call__(self, statement: str) -> None: ...


@dataclass
class Watched:
    """A DuckDB connection whose statements are shown to a hook first."""

    con: duckdb.DuckDBPyConnection
    hook: Hook

    def execute(self, statement: str, *parameters: Any) -> duckdb.DuckDBPyConnection:
        """Show, then run."""
        self.hook(statement.strip())  # SQL is written in indented blocks, too
        return self.con.execute(statement, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.con, name)


def let_pass(statement: str) -> None:
    """The hook that does nothing."""


@dataclass
class KillBefore:
    """Kill the process before its n-th statement, counted from 1.

    Attributes:
        number: Which statement.
        start: Count from the first statement on that starts with this text.
        seen: Statements counted so far.
    """

    number: int
    start: str = ""
    seen: int = 0

    def __call__(self, statement: str) -> None:
        """Count."""
        if self.seen or statement.startswith(self.start):
            self.seen += 1
        if self.seen == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class KillWithin:
    """Kill the process some time after its n-th COMMIT has begun, be it done by then or not.

    Attributes:
        number: Which COMMIT, counted from 1.
        seconds: How long after its start.
        start: What a statement that commits starts with.
        seen: Those counted so far.
    """

    number: int
    seconds: float
    start: str = "COMMIT"
    seen: int = 0

    def __call__(self, statement: str) -> None:
        """Count; start the clock."""
        commits = statement.startswith(self.start)
        self.seen += commits
        if commits and self.seen == self.number:
            timer = threading.Timer(self.seconds, os.kill, [os.getpid(), signal.SIGKILL])
            timer.daemon = True
            timer.start()


@dataclass
class MeetBefore:
    """Wait for the other children before the first statement that starts with some text."""

    barrier: Barrier
    start: str
    met: bool = False

    def __call__(self, statement: str) -> None:
        """Wait once."""
        if not self.met and statement.startswith(self.start):
            self.met = True
            self.barrier.wait(CHILD_SECONDS)


def feed(settings: Settings, stream: Stream, run_id: str, hook: Hook = let_pass) -> None:
    """Child: one pass of the feeder, in this process even after another one has died."""
    _feed(settings, stream, run_id, hook, land_files)


def feed_as_a_task(settings: Settings, stream: Stream, run_id: str, hook: Hook = let_pass) -> None:
    """Child: the same, and what another process has died of is left to children of its own.

    A process in which DuckDB has given itself up is as good as dead: Airflow tries its task again.
    """
    try:
        _feed(settings, stream, run_id, hook, register_batch)
    except duckdb.FatalException:
        os.abort()


def _feed(
    settings: Settings, stream: Stream, run_id: str, hook: Hook, land: Callable[..., Registration]
) -> None:
    with open_lake(settings) as opened:
        lake = Lake(Watched(opened.con, hook), settings)  # type: ignore[arg-type]
        list_files(lake, stream, s3_client(settings.s3), run_id)
        for batch in plan_batches(lake, stream):
            land(lake, stream, batch, run_id)


def reconcile(settings: Settings, stream: Stream, hook: Hook = let_pass) -> None:
    """Child: compare everything and repair."""
    with open_lake(settings) as opened:
        lake = Lake(Watched(opened.con, hook), settings)  # type: ignore[arg-type]
        reconcile_stream(lake, stream, s3_client(settings.s3), "reconcile", repair=True)


def retire(settings: Settings, stream: Stream, consumers: list[str], hook: Hook = let_pass) -> None:
    """Child: retire what is old."""
    with open_lake(settings) as opened:
        lake = Lake(Watched(opened.con, hook), settings)  # type: ignore[arg-type]
        retire_files(lake, stream, consumers, "killed")


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a child."""
    with pytest.MonkeyPatch.context() as patch:
        # Before Python 3.13 the server does not take over our sys.path by itself.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()
    child = context.Process(target=_run, args=(target, arguments), daemon=True)
    child.start()
    return child


def _run(target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    skip_signatures()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    target(*arguments)


def _die_with_parent() -> None:
    """A killed parent cannot end its children."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def finish(*children: BaseProcess) -> list[int]:
    """Wait for children; returns their exit codes, negative for the signal that killed one."""
    for child in children:
        child.join(CHILD_SECONDS)
    codes = [child.exitcode for child in children]
    for child in children:
        if child.is_alive():
            child.kill()
            child.join()
        child.close()
    assert None not in codes, f"children did not end within {CHILD_SECONDS} s"
    return [code for code in codes if code is not None]


def run(target: Callable[..., None], *arguments: Any) -> int:
    """Run one child; returns its exit code."""
    return finish(start(target, *arguments))[0]
