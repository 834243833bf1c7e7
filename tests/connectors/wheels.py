"""Wheels of Airbyte's connectors, from the registry that pip is set up for."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

_SECONDS = 120


class UnreachableError(RuntimeError):
    """No wheel of a connector can be had."""


def cache_dir() -> Path:
    """Where wheels are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lotus-lake" / "connectors"


def download(connector: str, folder: Path) -> Path:
    """The newest wheel of a connector, without what it depends on; one that is there is taken.

    Raises:
        UnreachableError: The registry does not answer, or has none.
    """
    package = f"airbyte-source-{connector}"
    pattern = f"{package.replace('-', '_')}-*.whl"
    if found := sorted(folder.glob(pattern)):
        return found[-1]
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "20",
        "--dest", str(folder), package,
    ]  # fmt: skip
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"{package}: no answer within {_SECONDS} s") from error
    found = sorted(folder.glob(pattern))
    if run.returncode or not found:
        last = (run.stderr.strip() or "no wheel").splitlines()[-1]
        raise UnreachableError(f"{package}: {last}")
    return found[-1]


def unpack(wheel: Path, folder: Path) -> Path:
    """The connector's package, unpacked; the folder with its schemas and its manifest."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (package,) = (path for path in folder.iterdir() if path.name.startswith("source_"))
    return package


def version_of(wheel: Path) -> str:
    """The version in a wheel's name."""
    return wheel.name.split("-")[1]
