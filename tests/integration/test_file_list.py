"""A batch is registered as one glob: what DuckLake then writes is what it writes for a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_lake.config.settings import Settings
from lotus_lake.errors import RegistrationError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake import data_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, METADATA, Lake
from lotus_lake.repair.reconcile import reconcile
from tests.catalogs import on_sqlite
from tests.children import Watched, let_pass
from tests.feeds import Feed

COLUMNS = {
    "id": ("BIGINT", pa.int64(), st.integers(-9, 9)),
    "price": ("DOUBLE", pa.float64(), st.floats()),
    "total": ("DECIMAL(18,4)", pa.decimal128(18, 4), st.sampled_from([Decimal(1), Decimal(-2)])),
    "note": ("VARCHAR", pa.string(), st.text(st.characters(codec="utf-8"), max_size=3)),
    "seen_at": (
        "TIMESTAMP WITH TIME ZONE",
        pa.timestamp("us", tz="UTC"),
        st.sampled_from([datetime(1969, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, 9, tzinfo=UTC)]),
    ),
    "place": (
        "STRUCT(city VARCHAR)",
        pa.struct({"city": pa.string()}),
        st.fixed_dictionaries({"city": st.none() | st.sampled_from(["Oslo", "Rome"])}),
    ),
    "tags": ("VARCHAR[]", pa.list_(pa.string()), st.lists(st.sampled_from("ab"), max_size=2)),
}
# DuckLake's tables that say what is in a table, without the ids that it counts up.
WRITTEN = {
    "ducklake_data_file": "path, path_is_relative, file_format, record_count, file_size_bytes, "
    "footer_size, partition_id",
    "ducklake_table_stats": "record_count, file_size_bytes",
    "ducklake_table_column_stats": "column_id, contains_null, contains_nan, min_value, max_value",
    "ducklake_name_mapping": "source_name, target_field_id, is_partition",
}
BY_FILE = (
    "column_id, column_size_bytes, value_count, null_count, min_value, max_value, contains_nan"
)


@st.composite
def tables(draw: st.DrawFn) -> list[pa.Table]:
    """Files of one table: each has some of the columns, and rows, perhaps none."""
    files = []
    for _ in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
        count = draw(st.integers(0, 3))
        values = {
            name: draw(st.lists(st.none() | COLUMNS[name][2], min_size=count, max_size=count))
            for name in names
        }
        files.append(pa.table({name: pa.array(values[name], COLUMNS[name][1]) for name in names}))
    return files


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """One lake for many examples."""
    folder = tmp_path_factory.mktemp("lake")
    environment = {
        "LAKE_PROJECT_DIR": str(folder),
        "LAKE_CATALOG": f"sqlite:{folder / 'catalog.sqlite'}",
        "LAKE_DATA_PATH": str(folder / "data"),
        "LAKE_THREADS": "2",
    }
    with open_lake(Settings.from_env(environment)) as lake:
        lake.con.execute(f"CREATE SCHEMA {LAKE}.staging")
        yield lake


def create(lake: Lake, name: str) -> None:
    kinds = {name: kind for name, (kind, *_) in COLUMNS.items()} | {"month": "VARCHAR"}
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    lake.con.execute(f"CREATE TABLE {LAKE}.staging.{name} ({columns})")


def as_list(lake: Lake, table: str, paths: Sequence[str]) -> None:
    lake.con.execute(
        f"CALL ducklake_add_data_files('{LAKE}', ?, ?::VARCHAR[], schema => 'staging', "
        "allow_missing => true)",
        [table, list(paths)],
    )


def written(lake: Lake, table: str) -> list[list[Any]]:
    """What DuckLake's own tables hold of a table."""
    table_id = lake.value(
        f"SELECT table_id FROM {METADATA}.ducklake_table WHERE table_name = ?", [table]
    )
    of_table = {
        name: f"SELECT {columns} FROM {METADATA}.{name} WHERE table_id = {table_id}"
        for name, columns in WRITTEN.items()
        if name != "ducklake_name_mapping"
    }
    of_table["ducklake_name_mapping"] = (
        f"SELECT DISTINCT path, {WRITTEN['ducklake_name_mapping']} FROM {METADATA}."
        f"ducklake_name_mapping JOIN {METADATA}.ducklake_data_file USING (mapping_id) "
        f"WHERE table_id = {table_id}"
    )
    of_table["ducklake_file_column_stats"] = (
        f"SELECT path, {BY_FILE} FROM {METADATA}.ducklake_file_column_stats AS stats "
        f"JOIN {METADATA}.ducklake_data_file AS file USING (data_file_id) "
        f"WHERE file.table_id = {table_id}"
    )
    return [sorted(map(repr, lake.rows(query))) for query in of_table.values()]


