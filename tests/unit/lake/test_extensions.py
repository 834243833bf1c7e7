"""DuckDB checks the signature of each extension file once for a process and those that it forks.

In processes of their own: this one takes extensions without their signatures, to be faster.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

# Loads as often as it is told to, in this process or a forked one, and says how often DuckDB was
# asked to check signatures. Between two, the file of an extension may be replaced.
LOAD = """
import os, sys
import duckdb
from lotus_lake.errors import SettingsError
from lotus_lake.lake import extensions

connect, checks = duckdb.connect, []

def counted(*arguments, **options):
    checks.append(options.get("config") is None)
    return connect(*arguments, **options)

duckdb.connect = counted

def load():
    checks.clear()
    try:
        with extensions.connect() as con:
            extensions.load_extensions(con, "sqlite")
            loaded = con.execute("SELECT count(*) FROM duckdb_extensions() WHERE loaded AND "
                "extension_name IN ('httpfs', 'ducklake', 'sqlite_scanner')").fetchone()
        print(*loaded, "loaded,", sum(checks), "checked", flush=True)
    except SettingsError as error:
        print("refused:", str(error).splitlines()[0], flush=True)

for word in sys.argv[1:]:
    if word == "load":
        load()
    elif word == "fork":
        if (child := os.fork()) == 0:
            load()
            os._exit(0)
        os.waitpid(child, 0)
    else:
        os.replace(word, extensions._extension_wheel("ducklake"))  # as pip does
"""


def run(folder: Path, *words: str) -> list[str]:
    """What a process prints that finds the wheel of DuckLake in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def extension_in(package: Path) -> Path:
    return package / "extensions" / f"v{duckdb.__version__}" / "ducklake.duckdb_extension"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A folder with an installed wheel of DuckLake, which a test may change."""
    spec = importlib.util.find_spec("duckdb_extension_ducklake")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, tmp_path / "duckdb_extension_ducklake")
    return tmp_path


@pytest.fixture
def forged(wheel: Path, tmp_path: Path) -> Path:
    """The extension with one bit changed in its code."""
    content = bytearray(extension_in(wheel / "duckdb_extension_ducklake").read_bytes())
    content[len(content) // 2] ^= 1
    file = tmp_path / "forged"
    file.write_bytes(content)
    return file


def test_signatures_are_checked_once_for_a_process_and_those_that_it_forks(wheel: Path) -> None:
    checked, again = "3 loaded, 3 checked", "3 loaded, 0 checked"
    assert run(wheel, "load", "load", "fork", "load") == [checked, again, again, again]


def test_an_extension_with_a_wrong_signature_is_refused(wheel: Path, forged: Path) -> None:
    shutil.copy(forged, extension_in(wheel / "duckdb_extension_ducklake"))
    for said in run(wheel, "load", "fork"):
        assert said.startswith(f"refused: DuckDB {duckdb.__version__} could not load its extension")
        assert "ducklake" in said


def test_a_file_that_takes_the_place_of_one_that_was_checked_is_checked(
    wheel: Path, forged: Path
) -> None:
    first, *later = run(wheel, "load", str(forged), "load", "fork")
    assert first == "3 loaded, 3 checked"
    assert [said.split(":")[0] for said in later] == ["refused", "refused"]
