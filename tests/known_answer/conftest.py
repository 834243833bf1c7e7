"""A lake whose streams and models are those of TPC-H."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.known_answer import splits, tpch
from tests.pipeline.driver import DBT_DIR, PROJECT, Pipeline

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def big_folder() -> Iterator[Path]:
    """A folder for gigabytes: pytest would keep its own for two sessions more."""
    with TemporaryDirectory(prefix="lotus-tpch-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def truth(big_folder: Path) -> tpch.Truth:
    """The generated tables, at the scale factor `TPCH_SCALE`."""
    scale = float(os.environ.get("TPCH_SCALE", "0.1"))
    assert scale in tpch.PUBLISHED_SCALES, "answers are published for these scale factors only"
    return tpch.generate(big_folder / "truth.duckdb", scale)


@pytest.fixture(scope="session")
def files(truth: tpch.Truth, big_folder: Path) -> list[splits.SplitFile]:
    """All files that are to arrive."""
    folder = big_folder / "files"
    folder.mkdir()
    return splits.split(truth, folder)


@pytest.fixture(scope="session")
def dbt_dir(big_folder: Path) -> Path:
    """This project's dbt project, settings and macros, with the models of TPC-H for its own."""
    folder = big_folder / "dbt"
    own = shutil.ignore_patterns("models", "tests", "target", "logs")
    shutil.copytree(DBT_DIR, folder, ignore=own)
    return Path(shutil.copytree(Path(__file__).with_name("dbt"), folder, dirs_exist_ok=True))


@pytest.fixture
def environment(
    environment: dict[str, str], truth: tpch.Truth, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """A lake of the test's own, fed by the streams of TPC-H."""
    splits.write_streams(truth, Path(environment["LAKE_STREAMS_DIR"]))
    with TemporaryDirectory(prefix="lotus-lake-") as data:
        yield environment | {
            "LAKE_PROJECT_DIR": str(PROJECT),
            "LAKE_DATA_PATH": data,
            "LAKE_TEMP_DIR": str(tmp_path / "tmp"),
            "LAKE_MEMORY_LIMIT": tpch.MEMORY_LIMIT,
            "LAKE_THREADS": "2",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }


@pytest.fixture
def pipeline(
    environment: dict[str, str], client: S3Client, dbt_dir: Path, big_folder: Path
) -> Pipeline:
    """The path from that bucket to the tables."""
    # One target for all tests: dbt parses the project once.
    target = big_folder / "target"
    target.mkdir(exist_ok=True)
    return Pipeline(environment, client, target, dbt_dir)
