"""Storms over a lake of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.lakes import run_storm
from tests.chaos.storm import Storm
from tests.servers import PostgresServer, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SEED = 20260301


@pytest.fixture
def storm(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    catalog: str,
    s3: S3Server,
    client: S3Client,
    bucket: str,
) -> Iterator[Storm]:
    """A storm over a lake that holds some files; readers look on."""
    restart = None
    if catalog.startswith("postgres"):
        server: PostgresServer = request.getfixturevalue("postgres")
        restart = server.restart
    with run_storm(tmp_path, catalog, s3, client, bucket, SEED, restart) as storm:
        storm.workload.drop(12)
        storm.calm()
        with storm.watched():
            yield storm
