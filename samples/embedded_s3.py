"""An S3 server for the demo and the tests: rclone serving a folder, on loopback.

Objects survive a restart of the server, because they are files of the folder. The server goes on in
the background until `stop`, so that Airflow's UI and later commands find it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_READY_SECONDS = 30.0
# Servers outlive the process on purpose; a collected Popen would complain that they run.
_started: list[subprocess.Popen[bytes]] = []


def start(folder: Path, access_file: Path) -> dict[str, str]:
    """Start the server of a folder, unless it runs.

    Args:
        folder: Where objects are kept; made when missing.
        access_file: Gets the `AWS_*` variables to reach it with, readable by the owner only.

    Returns:
        The same variables.

    Raises:
        RuntimeError: The server did not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    access = json.loads(access_file.read_text()) if access_file.exists() else {}
    if access and _answers(_port(access)):
        return dict(access)
    access = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_port(access) if access else _free_port()}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": access.get("AWS_ACCESS_KEY_ID") or "lotus-lake",
        "AWS_SECRET_ACCESS_KEY": access.get("AWS_SECRET_ACCESS_KEY") or secrets.token_hex(20),
    }
    with contextlib.suppress(FileNotFoundError):
        access_file.unlink()
    with os.fdopen(os.open(access_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(access, file, indent=2)
    process = _spawn(folder, access, access_file.with_suffix(".log"))
    _started.append(process)
    _pid_file(access_file).write_text(str(process.pid))
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers(_port(access)):
        if process.poll() is not None or time.monotonic() > deadline:
            log = access_file.with_suffix(".log").read_text()[-2000:]
            raise RuntimeError(f"the S3 server did not start:\n{log}")
        time.sleep(0.05)
    return access


def stop(access_file: Path) -> None:
    """Stop the server, if it runs. The objects stay."""
    pid_file = _pid_file(access_file)
    if pid_file.exists():
        pid = int(pid_file.read_text())
        if _is_server(pid, json.loads(access_file.read_text())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in _started:
            if process.pid == pid:
                process.wait()
        pid_file.unlink()


def _is_server(pid: int, access: dict[str, str]) -> bool:
    """Whether a process is the server: after a reboot its id may be that of any other."""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],  # noqa: S607
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "serve s3 " in shown.stdout and f"127.0.0.1:{_port(access)}" in shown.stdout


def _spawn(folder: Path, access: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    rclone, address = str(Path(sys.executable).with_name("rclone")), f"127.0.0.1:{_port(access)}"
    # Not on the command line, which every user of the machine can see; quoted, because rclone
    # reads a comma-separated list of such pairs.
    pair = f'"{access["AWS_ACCESS_KEY_ID"]},{access["AWS_SECRET_ACCESS_KEY"]}"'
    with log.open("ab") as output:
        return subprocess.Popen(
            [rclone, "serve", "s3", str(folder), "--addr", address, "--config", os.devnull],
            env={**os.environ, "RCLONE_AUTH_KEY": pair},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _port(access: dict[str, str]) -> int:
    return int(access["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])


def _pid_file(access_file: Path) -> Path:
    return access_file.with_suffix(".pid")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
