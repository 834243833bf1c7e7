"""What a run has read and written, for lineage: names, columns, versions, numbers."""

from __future__ import annotations

from collections.abc import Callable

from lotus_lake.bucket.keys import layout_of
from lotus_lake.lake.session import Lake
from lotus_lake.lake.table_versions import written_in
from lotus_lake.observe.flows import Flow, landed
from tests.feeds import Feed

PEOPLE = "lakehouse.main.people"


def test_a_run_has_landed_what_its_own_snapshots_have_added(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed("orders", batch_files=1)
    flows = []
    for run, rows in (("first", (3, 4)), ("second", (5,))):
        for number, count in enumerate(rows):
            feed.put(f"{run}_{number}.parquet", count)
        feed.run(lake, run)
        flows.append(landed(lake, feed.stream, run))
    first, second = flows
    table = feed.stream.landing_table
    bucket, prefix = lake.settings.bucket, layout_of(lake.settings, feed.stream).prefix
    for flow, count in ((first, 7), (second, 5)):
        (objects,), output = flow.inputs, flow.output
        assert output is not None
        assert flow.written is not None
        assert (objects.namespace, objects.name) == (f"s3://{bucket}", prefix.rstrip("/"))
        assert output.namespace == f"ducklake:{lake.settings.data_path.rstrip('/')}"
        assert output.name == f"lakehouse.staging.{table}"
        assert flow.written == flow.read
        assert (flow.written.rows, flow.written.files) == (count, len(flow.keys))
        sizes = [feed.client.head_object(Bucket=bucket, Key=key) for key in flow.keys]
        assert flow.written.size_bytes == sum(size["ContentLength"] for size in sizes)
        assert [c.name for c in output.columns if c.name not in flow.origins] == [
            "_lake_rescued", "year", "month", "day",
        ]  # fmt: skip
    query = f"SELECT count(*) FROM lakehouse.staging.{table} AT (VERSION => {{}}) WHERE year > 0"
    versions = [flow.output.version for flow in flows if flow.output]
    assert [lake.value(query.format(version)) for version in versions] == [7, 12]
    assert landed(lake, feed.stream, "third") == Flow()


def test_rows_in_the_catalog_and_rows_in_files_are_counted(lake: Lake) -> None:
    made = []
    for statement in (
        f"CREATE TABLE {PEOPLE} (id INTEGER)",
        f"INSERT INTO {PEOPLE} SELECT range FROM range(3)",
        f"INSERT INTO {PEOPLE} SELECT range FROM range(3000)",
        f"DELETE FROM {PEOPLE} WHERE id < 2",
    ):
        lake.con.execute(statement)
        made.append(lake.current_snapshot())
    found = [written_in(lake, "main", "people", {snapshot}) for snapshot in made]
    assert [written.rows for written in found] == [0, 3, 3000, 0]
    assert [written.files for written in found] == [0, 0, 1, 0]
    assert found[2].size_bytes > 0
    assert written_in(lake, "main", "people", {*made}).rows == 3003