@given(files=tables())
@settings(max_examples=15, deadline=None)
def test_ducklake_writes_for_the_glob_what_it_writes_for_the_list(
    shared: Lake, tmp_path_factory: pytest.TempPathFactory, files: list[pa.Table]
) -> None:
    folder = tmp_path_factory.mktemp("files") / "month=03"
    folder.mkdir()
    paths = [str(folder / f"{number}.parquet") for number in range(len(files))]
    for path, table in zip(paths, files, strict=True):
        pq.write_table(table, path)
    for name in ("listed", "globbed"):
        shared.con.execute(f"DROP TABLE IF EXISTS {LAKE}.staging.{name}")
        create(shared, name)
    as_list(shared, "listed", paths)
    shared.con.execute("BEGIN")
    data_files.register(shared, "globbed", paths, ignore_extra_columns=False)
    shared.con.execute("COMMIT")
    assert data_files.last_registered(shared, "globbed") == {
        (path, table.num_rows) for path, table in zip(paths, files, strict=True) if table.num_rows
    }
    live, other = written(shared, "globbed"), written(shared, "listed")
    assert live == other
    rows = [shared.rows(f"FROM {LAKE}.staging.{name}") for name in ("listed", "globbed")]
    assert sorted(map(repr, rows[0])) == sorted(map(repr, rows[1]))


@on_sqlite
def test_an_address_with_wildcards_stands_for_itself(lake: Lake, tmp_path: Path) -> None:
    lake.con.execute(f"CREATE SCHEMA {LAKE}.staging")
    lake.con.execute(f"CREATE TABLE {LAKE}.staging.t (id BIGINT)")
    for number, name in enumerate(("a*", "ab", "[x]")):
        pq.write_table(pa.table({"id": [number]}), tmp_path / f"{name}.parquet")
    chosen = [f"{tmp_path}/{name}.parquet" for name in ("a*", "[x]")]
    data_files.register(lake, "t", chosen, ignore_extra_columns=False)
    assert data_files.last_registered(lake, "t") == {(path, 1) for path in chosen}
    assert sorted(lake.rows(f"FROM {LAKE}.staging.t")) == [(0,), (2,)]


@on_sqlite
def test_the_error_of_a_glob_names_the_file(lake: Lake, tmp_path: Path) -> None:
    """How the files of a refused schema are found, and that nothing of the batch stays."""
    lake.con.execute(f"CREATE SCHEMA {LAKE}.staging")
    lake.con.execute(f"CREATE TABLE {LAKE}.staging.t (id BIGINT)")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "good.parquet")
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "other.parquet")
    paths = [f"{tmp_path}/{name}.parquet" for name in ("good", "other")]
    with pytest.raises(duckdb.Error, match=rf'Failed to map column .*"{paths[1]}"'):
        data_files.register(lake, "t", paths, ignore_extra_columns=False)
    assert lake.rows(f"FROM {LAKE}.staging.t") == []
    data_files.register(lake, "t", paths[:1], ignore_extra_columns=False)
    assert lake.rows(f"FROM {LAKE}.staging.t") == [(1,)]


class Forgetful(Watched):
    """A connection that loses the last file of each list."""

    def register_filesystem(self, files: Any) -> None:
        """Register fewer files than were asked for."""
        files._uris.pop()
        self.con.register_filesystem(files)


def test_a_lake_that_registers_less_than_the_ledger_says_is_an_error(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed()
    for number in range(3):
        feed.put(f"part_{number}.parquet")
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)
    forgetful = replace(lake, con=Forgetful(lake.con, let_pass))  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match=r"1 file .*part_\d\.parquet"):
        register_batch(forgetful, feed.stream, batch, "run")
    assert feed.landed(lake) != feed.rows_of(feed.sent)
    reconcile(lake, feed.stream, feed.client, "run")  # as the message says
    assert feed.landed(lake) == feed.rows_of(feed.sent)


@on_sqlite
def test_threads_are_what_they_were_after_a_commit_and_after_an_error(lake: Lake) -> None:
    def threads() -> int:
        return int(lake.value("SELECT current_setting('threads')"))

    def fail() -> None:
        raise KeyboardInterrupt

    with lake.threads(3):
        lake.commit("nothing", lambda: None)
        assert threads() == 3
        with pytest.raises(KeyboardInterrupt):
            lake.commit("nothing", fail)
        assert threads() == 3
    assert threads() == lake.settings.threads
