"""The whole way of the library, over the sample history: every row of every stream lands once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.lake.session import STAGING, Lake
from samples import History, generate, write_files
from tests.catalogs import on_sqlite
from tests.feeds import Feed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = on_sqlite


@pytest.fixture(scope="module")
def history() -> History:
    return generate()


@pytest.fixture
def environment(environment: dict[str, str], bucket: str) -> dict[str, str]:
    """The streams of this checkout; the lake's own files in the bucket beside the raw ones."""
    return {
        **environment,
        "LAKE_STREAMS_DIR": str(PROJECT / "include" / "streams"),
        "LAKE_DATA_PATH": f"s3://{bucket}/lake",
    }


@pytest.fixture
def streams(settings: Settings) -> list[Stream]:
    found, errors = load_streams(settings.streams_dir)
    assert (len(found), errors) == (9, [])
    return found


@pytest.fixture
def lake(lake: Lake) -> Lake:
    """The lake, with the discovered schemas of this checkout."""
    sources = PROJECT / "include" / "sources"
    return dataclasses.replace(
        lake, settings=dataclasses.replace(lake.settings, sources_dir=sources)
    )


def test_every_row_of_the_samples_lands_in_one_pass(
    history: History, lake: Lake, streams: list[Stream], client: S3Client
) -> None:
    assert write_files(history.files, lake.settings.raw_uri, client) == len(history.files)
    sent: Counter[str] = Counter()
    for file in history.files:
        sent[f"{file.source}__{file.stream}"] += file.row_count
    landed = {}
    for stream in streams:
        feed = Feed(lake.settings, stream, client)
        total = feed.run(lake).total
        assert total.quarantined == 0, feed.errors(lake)
        assert feed.errors(lake) == {}
        assert set(feed.events(lake)) == feed.objects()
        table = f"{STAGING}.{stream.landing_table}"
        landed[stream.id] = lake.value(f"SELECT count(DISTINCT _airbyte_raw_id) FROM {table}")
        assert lake.value(f"SELECT count(*) FROM {table}") == landed[stream.id] == total.row_count
    assert landed == dict(sent)
    assert sum(landed.values()) > 2000
