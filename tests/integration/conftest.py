"""Fixtures of the integration tests."""

from __future__ import annotations

import pytest

from lotus_lake.lake.connection import open_lake
from tests.feeds import Feed


@pytest.fixture
def half_fed(feed: Feed) -> Feed:
    """A stream with a file that has landed and one that waits."""
    feed.put("part_0.parquet")
    feed.run_afresh()
    feed.put("part_1.parquet")
    with open_lake(feed.settings) as lake:
        assert feed.list_files(lake).discovered == 1
    return feed
