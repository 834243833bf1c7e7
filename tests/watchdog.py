"""Ends the servers of a test process that was killed and could not end them itself.

Runs beside the test process as `python tests/watchdog.py` and is told through a pipe what to watch.
The kernel closes the pipe when the test process dies, however it dies: then the watchdog ends what
is left. It is not asked to do anything when the test process ends its servers itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

_PATIENCE_SECONDS = 5.0


@contextlib.contextmanager
def watched(pid: int, stop: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Have a process, which leads its own group, ended if this process dies within the block."""
    _tell(f"watch {pid} {int(stop)}")
    try:
        yield
    finally:
        _tell(f"forget {pid}")


def _tell(line: str) -> None:
    pipe = _start().stdin
    assert pipe is not None
    pipe.write(f"{line}\n".encode())


@functools.cache
def _start() -> subprocess.Popen[bytes]:
    # In a session of its own: what kills the group of the test process must not kill it too.
    command = [sys.executable, "-I", "-S", __file__]
    process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(process.communicate)
    return process


def main() -> None:
    """Read until the pipe closes; then end what has not been forgotten."""
    left: dict[int, int] = {}
    for line in sys.stdin:
        verb, pid, *stop = line.split()
        if verb == "watch":
            left[int(pid)] = int(stop[0])
        else:
            left.pop(int(pid), None)
    for pid, stop_signal in left.items():
        _signal(pid, stop_signal)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while any(map(_lives, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in filter(_lives, left):
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
