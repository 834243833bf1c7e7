"""dbt's process, forked from that of the task if it has imported dbt already.

dbt takes 2 s of CPU to import, and a process that Airflow has forked has it (see `warm`). The child
is what the program `dbt` would be: a session of its own, with the environment that it is given and
no other, no signal handler, no open file but the pipe that it writes to, and none of the task's
stack. When it ends, its DuckDB is gone, and on a SQLite catalog the one-writer lock with it. It
ends with the task's process, too, however that ends.

A fork copies no other thread, and a lock that one holds stays closed in the child. So a process
with more threads than one, as that of `airflow dags test`, starts the program.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cosmos.hooks.subprocess import FullOutputSubprocessHook, FullOutputSubprocessResult

from lotus_lake.airflow.warm import DBT_MODULES

_PR_SET_PDEATHSIG = 1
# Streams of the task, which would close the descriptors 0 to 2 if nothing held them any more.
_of_the_task: list[object] = []

log = logging.getLogger(__name__)


class ForkedDbt(FullOutputSubprocessHook):  # type: ignore[misc]
    """Runs dbt for Cosmos.

    Args:
        access: Variables that dbt gets besides those that Cosmos knows of. Cosmos, and whatever
            reads the operator, see no secret.

    Attributes:
        results: What dbt has written of its results; `None` if it ran nothing.
    """

    def __init__(self, access: Mapping[str, str]) -> None:
        super().__init__()
        self._access = access
        self.results: str | None = None

    def run_command(
        self,
        command: list[str],
        env: dict[str, str] | None = None,
        output_encoding: str = "utf-8",
        cwd: str | None = None,
        process_log_line: Any = None,
        **kwargs: Any,
    ) -> FullOutputSubprocessResult:
        """Run a command of dbt; what it says goes to the task's log."""
        env = {**(os.environ if env is None else env), **self._access}
        ended = self._run(command, env, output_encoding, cwd, process_log_line, **kwargs)
        written = Path(cwd or "", "target", "run_results.json")
        self.results = written.read_text(encoding="utf-8") if written.exists() else None
        return ended

    def _run(
        self,
        command: list[str],
        env: dict[str, str],
        output_encoding: str,
        cwd: str | None,
        process_log_line: Any,
        **kwargs: Any,
    ) -> FullOutputSubprocessResult:
        if cwd is None or process_log_line or not can_fork(command[0]):
            return super().run_command(
                command, env, output_encoding, cwd, process_log_line, **kwargs
            )
        log.info("dbt %s", " ".join(command[1:]))
        child, output = _fork(command, env, cwd)
        self.sub_process = child
        lines = []
        with open(output, encoding=output_encoding, errors="backslashreplace") as said:
            for line in said:
                lines.append(line.rstrip("\n"))
                log.info("%s", lines[-1])
        code = child.wait()
        log.info("dbt ended with code %d", code)
        return FullOutputSubprocessResult(code, lines[-1] if lines else "", lines)


class _Child:
    """A forked process, with what Cosmos asks of a `Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def can_fork(program: str) -> bool:
    """Whether this process is one that a dbt can be forked from: this Python's, and imported."""
    return (
        sys.platform == "linux"
        and all(name in sys.modules for name in DBT_MODULES)
        and Path(program).parent == Path(sys.executable).parent
        and len(os.listdir("/proc/self/task")) == 1
    )


def _fork(command: Sequence[str], env: Mapping[str, str], cwd: str) -> tuple[_Child, int]:
    """Returns the child, and the end of the pipe that its output can be read from."""
    ours, theirs = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return _Child(pid), ours
    code = 2
    try:
        _become_a_program(parent, env, cwd, theirs)
        code = _dbt(command)
    except BaseException:  # noqa: BLE001  the task's stack must not go on in this process
        traceback.print_exc()
    finally:
        _end(code)


def _become_a_program(parent: int, env: Mapping[str, str], cwd: str, output: int) -> None:
    """Leave behind what belongs to the task."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before it could be watched
        _end(1)
    os.setsid()
    for known in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(known)):
            signal.signal(known, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Their numbers stay taken: an object of the task that still has one closes nothing of dbt's.
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (output, nothing):
            os.dup2(nothing, int(name), inheritable=False)
    for number, file in enumerate((nothing, output, output)):
        os.dup2(file, number)
    _of_the_task.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    logging.getLogger().handlers.clear()
    logging.captureWarnings(False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    gc.freeze()  # what the task has is not looked at again


def _dbt(command: Sequence[str]) -> int:
    """What the program does; returns its exit code."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.exceptions import DbtUsageException
    from dbt.cli.main import dbtRunner

    sys.argv = list(command)
    target = Path("target")
    # dbt would write all of the project's manifest twice; the one that came with it stays.
    has_manifest = (target / "manifest.json").exists()
    ran = dbtRunner().invoke([*(["--no-write-json"] if has_manifest else []), *command[1:]])
    if has_manifest and (write := getattr(ran.result, "write", None)):
        write(str(target / "run_results.json"))
    if isinstance(ran.exception, DbtUsageException):
        print(ran.exception)
    # What the program does at its end, and a forked process does not by itself.
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
    reset_adapters()  # type: ignore[no-untyped-call]
    gc.collect()
    return 0 if ran.success else 1 if ran.exception is None else 2


def _end(code: int) -> NoReturn:
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)
