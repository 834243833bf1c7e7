"""What a refusal has to be: an error of ours, nothing half done, and a next run that goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError
from lotus_lake.lake.connection import open_lake
from tests.feeds import SHAPE, Feed, some_rows

SECRETS = ("s3-secret-of-the-tests", "not-the-secret", "pg-secret")


@contextlib.contextmanager
def refused(error: type[LotusLakeError], *words: str) -> Iterator[None]:
    """The block ends in such an error; its text has a hint, these words and no secret."""
    with pytest.raises(error) as caught:
        yield
    text = str(caught.value)
    assert caught.value.hint
    assert [word for word in words if word not in text] == [], text
    assert [secret for secret in SECRETS if secret in text] == []


@contextlib.contextmanager
def unchanged(feed: Feed) -> Iterator[None]:
    """Ledger, guard and landing table are the same after the block as before."""
    before = state(feed)
    yield
    assert state(feed) == before


def state(feed: Feed) -> dict[str, Any]:
    """All that is known of a stream."""
    with open_lake(feed.settings) as lake:
        return {
            "events": lake.rows("SELECT * FROM lakehouse.meta.file_events ORDER BY ALL"),
            "guard": feed.guard(lake),
            "rows": feed.landed(lake),
        }


def everything_lands(feed: Feed, settings: Settings | None = None) -> None:
    """The next run lands every file that was ever put there, once."""
    with open_lake(settings or feed.settings) as lake:
        feed.run(lake)
        assert feed.landed(lake) == feed.rows_of(feed.sent)
        assert {events[-1] for events in feed.events(lake).values()} <= {"registered", "copied"}


def put_misfit(feed: Feed) -> None:
    """Put a file that can only land as a copy."""
    rows = [{**row, "amount": 3} for row in some_rows(3)]
    feed.put("misfit.parquet", rows, shape={**SHAPE, "amount": pa.int64()})
