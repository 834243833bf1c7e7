"""Run a function in a fresh process, and take its time, its CPU time and its highest memory."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class MeasurementError(Exception):
    """The function failed, or did not end in time; the text has its traceback."""


@dataclass(frozen=True, slots=True)
class Measurement(Generic[Result]):
    """What a call returned and what it took.

    Attributes:
        result: What it returned.
        seconds: Wall time of the call, without the start of the process and its imports.
        cpu_seconds: CPU time of the process and its children, in the same span.
        peak_mb: Highest resident memory of the process in its whole life, in MB (10^6 bytes).
    """

    result: Result
    seconds: float
    cpu_seconds: float
    peak_mb: float


def measured(
    function: Callable[..., Result],
    *arguments: Any,
    environment: dict[str, str] | None = None,
    before: Callable[[], object] | None = None,
    timeout_seconds: float = 900,
) -> Measurement[Result]:
    """Call a function of a module in a process of its own.

    Args:
        function: The function.
        arguments: Its arguments.
        environment: Variables to set first.
        before: Called before it is measured, such as for imports.
        timeout_seconds: The process is killed after so long.

    Raises:
        MeasurementError: It failed, or took too long.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    call = (function, arguments, environment or {}, before)
    process = context.Process(target=_child, args=(theirs, *call))
    process.start()
    theirs.close()
    try:
        if not ours.poll(timeout_seconds):
            raise MeasurementError(f"{function.__qualname__}: not done in {timeout_seconds:.0f} s")
        failure, measurement = ours.recv()
    except EOFError:
        process.join()
        raise MeasurementError(
            f"{function.__qualname__}: its process ended with {process.exitcode}"
        ) from None
    finally:
        if process.is_alive():
            process.join(10)
        if process.is_alive():
            process.kill()
        process.join()
    if failure:
        raise MeasurementError(failure)
    done: Measurement[Result] = measurement
    return done


def _child(
    parent: Connection,
    function: Callable[..., Any],
    arguments: Any,
    environment: dict[str, str],
    before: Callable[[], object] | None,
) -> None:
    os.environ.update(environment)
    logging.basicConfig(level=logging.WARNING)
    try:
        if before:
            before()
        cpu, started = _cpu_seconds(), time.perf_counter()
        result = function(*arguments)
        seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
        parent.send((None, Measurement(result, seconds, cpu, peak_mb())))
    except Exception:  # noqa: BLE001  the process ends here
        parent.send((traceback.format_exc(limit=-6), None))


def _cpu_seconds() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mb() -> float:
    """Highest resident memory of this process so far.

    Not `ru_maxrss`: a process inherits that of the one which started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no VmHWM")
