"""Rows that do not say when they were extracted are older than those that do, in any order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations

import pyarrow as pa
import pytest

from lotus_lake.lake.session import Lake
from tests.catalogs import on_sqlite
from tests.feeds import Feed, Shape
from tests.property.processed import process, rows
from tests.property.records import FIELDS

pytestmark = on_sqlite

OF_TODAY: Shape = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": pa.timestamp("ms", tz="UTC"),
    "id": pa.int64(),
    "status": pa.string(),
    "updated_at": pa.timestamp("ms", tz="UTC"),
}
OF_OLD: Shape = {name: kind for name, kind in OF_TODAY.items() if not name.startswith("_airbyte")}
VERSIONS = [
    ("old", OF_OLD, datetime(2026, 3, 1, tzinfo=UTC)),
    ("less old", OF_OLD, datetime(2026, 3, 2, tzinfo=UTC)),
    ("new", OF_TODAY, datetime(2026, 3, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize("order", list(permutations(VERSIONS)))
def test_a_row_without_a_time_never_beats_one_with_it(
    make_feed: Callable[..., Feed], lake: Lake, order: list[tuple[str, Shape, datetime]]
) -> None:
    feed = make_feed("orders", FIELDS)
    for number, (status, shape, updated_at) in enumerate(order):
        row = {
            "_airbyte_raw_id": "r",
            "_airbyte_extracted_at": datetime(2026, 3, 10, tzinfo=UTC),
            "id": 1,
            "status": status,
            "updated_at": updated_at,
        }
        feed.put(f"part_{number}.parquet", [row], shape=shape)
        assert feed.run(lake).total.registered == 1
        process(lake, feed.stream)
    assert [row[2] for row in rows(lake, feed.stream)] == ["new"]
