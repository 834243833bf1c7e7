"""A file in quarantine is shown, tried again, replaced or dropped; it is never forgotten."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from lotus_lake.errors import PermanentError
from lotus_lake.feeder.register import Registration
from lotus_lake.lake.session import Lake
from lotus_lake.repair import quarantine
from tests.catalogs import on_sqlite
from tests.feeds import SHAPE, Feed, parquet, some_rows

pytestmark = on_sqlite


def test_what_is_in_quarantine_is_listed_with_its_reason(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    assert quarantine.list_quarantined(lake, None, None) == []
    orders, lines = make_feed(), make_feed("lines")
    keys = [feed.put_bytes("part_0.parquet", b"x" * 99) for feed in (orders, lines)]
    for feed in (orders, lines):
        feed.run(lake)
    found = quarantine.list_quarantined(lake, None, None)
    assert [file.key for file in found] == keys
    assert {file.size_bytes for file in found} == {99}
    assert all("No magic bytes" in file.error for file in found)
    assert quarantine.list_quarantined(lake, "shop", "lines") == found[1:]


def test_a_file_is_tried_again_and_lands_when_the_reason_has_gone(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_schema_change="fail")
    rows = [{**row, "coupon": "SUMMER"} for row in some_rows(2)]
    key = feed.put(rows=rows, shape={**SHAPE, "coupon": pa.string()})
    assert feed.run(lake).total.quarantined == 1
    assert quarantine.retry(lake, feed.stream, [], "by hand") == 1
    assert feed.run(lake).total.quarantined == 1
    feed = make_feed(on_schema_change="evolve")
    feed.sent[key] = [row["_airbyte_raw_id"] for row in rows]
    quarantine.retry(lake, feed.stream, [key], "by hand")
    assert feed.run(lake).total == Registration(1, 0, 0, 2)
    assert feed.landed(lake) == feed.rows_of([key])
    assert quarantine.list_quarantined(lake, None, None) == []


def test_a_mended_object_lands_by_itself(feed: Feed, lake: Lake) -> None:
    key = feed.put_bytes("part_0.parquet", b"x" * 99)
    feed.run(lake)
    feed.put("part_0.parquet", rows=2)
    assert feed.run_afresh().total.registered == 1
    assert feed.events(lake)[key] == ["replaced", "registered"]
    assert quarantine.list_quarantined(lake, None, None) == []


def test_a_dropped_file_does_not_come_back(feed: Feed, lake: Lake) -> None:
    key, other = feed.put_bytes("part_0.parquet", b"x" * 99), feed.put("part_1.parquet")
    feed.run(lake)
    assert quarantine.drop(lake, feed.stream, [key], "by hand") == 1
    assert feed.run(lake).total == Registration()
    assert feed.events(lake) == {key: ["ignored"], other: ["registered"]}
    assert feed.errors(lake)[key] == "dropped by a person"
    assert key in feed.objects()


def test_a_key_that_can_never_land_is_not_tried_again(feed: Feed, lake: Lake) -> None:
    feed.put("ab.parquet")
    unsafe = feed.put_bytes("a*.parquet", parquet(some_rows(1)))
    feed.run(lake)
    assert quarantine.retry(lake, feed.stream, [], "by hand") == 0
    with pytest.raises(PermanentError, match=r"a\*\.parquet can never land: key has characters"):
        quarantine.retry(lake, feed.stream, [unsafe], "by hand")


def test_a_key_that_is_not_in_quarantine_is_told(feed: Feed, lake: Lake) -> None:
    with pytest.raises(PermanentError, match="was never fed"):
        quarantine.retry(lake, feed.stream, [], "by hand")
    key = feed.put()
    feed.run(lake)
    for action in (quarantine.retry, quarantine.drop):
        with pytest.raises(PermanentError, match="not in the quarantine of shop__orders: raw/"):
            action(lake, feed.stream, [key], "by hand")
