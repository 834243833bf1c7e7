"""A lake for a storm: this repository's streams and models, a bucket, a proxy before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from lotus_lake.config.settings import Settings
from lotus_lake.project.manifest import ensure_manifest
from tests.chaos.storm import Storm
from tests.chaos.workload import Workload, write_project
from tests.proxy import run_proxy
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@contextmanager
def run_storm(
    folder: Path,
    catalog: str,
    s3: S3Server,
    client: S3Client,
    bucket: str,
    seed: int,
    restart: Callable[[], None] | None = None,
) -> Iterator[Storm]:
    """A storm over an empty lake.

    Args:
        folder: An empty folder for everything that is no server's.
        catalog: `LAKE_CATALOG`.
        s3: The server that has the bucket.
        client: Talks to it.
        bucket: An empty bucket.
        seed: Of all that is random, except when the processes get their turns.
        restart: Restarts the catalog's server, if it has one.
    """
    assert s3.access.endpoint_url is not None
    project = folder / "project"
    write_project(project)
    ensure_manifest(project)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LAKE_PROJECT_DIR": str(project),
        "LAKE_CATALOG": catalog,
        "LAKE_DATA_PATH": str(folder / "data"),
        "LAKE_TEMP_DIR": str(folder / "tmp"),
        "LAKE_RAW_URI": f"s3://{bucket}/raw",
        "LAKE_STREAMS_DIR": str(project / "include" / "streams"),
        "LAKE_THREADS": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        **s3.environment(),
    }
    chance = Random(seed)
    workload = Workload(Settings.from_env(environment), client, chance)
    with run_proxy(s3.access.endpoint_url) as proxy:
        storm = Storm(environment, workload, folder, chance, proxy, restart=restart)
        yield storm
        storm.tally.faults = proxy.faults
