"""Eight processes at once: on one stream they conflict and one wins, on eight nobody loses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lotus_lake.config.settings import Settings
from tests.chaos.races import race

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROCESSES = 8


@pytest.mark.parametrize(("streams", "files"), [(1, 8), (PROCESSES, 1)])
def test_processes_that_feed_at_once_lose_and_double_nothing(
    settings: Settings, client: S3Client, tmp_path: Path, streams: int, files: int
) -> None:
    end = race(settings, client, tmp_path, streams=streams, processes=PROCESSES, files=files)
    assert (end.failed, end.losses, end.doubles) == (0, 0, 0)
    assert end.files == streams * files
    assert end.rows > 0
    if streams == 1 and settings.catalog.kind == "postgres":
        assert end.conflicts > 0
