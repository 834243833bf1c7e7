"""SQL that may only read: whatever it says, nothing is written, deleted, or read from elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, METADATA, Lake
from lotus_lake.observe.query import run_query
from tests.catalogs import on_sqlite
from tests.feeds import Feed


@pytest.fixture
def fed(make_feed: Callable[..., Feed]) -> Feed:
    """A stream with a landed file; its ledger rows are inlined in the catalog."""
    feed = make_feed()
    feed.put("part_0.parquet")
    with open_lake(feed.settings) as lake:
        feed.run(lake)
    return feed


@pytest.fixture
def reader(fed: Feed) -> Iterator[Lake]:
    """Its lake, open for reading."""
    with open_lake(fed.settings, read_only=True) as lake:
        yield lake


@on_sqlite
def test_no_progress_bar_is_drawn_among_the_rows(reader: Lake) -> None:
    assert reader.value("SELECT current_setting('enable_progress_bar')") is False


WRITING = (
    "DELETE FROM staging.stg_shop__orders",
    "SELECT 1; DROP TABLE meta.file_events",
    "CREATE TABLE main.notes AS SELECT 1 AS id",
    "COPY (SELECT 1) TO '{out}'",
    "COPY (SELECT 1) TO '{raw}out.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{raw}out.parquet'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{raw}out.parquet'",
    "EXPLAIN ANALYZE DELETE FROM staging.stg_shop__orders",
    "PREPARE p AS COPY (SELECT 1) TO '{raw}out.parquet'; EXECUTE p",
    "SET profiling_output = '{out}'; PRAGMA enable_profiling; SELECT 1",
    "PRAGMA enable_profiling = 'json'",
    "CALL enable_logging('QueryLog', storage => 'file', storage_config => {{'path': '{out}'}})",
    "CHECKPOINT {lake}",
    "FORCE CHECKPOINT {lake}",
    "CALL ducklake_flush_inlined_data('{lake}')",
    "FROM ducklake_flush_inlined_data('{lake}')",
    "CALL {lake}.set_option('auto_compact', true)",
    "CALL ducklake_cleanup_old_files('{lake}', cleanup_all => true)",
    "FROM ducklake_delete_orphaned_files('{lake}', cleanup_all => true)",
    "FROM {lake}.expire_snapshots(versions => [1])",
    "FROM query('FROM ducklake_clean' || 'up_old_files(''{lake}'', cleanup_all => true)')",
    "SELECT * FROM (SELECT 1) AS one, LATERAL (FROM query('SELECT 1'))",
    "WITH x AS (FROM query('SELECT 1')) SELECT (SELECT count(*) FROM x)",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "FROM sqlite_query('{metadata}', 'SELECT 1')",
    "FROM postgres_query('{metadata}', 'SELECT 1')",
    "CALL postgres_execute('{metadata}', 'CREATE TABLE x (id int)')",
    "ATTACH ':memory:' AS other",
    "ATTACH '{out}' AS other",
    "EXPORT DATABASE '{out}'",
    "INSTALL spatial",
    "LOAD spatial",
    "SET GLOBAL enable_external_access = true",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE TEMP TABLE x AS SELECT 1",
    "USE memory",
    "BEGIN; COMMIT",
)

ELSEWHERE = (
    "FROM read_text('{secret}')",
    "FROM read_csv('{secret}')",
    "FROM '{secret}'",
    "SELECT (SELECT content FROM read_blob('{secret}'))",
    "FROM glob('{folder}*')",
    "FROM sniff_csv('{secret}')",
    "FROM read_parquet('s3://another-bucket/a.parquet')",
    "FROM 'http://127.0.0.1:9/a.parquet'",
    "FROM sqlite_scan('{secret}', 't')",
    "FROM postgres_scan('host=127.0.0.1', 'public', 't')",
)


def everything(feed: Feed) -> tuple[object, ...]:
    """What a statement could have changed: snapshots, objects, data files."""
    with open_lake(feed.settings) as lake:
        snapshot = lake.current_snapshot()
    listed = feed.client.list_objects_v2(Bucket=feed.settings.bucket)
    data = Path(feed.settings.data_path).rglob("*")
    return snapshot, {item["Key"] for item in listed["Contents"]}, {*data}


def refusal(lake: Lake, sql: str) -> str:
    """The error that a statement ends with."""
    with pytest.raises(PermanentError) as caught:
        pytest.fail(f"{sql} was run: {run_query(lake, sql)}")
    return str(caught.value)


def test_sql_that_is_only_to_read_cannot_write(fed: Feed, reader: Lake, tmp_path: Path) -> None:
    before = everything(fed)
    out = tmp_path / "out"
    names = {"lake": LAKE, "metadata": METADATA, "out": out, "raw": f"{fed.settings.raw_uri}/"}
    for sql in WRITING:
        assert "--write" in refusal(reader, sql.format(**names))
    assert everything(fed) == before
    assert not out.exists()


@on_sqlite
def test_sql_that_is_only_to_read_reads_nothing_but_the_lake(reader: Lake, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nhunter2\n")
    for sql in ELSEWHERE:
        error = refusal(reader, sql.format(secret=secret, folder=f"{tmp_path}/"))
        assert "--external-access" in error or "--write" in error
        assert "hunter2" not in error


@on_sqlite
def test_files_elsewhere_can_be_asked_for_and_still_not_be_written(
    reader: Lake, tmp_path: Path
) -> None:
    names = tmp_path / "names.csv"
    names.write_text("word\nhello\n")
    assert run_query(reader, f"FROM '{names}'", external_access=True).rows == [("hello",)]
    with pytest.raises(PermanentError, match="--write"):
        run_query(reader, f"COPY (SELECT 1) TO '{tmp_path}/out'", external_access=True)


READING = (
    "SELECT 1",
    "FROM staging.stg_shop__orders",
    "FROM meta.feeder_files; FROM meta.feeder_files",
    "TABLE meta.feeder_cursors",
    "VALUES (1), (2)",
    "WITH x AS (SELECT 1 AS id) SELECT * FROM x",
    "DESCRIBE staging.stg_shop__orders",
    "SUMMARIZE staging.stg_shop__orders",
    "SHOW ALL TABLES",
    "EXPLAIN SELECT count(*) FROM staging.stg_shop__orders",
    "explain analyze\nSELECT count(*) FROM staging.stg_shop__orders",
    "PIVOT staging.stg_shop__orders ON status IN ('paid') USING count(*)",
    "FROM {lake}.snapshots()",
    "FROM {lake}.table_info()",
    "FROM ducklake_snapshots('{lake}')",
    "FROM ducklake_table_insertions('{lake}', 'staging', 'stg_shop__orders', 4, 5)",
    "FROM staging.stg_shop__orders AT (VERSION => 4)",
    "FROM '{raw}**/*.parquet'",
    "SELECT * FROM parquet_metadata('{raw}shop/orders/**/*.parquet')",
    "SELECT unnest([1, 2]), * FROM range(3)",
    "FROM duckdb_tables()",
    "FROM {metadata}.ducklake_table",
)


def test_what_reads_is_answered(fed: Feed, reader: Lake) -> None:
    names = {"lake": LAKE, "metadata": METADATA, "raw": f"{fed.settings.raw_uri}/"}
    for sql in READING:
        assert run_query(reader, sql.format(**names)).columns, sql


@on_sqlite
def test_a_pivot_over_whatever_values_there_are_is_told_what_to_do(reader: Lake) -> None:
    with pytest.raises(PermanentError, match=r"PIVOT .* IN"):
        run_query(reader, "PIVOT staging.stg_shop__orders ON status USING count(*)")


@on_sqlite
def test_ctrl_c_ends_a_long_query(reader: Lake) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of xdist has none
    press = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    press.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_query(reader, "SELECT count(*) FROM range(30_000_000_000) AS n(i) WHERE i % 7 = 3")
    finally:
        signal.signal(signal.SIGINT, before)
    assert run_query(reader, "SELECT 1 AS one").rows == [(1,)]


def test_the_prompt_answers_query_after_query_and_changes_nothing(
    fed: Feed, environment: dict[str, str]
) -> None:
    typed = (
        "SELECT count(*) AS files\nFROM meta.feeder_files;\nDROP TABLE meta.attempts;\nSELECT 2;"
    )
    done = subprocess.run(
        [sys.executable, "-m", "lotus_lake.cli", "ui", "--prompt"],
        input=typed, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "files" in done.stdout
    assert "so only queries can run" in done.stderr
    assert done.stdout.rstrip().splitlines()[-1].split()[-1] in ("2", "lake>")
    with open_lake(fed.settings) as lake:
        assert "attempts" in lake.tables("meta")
