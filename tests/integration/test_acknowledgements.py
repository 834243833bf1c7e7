"""What a person has seen is silent until something about it is new."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lotus_lake.errors import PermanentError
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.acknowledgements import acknowledged_files, read_acknowledged
from lotus_lake.ledger.events import REFUSED
from lotus_lake.observe.overview import StreamOverview, read_overview
from lotus_lake.operations import Acknowledge, carry_out
from lotus_lake.repair.quarantine import retry
from tests.catalogs import on_sqlite
from tests.feeds import Feed


def acknowledge(feed: Feed, lake: Lake, *keys: str) -> None:
    carry_out(lake, feed.stream, Acknowledge("anna", keys), "acknowledge")


def overview(lake: Lake) -> StreamOverview:
    (found,) = read_overview(lake, datetime.now(UTC)).streams
    return found


def unseen(lake: Lake) -> list[str]:
    """What is wrong and nobody has seen."""
    return [one.condition for one in overview(lake).findings if not one.is_acknowledged]


@pytest.fixture
def bad(feed: Feed, lake: Lake) -> Feed:
    """A stream with a file in quarantine."""
    feed.put()
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.run(lake)
    return feed


def test_a_stream_is_seen_by_somebody_until_a_file_fails_that_they_have_not_seen(
    bad: Feed, lake: Lake
) -> None:
    before = bad.events(lake)
    assert (unseen(lake), overview(lake).acknowledged) == (["quarantined"], None)
    acknowledge(bad, lake)
    found = overview(lake)
    assert (unseen(lake), found.verdict.state, bad.events(lake)) == ([], "broken", before)
    assert found.acknowledged is not None
    assert (found.acknowledged.by, found.acknowledged.reasons) == (
        "anna", ("1 file in quarantine",),
    )  # fmt: skip
    # The same file is news once somebody has tried it again.
    retry(lake, bad.stream, [], "retry")
    bad.run(lake)
    assert (unseen(lake), overview(lake).acknowledged) == (["quarantined"], None)
    acknowledge(bad, lake)
    assert unseen(lake) == []


@on_sqlite
def test_a_file_is_seen_by_its_key_and_others_are_not(bad: Feed, lake: Lake) -> None:
    bad.put_bytes("worse.parquet", b"x" * 98)
    bad.run(lake)
    acknowledge(bad, lake, bad.key("broken.parquet"))
    assert unseen(lake) == ["quarantined"]
    acknowledge(bad, lake, bad.key("worse.parquet"))
    assert unseen(lake) == []
    seen = acknowledged_files(lake, "shop", "orders")
    assert {key: (one.by, one.reasons) for key, one in seen.items()} == {
        bad.key(name): ("anna", ("quarantined",)) for name in ("broken.parquet", "worse.parquet")
    }
    assert read_acknowledged(lake)["shop/orders"].latest is None


@on_sqlite
def test_a_file_that_the_store_refuses_again_is_no_news(bad: Feed, lake: Lake) -> None:
    acknowledge(bad, lake)
    again: dict[str, Any] = {"event": "quarantined", "remark": REFUSED}
    lake.con.execute(
        f"INSERT INTO {META}.file_events BY NAME SELECT * REPLACE ($remark AS remark, "
        f"version + 1 AS version, now() AS recorded_at) FROM {META}.file_events "
        "WHERE event = $event",
        again,
    )
    assert unseen(lake) == []


@on_sqlite
def test_there_has_to_be_something_to_acknowledge(feed: Feed, lake: Lake) -> None:
    feed.put()
    feed.run(lake)
    for keys, told in (((), "nothing is wrong with shop__orders"), (("x",), "nor missing: x")):
        with pytest.raises(PermanentError, match=told):
            acknowledge(feed, lake, *keys)
    assert read_acknowledged(lake) == {}
