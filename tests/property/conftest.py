"""A world for each example: the same bucket and server, another catalog and another prefix."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import pytest

from lotus_lake.config.settings import Settings
from tests.feeds import Feed, write_stream
from tests.property.records import FIELDS
from tests.property.world import World
from tests.servers import PostgresServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class MakeWorld(Protocol):
    """Makes a lake and a bucket of its own for each example."""

    def __call__(self, **options: Any) -> AbstractContextManager[World]: ...


@pytest.fixture
def make_world(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    client: S3Client,
    tmp_path: Path,
) -> MakeWorld:
    """Make a world whose stream has these options of `feeder`."""
    numbers = itertools.count()

    @contextmanager
    def make(**options: Any) -> Iterator[World]:
        name = f"example_{next(numbers)}"
        catalog = f"sqlite:{tmp_path / name}.sqlite"
        if environment["LAKE_CATALOG"].startswith("postgres:"):
            server: PostgresServer = request.getfixturevalue("postgres")
            catalog = f"postgres:{server.create_database(f'{tmp_path.name}_{name}')}"
        changes = {
            "LAKE_CATALOG": catalog,
            "LAKE_DATA_PATH": str(tmp_path / name / "data"),
            "LAKE_RAW_URI": f"{environment['LAKE_RAW_URI']}-{name}",
        }
        settings = Settings.from_env(environment | changes)
        stream = write_stream(settings.streams_dir, "orders", FIELDS, options)
        # The second one is for whoever works at the same time.
        with duckdb.connect() as con, duckdb.connect() as other:
            world = World(Feed(settings, stream, client), con, other)
            with world.attached():
                yield world

    return make
