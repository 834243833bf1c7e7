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
import traceback
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
    "discovery": (14.0, 2.0),
    "batching": (2.0, 1.0),
    "registration": (12.0, 2.0),
    "backlog": (5.0, 1.0),
    "merging": (8.0, 4.0),
    "dbt_task": (5.0, 5.0),
    "dag_factory": (5.0, 4.0),
    "latency": (14.0, 6.0),
    "throughput": (7.0, 1.0),
    "cost": (0.5, 0.5),
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all by default.")] = None,
    quick: Annotated[bool, typer.Option(help="Small sizes, to see that it runs.")] = False,
    only_render: Annotated[bool, typer.Option("--render", help="Measure nothing.")] = False,
    alone: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run benchmarks, each in a process and a bounded time of its own, and write the page."""
    if unknown := set(names or ()) - set(BENCHMARKS):
        raise SystemExit(
            f"no benchmark is called {', '.join(sorted(unknown))}\nhint: one of "
            f"{', '.join(BENCHMARKS)}"
        )
    saved = SAVED / "quick" if quick else SAVED
    chosen = [] if only_render else [name for name in BENCHMARKS if not names or name in names]
    if alone:
        run_alone(chosen[0], saved, quick=quick)
        return
    failed = [name for name in chosen if not run_bounded(name, quick=quick)]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in BENCHMARKS}
    titles = {name: (module.TITLE, module.__doc__ or "") for name, module in modules.items()}
    page = saved / "RESULTS.md" if quick else PAGE
    render(titles, saved, page)
    print(f"{page} is written", file=sys.stderr)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run_bounded(name: str, *, quick: bool) -> bool:
    """Run one benchmark in a process that is ended, with all it started, when its time is over."""
    minutes = BENCHMARKS[name][quick]
    print(f"{name}, at most {minutes:g} minutes", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", name, "--alone", *(["--quick"] * quick)]
    process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True)
    try:
        return process.wait(minutes * 60) == 0
    except subprocess.TimeoutExpired:
        print(f"    not done in {minutes:g} minutes: ended", file=sys.stderr)
        return False
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process put its servers away and write down what it has; then end its group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_alone(name: str, saved: Path, *, quick: bool) -> None:
    """Run one benchmark here; what it has found until it fails is kept."""
    signal.signal(signal.SIGTERM, _stop)
    report = Report(saved / f"{name}.json", quick=quick)
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
    raise TimeoutError("its time was over")


if __name__ == "__main__":
    app()
