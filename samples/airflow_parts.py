"""Airflow's parts side by side, as `airflow standalone` runs them, with their output in files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

PARTS = ("scheduler", "dag-processor", "triggerer", "api-server")
_STOP_SECONDS = 30
_COLOURS = {"starting": "yellow", "ready": "green"}


@dataclass(frozen=True, slots=True)
class Part:
    """A running part of Airflow."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started_at: datetime

    def state(self, health: Mapping[str, dict[str, str | None]]) -> str:
        """`starting`, `ready`, or how it ended.

        Args:
            health: What the api-server says; empty as long as it does not answer.
        """
        if (code := self.process.poll()) is not None:
            return f"died with exit code {code}"
        if self.name == "api-server":
            return "ready" if health else "starting"
        name = self.name.replace("-", "_")
        beat = health.get(name, {}).get(f"latest_{name}_heartbeat")
        # A heartbeat of an earlier run is still in the database.
        beats = beat is not None and datetime.fromisoformat(beat) > self.started_at
        return "ready" if beats else "starting"


def run_parts(airflow: str, env: Mapping[str, str], logs: Path, url: str, console: Console) -> None:
    """Run Airflow and show the state of each part, until Ctrl-C or until all have died.

    Args:
        airflow: Path of the executable.
        env: Variables of the processes.
        logs: Folder for one log file per part.
        url: Where the api-server answers.
        console: Shows the state: as a table that stays in a terminal, as lines in a pipe.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    with _running(airflow, env, logs) as parts, contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal:
            _show_table(parts, url, console)
        else:
            _print_changes(parts, url, console)
        console.print("Airflow has died", style="red")
    console.print("stopped")


@contextlib.contextmanager
def _running(airflow: str, env: Mapping[str, str], logs: Path) -> Iterator[list[Part]]:
    parts: list[Part] = []
    try:
        for name in PARTS:
            log = logs / f"{name}.log"
            with log.open("wb") as output:
                # Of its own session: Ctrl-C reaches us alone, and we stop its children as well.
                process = subprocess.Popen(
                    [airflow, name], env=dict(env), stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            parts.append(Part(name, process, log, datetime.now(UTC)))
        yield parts
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience would leave processes behind
        _stop(parts)


def _stop(parts: Sequence[Part]) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    for part in parts:
        _signal(part, signal.SIGTERM)
    for part in parts:
        with contextlib.suppress(subprocess.TimeoutExpired):
            part.process.wait(max(0, deadline - time.monotonic()))
        _signal(part, signal.SIGKILL)  # and what is left of its children
        part.process.wait()


def _signal(part: Part, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(part.process.pid, number)


def _show_table(parts: Sequence[Part], url: str, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for states in _states(parts, url):
            table = Table("part", "state", "log", box=None, pad_edge=False)
            for part, state in zip(parts, states, strict=True):
                colour = _COLOURS.get(state, "red")
                table.add_row(part.name, f"[{colour}]{state}[/]", _short(part.log))
            ready = all(state == "ready" for state in states)
            hint = "no password; `make drop` in another terminal lets files arrive"
            lines = f"\nAirflow's UI: [bold]{url}[/] ({hint if ready else 'starting'})\n"
            live.update(Group(lines, table, "\nCtrl-C stops everything"), refresh=True)
    for part in parts:
        if part.process.returncode:
            console.print(f"the end of {_short(part.log)}:", style="red")
            console.print("\n".join(part.log.read_text().splitlines()[-20:]), markup=False)


def _print_changes(parts: Sequence[Part], url: str, console: Console) -> None:
    console.print(f"Airflow's UI: {url}; Ctrl-C stops everything")
    before = [""] * len(parts)
    for states in _states(parts, url):
        for part, old, state in zip(parts, before, states, strict=True):
            if state != old:
                console.print(f"{part.name}: {state}, log in {_short(part.log)}")
        before = states


def _states(parts: Sequence[Part], url: str) -> Iterator[list[str]]:
    """The state of each part, every second, until none runs."""
    while True:
        health = read_health(url)
        yield [part.state(health) for part in parts]
        if all(part.process.returncode is not None for part in parts):
            return
        time.sleep(1)


def read_health(url: str) -> dict[str, dict[str, str | None]]:
    """What the api-server says about all parts; nothing as long as it does not answer."""
    try:
        with urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310
            found: dict[str, dict[str, str | None]] = json.load(answer)
            return found
    except (OSError, ValueError):
        return {}


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
