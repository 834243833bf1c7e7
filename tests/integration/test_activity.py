"""What happened to a stream over time, and to its landing table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.schema_changes import read_changes
from lotus_lake.observe.activity import read_activity
from lotus_lake.observe.spans import SPANS
from tests.feeds import DAY, FIELDS, SHAPE, Feed, some_rows, write_stream


@pytest.mark.parametrize("span", SPANS)
def test_every_landing_is_in_one_part_of_the_span(feed: Feed, lake: Lake, span: str) -> None:
    assert not any(part.files for part in read_activity(lake, feed.stream, span))
    feed.put("part_0.parquet", 3)
    feed.put("part_1.parquet", 4, day=DAY + timedelta(days=1))
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.run(lake)

    parts = read_activity(lake, feed.stream, span)

    length, part = SPANS[span]
    assert len(parts) == length / part
    assert {b.since - a.since for a, b in pairwise(parts)} == {part}
    assert sum(p.files for p in parts) == 2
    assert sum(p.rows for p in parts) == 7
    assert sum(p.refused for p in parts) == 1
    sizes = lake.value(f"SELECT sum(size_bytes) FROM {META}.feeder_files WHERE row_count > 0")
    assert sum(p.size_bytes for p in parts) == sizes
    (landed,) = [p for p in parts if p.files]
    assert landed.lag_seconds is not None
    assert 0 <= landed.lag_seconds < 60
    assert landed.since <= datetime.now(UTC) < landed.since + 2 * part

    later = datetime.now(UTC) + length + part
    assert not any(p.files for p in read_activity(lake, feed.stream, span, later))


@pytest.mark.parametrize("minute", [0, 29, 31, 59])
def test_a_landing_belongs_to_the_hour_in_which_it_was(feed: Feed, lake: Lake, minute: int) -> None:
    feed.put()
    feed.run(lake)
    at = datetime(2026, 3, 10, 14, minute, 59, 999999, UTC)
    lake.con.execute(f"UPDATE {META}.file_events SET recorded_at = ?", [at])
    now = datetime(2026, 3, 10, 14, 59, 59, 999999, UTC)
    (landed,) = [part for part in read_activity(lake, feed.stream, "day", now) if part.files]
    assert landed.since == datetime(2026, 3, 10, 14, tzinfo=UTC)


def test_a_column_is_noted_with_the_file_that_brought_it(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet", 3)
    feed.run(lake)
    assert read_changes(lake, feed.stream) == []
    rows = [{**row, "vat": 1.5} for row in some_rows(1)]
    key = feed.put("part_1.parquet", rows, shape={**SHAPE, "vat": pa.float64()})
    feed.put("part_2.parquet", rows, shape={**SHAPE, "vat": pa.float64()})
    feed.run(lake)
    (change,) = read_changes(lake, feed.stream)
    assert (change.column_path, change.change, change.type) == ("vat", "added", "DOUBLE")
    assert change.key == key


def test_a_column_of_the_config_is_noted_without_a_file(feed: Feed, lake: Lake) -> None:
    feed.put()
    feed.run(lake)
    fields = {**FIELDS, "note": {"type": "string"}}
    stream = write_stream(feed.settings.streams_dir, feed.stream.name, fields)
    again = replace(feed, stream=stream)
    again.put("part_9.parquet")
    again.run(lake)
    (change,) = read_changes(lake, stream)
    assert (change.column_path, change.key) == ("note", None)


def test_the_view_of_the_balance_adds_up(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet", 3)
    feed.put("part_1.parquet", 4)
    feed.put("empty.parquet", 0)
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.run(lake)
    found = lake.rows(f"SELECT event, files, row_count FROM {META}.balance ORDER BY event")
    assert found == [("empty", 1, 0), ("quarantined", 1, 0), ("registered", 2, 7)]
