"""Bucket, ledger and landing table are compared in parts, copies in the bucket of the raw files."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lotus_lake.lake.data_files import forget
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.repair.reconcile import reconcile
from tests.feeds import SHAPE, Feed, parquet, some_rows


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """DuckLake's own files beside the raw ones, in one bucket."""
    data_path = environment["LAKE_RAW_URI"].replace("/raw", "/lake")
    return environment | {"LAKE_DATA_PATH": data_path}


def test_a_comparison_in_many_parts_finds_everything_once(
    feed: Feed, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [feed.put(f"part_{number}.parquet") for number in range(7)]
    text_ids = {**SHAPE, "id": pa.string()}
    rows = [{**row, "id": str(row["id"])} for row in some_rows(2)]
    copied = feed.put("part_3a.parquet", rows, shape=text_ids)
    feed.run(lake)
    assert feed.events(lake)[copied] == ["copied"]
    feed.client.put_object(
        Bucket=feed.settings.bucket, Key="elsewhere/a.parquet", Body=parquet(some_rows(2))
    )
    for key in (keys[2], "elsewhere/a.parquet"):
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', ?, ?, schema => 'staging', "
            "allow_missing => true)",
            [feed.stream.landing_table, lake.settings.uri(key)],
        )
    head = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    lost = [(lake.settings.uri(keys[5]), head + 1)]
    assert forget(lake, feed.stream.landing_table, lost) == 1
    monkeypatch.setattr("lotus_lake.ledger.registrations._COMPARED_EVENTS", 2)
    found = reconcile(lake, feed.stream, feed.client, "reconcile")
    assert (found.listed, found.requeued, found.registered) == (8, 1, 1)
    assert found.unknown_data_files == 2
