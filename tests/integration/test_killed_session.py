"""A pytest that is killed leaves nothing behind that goes on running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.processes import START_SECONDS

PROJECT = Path(__file__).resolve().parents[2]
SESSION = """
import signal, sys, time
from pathlib import Path

from tests import children
from tests.processes import run_process
from tests.servers import S3Server


def test_that_is_killed(s3: S3Server, tmp_path: Path) -> None:
    child = children.start(time.sleep, 600)
    deaf = [sys.executable, "-c", "import signal, time; "
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); time.sleep(600)"]
    with run_process(deaf, tmp_path / "log"):
        Path("ready").touch()
        time.sleep(600)
"""


def test_servers_and_children_of_a_killed_session_end(tmp_path: Path) -> None:
    file = tmp_path / "test_session.py"
    file.write_text(SESSION)
    session = subprocess.Popen(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest",
            f"--rootdir={PROJECT}", f"--config-file={PROJECT / 'pyproject.toml'}", str(file),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{PROJECT / 'plugins'}{os.pathsep}{PROJECT}"},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while not (tmp_path / "ready").exists():
        assert session.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    others = psutil.Process(session.pid).children(recursive=True)
    names = {other.name() for other in others}
    # The S3 server, the deaf program, the child with multiprocessing's servers, the watchdog.
    assert "rclone" in names, names
    assert len(others) >= 5
    session.send_signal(signal.SIGKILL)
    session.wait()
    _, alive = psutil.wait_procs(others, timeout=START_SECONDS)
    assert alive == []
