"""A lake for each test, with this repository's streams and dbt project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lotus_lake.project.manifest import ensure_manifest
from samples import History, generate
from tests.pipeline.driver import PROJECT, Pipeline

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def history() -> History:
    """The default history."""
    return generate()


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A lake of the test's own, fed by the streams of this repository."""
    return environment | {
        "LAKE_PROJECT_DIR": str(PROJECT),
        "LAKE_STREAMS_DIR": str(PROJECT / "include" / "streams"),
        "LAKE_TEMP_DIR": str(tmp_path / "tmp"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


@pytest.fixture
def pipeline(environment: dict[str, str], client: S3Client, tmp_path: Path) -> Pipeline:
    """The path from that bucket to the tables."""
    target = tmp_path / "target"
    target.mkdir()
    # dbt starts 6 s faster when it finds the project parsed.
    shutil.copy(ensure_manifest(PROJECT).with_name("partial_parse.msgpack"), target)
    return Pipeline(environment, client, target)
