"""Fixtures of all tests: servers for the session; a bucket, a catalog and a lake for each test."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from tests.catalogs import POSTGRES, SQLITE
from tests.ceph import is_wanted, missing_programs, run_ceph
from tests.feeds import Feed, write_stream
from tests.servers import PostgresServer, S3Server, run_postgres, run_s3
from tests.small_disk import SmallDisk
from tests.unsigned import skip_signatures

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The same examples in every run; `--hypothesis-profile explore` looks for new ones.
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fixed")

skip_signatures()
_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server: rclone's, or Ceph's with `S3_SERVER=ceph`."""
    if not is_wanted():
        with run_s3() as server:
            yield server
        return
    if missing := missing_programs():
        pytest.skip(f"Ceph is not installed: no {', '.join(missing)}; see tests/install_ceph.sh")
    with run_ceph() as ceph:
        yield ceph.s3


@pytest.fixture(scope="session")
def client(s3: S3Server) -> Iterator[S3Client]:
    """An S3 client, made as the feeder makes its own."""
    with contextlib.closing(s3_client(s3.access)) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real Postgres server."""
    with run_postgres() as server:
        yield server


@pytest.fixture
def bucket(client: S3Client) -> str:
    """An empty bucket of the test's own."""
    name = f"bucket-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=[SQLITE, POSTGRES])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """`LAKE_CATALOG` of a catalog that does not exist yet, or is an empty database."""
    if request.param == SQLITE:
        return f"sqlite:{tmp_path / 'catalog.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return f"postgres:{server.create_database(f'lake_{next(_numbers)}')}"


@pytest.fixture
def environment(tmp_path: Path, catalog: str, s3: S3Server, bucket: str) -> dict[str, str]:
    """All variables of a lake of the test's own; nothing of this checkout."""
    return {
        "LAKE_PROJECT_DIR": str(tmp_path),
        "LAKE_CATALOG": catalog,
        "LAKE_DATA_PATH": str(tmp_path / "data"),
        "LAKE_RAW_URI": f"s3://{bucket}/raw",
        "LAKE_STREAMS_DIR": str(tmp_path / "streams"),
        # With a handful of rows more threads only cost time: twice the CPU of a pass.
        "LAKE_THREADS": "1",
        **s3.environment(),
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """A lake of the test's own."""
    return Settings.from_env(environment)


@pytest.fixture
def lake(settings: Settings) -> Iterator[Lake]:
    """That lake, open."""
    with open_lake(settings) as opened:
        yield opened


@pytest.fixture
def make_feed(settings: Settings, client: S3Client) -> Callable[..., Feed]:
    """Make a stream: `make_feed("orders", batch_files=2)`; options are those of `feeder`."""

    def make(
        name: str = "orders",
        fields: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        **options: Any,
    ) -> Feed:
        stream = write_stream(settings.streams_dir, name, fields, options, words)
        return Feed(settings, stream, client)

    return make


@pytest.fixture
def feed(make_feed: Callable[..., Feed]) -> Feed:
    """A stream with the defaults."""
    return make_feed()


@pytest.fixture(autouse=True)
def no_width_of_this_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands print as into a pipe; pytest's workers have COLUMNS set."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be filled up."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount a disk that is small enough to fill up")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
