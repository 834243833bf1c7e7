"""dbt is forked from a task's process, and is what the program would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lotus_lake.project.manifest import dbt_executable

PROFILE = """\
shop:
  target: here
  outputs:
    here:
      type: duckdb
      path: ":memory:"
      module_paths: [plugins]
      plugins: [{module: observer}]
"""
# Is loaded by dbt, and notes what its process is.
OBSERVER = """\
import json, os, signal, sys, time
from dbt.adapters.duckdb.plugins import BasePlugin

class Plugin(BasePlugin):
    def configure_connection(self, conn):
        files = {n: os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                 if os.path.lexists(f"/proc/self/fd/{n}")}
        found = {
            "pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid(),
            "program": open("/proc/self/cmdline").read().split(chr(0)), "files": files,
            "environment": sorted(os.environ), "folder": os.getcwd(), "argv": sys.argv[1:],
            "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        }
        with open(os.environ["NOTES"] + ".new", "w") as notes:
            json.dump(found, notes)
        os.rename(os.environ["NOTES"] + ".new", os.environ["NOTES"])
        time.sleep(float(os.environ.get("PAUSE", "0")))
"""
# What a task's process has: more variables, a handler, open files and a socket.
TASK = """
import importlib, io, json, os, signal, socket, sys, threading
from lotus_lake.airflow import dbt_process, warm
command, env, cwd, mode = json.loads(sys.argv[1])
if mode != "cold":
    warm.load([*warm.DBT_MODULES])
os.environ["SECRET_OF_THE_TASK"] = "hidden"
signal.signal(signal.SIGTERM, lambda *_: None)
ours, theirs = socket.socketpair()
kept = open(__import__("tempfile").mkstemp()[1])
for number, name in enumerate(("stdin", "stdout", "stderr")):  # as Airflow's supervisor does
    file = os.fdopen(number, "rww"[number] + "b")
    setattr(sys, name, io.TextIOWrapper(file, line_buffering=True))
if mode == "threads":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
hook = dbt_process.ForkedDbt({"ACCESS_OF_DBT": "given"})
if mode == "stopped":
    signal.signal(signal.SIGALRM, lambda *_: hook.send_sigterm())
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
done = hook.run_command(command, env=env, cwd=cwd)
signal.setitimer(signal.ITIMER_REAL, 0)
ours.send(b"still open")
assert "ACCESS_OF_DBT" not in os.environ
told = [done.exit_code, done.full_output, hook.results, theirs.recv(99).decode()]
print("ended", json.dumps(told))
"""


class Project:
    """A dbt project with a lake of its own: none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes.json"
        (folder / "models").mkdir()
        (folder / "plugins").mkdir()
        (folder / "plugins" / "observer.py").write_text(OBSERVER)
        (folder / "profiles.yml").write_text(PROFILE)
        (folder / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: shop\n")
        (folder / "models" / "seen.sql").write_text(
            'select \'{{ env_var("SECRET_OF_THE_TASK", "none") }}\' as secret'
        )

    def start(self, *arguments: str, mode: str = "warm", pause: float = 0) -> subprocess.Popen[str]:
        command = [
            dbt_executable(), "--no-use-colors", "build", *arguments,
            "--project-dir", str(self.folder), "--profiles-dir", str(self.folder),
        ]  # fmt: skip
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "NOTES": str(self.notes),
            "PAUSE": str(pause),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        return subprocess.Popen(
            [sys.executable, "-c", TASK, json.dumps([command, env, str(self.folder), mode])],
            env={**os.environ, "PYTHONPATH": env["PYTHONPATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, mode: str = "warm", pause: float = 0) -> tuple[int, list[str]]:
        """Exit code and output of dbt, whose task goes on afterwards."""
        task = self.start(*arguments, mode=mode, pause=pause)
        try:
            said, _ = task.communicate(timeout=100)
        finally:
            task.kill()
        (line,) = [line for line in said.splitlines() if line.startswith("ended ")]
        code, output, results, sent = json.loads(line.removeprefix("ended "))
        assert sent == "still open"
        written = self.folder / "target" / "run_results.json"
        assert results == (written.read_text() if written.exists() else None)
        return code, output

    def seen(self) -> dict[str, Any]:
        """What dbt's process was."""
        deadline = time.monotonic() + 60
        while not self.notes.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(self.notes.read_text())
        self.notes.unlink()
        return found

    def results(self) -> dict[str, str]:
        document = json.loads((self.folder / "target" / "run_results.json").read_text())
        return {result["unique_id"]: result["status"] for result in document["results"]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def is_forked(seen: dict[str, Any]) -> bool:
    return TASK in seen["program"]


def test_a_forked_dbt_has_what_it_is_given_and_nothing_of_the_task(project: Project) -> None:
    code, output = project.run()
    seen = project.seen()
    assert (code, project.results()) == (0, {"model.shop.seen": "success"})
    assert any("PASS=1" in line for line in output)
    assert is_forked(seen)
    assert seen["session"] == seen["pid"]
    assert seen["sigterm"]
    assert seen["folder"] == str(project.folder)
    assert seen["argv"][:2] == ["--no-use-colors", "build"]
    assert "SECRET_OF_THE_TASK" not in seen["environment"]
    assert "ACCESS_OF_DBT" in seen["environment"]
    assert "'none' as secret" in (project.folder / "target/run/shop/models/seen.sql").read_text()
    files = list(seen["files"].values())
    assert [file for file in files if "socket:" in file or "/tmp/tmp" in file] == []
    assert sum("pipe:" in file for file in files) >= 2  # its output


@pytest.mark.parametrize("mode", ["cold", "threads"])
def test_the_program_runs_where_a_fork_would_not_be_sound(project: Project, mode: str) -> None:
    code, _ = project.run(mode=mode)
    assert code == 0
    seen = project.seen()
    assert not is_forked(seen)
    assert "ACCESS_OF_DBT" in seen["environment"]


def test_what_fails_ends_as_in_the_program(project: Project) -> None:
    (project.folder / "models" / "failing.sql").write_text("select absent from range(1)")
    ends = {}
    for mode in ("warm", "cold"):
        (project.folder / "models" / "broken.sql").unlink(missing_ok=True)
        code, output = project.run(mode=mode)
        assert is_forked(project.seen()) == (mode == "warm")
        results = project.results()
        (project.folder / "target" / "run_results.json").unlink()
        (project.folder / "models" / "broken.sql").write_text("select {{ ref('nothing') }}")
        parsed, said = project.run(mode=mode)
        assert not (project.folder / "target" / "run_results.json").exists()
        usage, complaint = project.run("--no-such-option", mode=mode)
        ends[mode] = code, results, parsed, usage
        assert any('"absent" not found' in line for line in output)
        assert any("depends on a node named 'nothing'" in line for line in said)
        assert any("No such option" in line for line in complaint)
    assert ends["warm"] == ends["cold"]
    assert ends["warm"][1] == {"model.shop.seen": "success", "model.shop.failing": "error"}


def test_the_manifest_that_came_with_the_project_is_left_alone(project: Project) -> None:
    manifest = project.folder / "target" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{}")
    assert project.run()[0] == 0
    assert manifest.read_text() == "{}"
    assert project.results() == {"model.shop.seen": "success"}


def test_dbt_ends_with_a_task_that_is_killed(project: Project) -> None:
    task = project.start(pause=60)
    seen = project.seen()
    assert is_forked(seen)
    task.kill()
    task.communicate()
    assert wait_for_the_end(seen["pid"])


def test_dbt_ends_when_the_task_is_stopped(project: Project) -> None:
    code, _ = project.run(mode="stopped", pause=60)
    assert code == -signal.SIGTERM


def wait_for_the_end(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
