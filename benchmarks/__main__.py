"""`python -m benchmarks [NAME ...] [--quick]`: measure, and write RESULTS.md with its plots."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.rendering import render
from benchmarks.results import Report

PROJECT = Path(__file__).resolve().parents[1]
SAVED = PROJECT / ".lake" / "bench"
PAGE = Path(__file__).with_name("RESULTS.md")
# In order of the page, with the most minutes that each may take, in full and quick.
BENCHMARKS = {
    "discovery": (14.0, 4.0),
    "batching": (2.0, 2.0),
    "registration": (14.0, 4.0),
    "backlog": (5.0, 2.0),
    "merging": (8.0, 4.0),
    "dbt_task": (5.0, 6.0),
    "dag_factory": (5.0, 4.0),
    "latency": (17.0, 8.0),
    "notifications": (12.0, 6.0),
    "throughput": (7.0, 2.0),
    "copies": (10.0, 4.0),
    "skipping": (8.0, 4.0),
}
# Only by name: too long for the rest, or they download what is compared.
APART = {"volume": (45.0, 2.0), "peers": (25.0, 12.0)}
# Computed from another one's figures, when that is there.
COMPUTED = {"cost": (0.5, 0.5)}
_MINUTES = BENCHMARKS | APART | COMPUTED

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which; else all but volume.")] = None,
    quick: Annotated[bool, typer.Option(help="Small sizes, to see that it runs.")] = False,
    only_render: Annotated[bool, typer.Option("--render", help="Measure nothing.")] = False,
    alone: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run benchmarks, each in a process and a bounded time of its own, and write the page."""
    usual = (*BENCHMARKS, *COMPUTED)
    known = (*BENCHMARKS, *APART, *COMPUTED)
    if unknown := set(names or ()) - set(known):
        raise SystemExit(
            f"no benchmark is called {', '.join(sorted(unknown))}\nhint: one of {', '.join(known)}"
        )
    saved = SAVED / "quick" if quick else SAVED
    chosen = [] if only_render else [name for name in known if name in (names or usual)]
    if alone:
        run_alone(chosen[0], saved, quick=quick)
        return
    signal.signal(signal.SIGTERM, _stop)
    failed = run_all(chosen, quick=quick)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in known}
    titles = {name: (module.TITLE, module.__doc__ or "") for name, module in modules.items()}
    page = saved / "RESULTS.md" if quick else PAGE
    render(titles, saved, page)
    print(f"{page} is written", file=sys.stderr)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run_all(names: Sequence[str], *, quick: bool) -> list[str]:
    """Run benchmarks, each in a process of its own; returns the names of those that failed.

    Quick ones, whose figures nobody reads, run two at a time, those that take longest first.
    """
    first = [name for name in names if name not in COMPUTED]
    if quick:
        first.sort(key=lambda name: -_MINUTES[name][True])
    failed = _run_some(first, 2 if quick else 1, quick=quick)
    return failed + _run_some([name for name in names if name in COMPUTED], 1, quick=quick)


def _run_some(names: Sequence[str], at_once: int, *, quick: bool) -> list[str]:
    """Run some, so many at once; one whose minutes are over is ended with all it has started."""
    waiting, failed = list(names), []
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = waiting.pop(0)
                running[name] = _start(name, quick=quick)
            time.sleep(0.2)
            for name, (process, deadline) in list(running.items()):
                if process.poll() is None and time.monotonic() < deadline:
                    continue
                if process.returncode is None:
                    print(f"{name}: its minutes are over", file=sys.stderr)
                if process.returncode != 0:
                    failed.append(name)
                _end(running.pop(name)[0])
    finally:
        for process, _ in running.values():
            _end(process)
    return failed


def _start(name: str, *, quick: bool) -> tuple[subprocess.Popen[bytes], float]:
    """Start a benchmark; returns its process, and when its time is over."""
    minutes = _MINUTES[name][quick]
    print(f"{name}, at most {minutes:g} minutes", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", name, "--alone", *(["--quick"] * quick)]
    process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True)
    return process, time.monotonic() + minutes * 60


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process put its servers away and write down what it has; then end its group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_alone(name: str, saved: Path, *, quick: bool) -> None:
    """Run one benchmark here; what it has found until it fails is kept."""
    report = Report(saved / f"{name}.json", quick=quick)

    def stop(number: int, frame: object) -> None:
        report.error = "ended from outside, or its time was over"
        report.save()  # before servers are put away: that may take longer than there is time
        _stop(number, frame)

    signal.signal(signal.SIGTERM, stop)
    folder = Path(tempfile.mkdtemp(prefix=f"lotus-bench-{name}-"))
    try:
        importlib.import_module(f"benchmarks.{name}").run(report, folder, quick=quick)
    except BaseException:  # noqa: BLE001  the process ends here
        report.error = traceback.format_exc(limit=-4)
        print(report.error, file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        report.save()
        shutil.rmtree(folder, ignore_errors=True)


def _stop(_signal: int, _frame: object) -> None:
    raise TimeoutError("ended from outside, or its time was over")


if __name__ == "__main__":
    app()
