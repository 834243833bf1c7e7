"""What DuckLake does with objects that are damaged, replaced or gone: why we look and forget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from tests.catalogs import on_sqlite

METADATA = f"__ducklake_metadata_{LAKE}"


@pytest.fixture
def table(lake: Lake) -> str:
    """A table of one column and the day of the path."""
    lake.con.execute(f"CREATE TABLE {LAKE}.main.t (id BIGINT, day VARCHAR)")
    lake.con.execute(f"CALL {LAKE}.set_option('data_inlining_row_limit', 0, table_name => 't')")
    return f"{LAKE}.main.t"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a Parquet file of a day."""

    def write(day: str, *ids: int) -> Path:
        path = tmp_path / "raw" / f"day={day}" / "a.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), path, compression="none")
        return path

    return write


def damage(path: Path) -> Path:
    """Wipe out everything between the first bytes and the footer."""
    data = path.read_bytes()
    body = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(b"PAR1" + bytes(body - 4) + data[body:])
    return path


def add(lake: Lake, *paths: Path) -> None:
    lake.con.execute(
        f"CALL ducklake_add_data_files('{LAKE}', 't', ?::VARCHAR[])", [list(map(str, paths))]
    )


def ids(lake: Lake, table: str) -> list[int]:
    return [value for (value,) in lake.rows(f"SELECT id FROM {table} ORDER BY id")]


@on_sqlite
def test_a_damaged_body_registers_and_fails_whoever_reads_it(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """Why every value is read before a file lands."""
    add(lake, damage(write("01", *range(1000))))
    assert lake.value(f"SELECT count(*) FROM {table}") == 1000  # told by the metadata
    with pytest.raises(duckdb.Error):
        ids(lake, table)


def test_an_object_that_is_gone_cannot_be_deleted_from_its_table(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """Why registrations are forgotten in the metadata."""
    gone, there = write("01", 1), write("02", 2)
    add(lake, gone, there)
    gone.unlink()
    with open_lake(lake.settings) as fresh:  # this one has the footer in its cache
        for statement in ("DELETE FROM {} WHERE day = '01'", "TRUNCATE {}", "SELECT id FROM {}"):
            with pytest.raises(duckdb.IOException, match="Cannot open file"):
                fresh.con.execute(statement.format(table)).fetchall()
        assert fresh.rows(f"SELECT id FROM {table} WHERE day = '02'") == [(2,)]


def test_a_registration_taken_out_of_the_metadata_leaves_the_others_readable(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """What `data_files.forget` relies on."""
    gone, there = write("01", 1), write("02", 2)
    add(lake, gone, there)
    gone.unlink()
    for name in ("ducklake_file_column_stats", "ducklake_data_file"):
        lake.con.execute(
            f"DELETE FROM {METADATA}.{name} WHERE data_file_id IN (SELECT data_file_id FROM "
            f"{METADATA}.ducklake_data_file WHERE path = ?)"
            if name != "ducklake_data_file"
            else f"DELETE FROM {METADATA}.{name} WHERE path = ?",
            [str(gone)],
        )
    assert ids(lake, table) == [2]
    assert lake.value(f"SELECT count(*) FROM {table}") == 1
    write("01", 3)
    add(lake, gone)
    assert ids(lake, table) == [2, 3]
    lake.con.execute(f"DELETE FROM {table} WHERE day = '01'")
    assert ids(lake, table) == [2]


def clean_up(lake: Lake) -> None:
    lake.con.execute(
        f"CALL ducklake_expire_snapshots('{LAKE}', older_than => now() + INTERVAL 2 DAY)"
    )
    lake.con.execute(f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)")


def test_clean_up_deletes_whatever_is_at_the_address_by_then(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """Why upkeep compares what it deletes with what was retired."""
    path = write("01", 1)
    add(lake, path)
    lake.con.execute(f"DELETE FROM {table} WHERE day = '01'")
    write("01", 2, 3)
    clean_up(lake)
    assert not path.exists()


def test_dropping_a_table_deletes_its_raw_files(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """Another reason why."""
    path = write("01", 1)
    add(lake, path)
    lake.con.execute(f"DROP TABLE {table}")
    clean_up(lake)
    assert not path.exists()


def test_a_row_of_ours_on_the_list_of_deletions_is_worked_off(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """How objects go that DuckLake never registered."""
    path = write("01", 1)
    lake.con.execute(
        f"INSERT INTO {METADATA}.ducklake_files_scheduled_for_deletion "
        "(data_file_id, path, path_is_relative, schedule_start) VALUES (?, ?, false, now())",
        [2**62, str(path)],
    )
    lake.con.execute(f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)")
    assert not path.exists()
    assert lake.rows(f"FROM {METADATA}.ducklake_files_scheduled_for_deletion") == []


def test_a_delete_file_is_on_the_list_from_the_commit_on_that_replaces_it(
    lake: Lake, table: str
) -> None:
    """Why upkeep lets files wait for days: readers that began before still need it."""
    lake.con.execute(f"INSERT INTO {table} SELECT i, '01' FROM range(100) AS r (i)")
    for last in (10, 20):
        lake.con.execute(f"DELETE FROM {table} WHERE id < {last}")
    head = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    (old,) = lake.rows(f"SELECT path FROM {METADATA}.ducklake_files_scheduled_for_deletion")
    assert old[0].endswith("-delete.parquet")
    for snapshot, rows in ((head - 1, 90), (head, 80)):  # the new one knows when each row went
        found = lake.value(f"SELECT count(*) FROM {table} AT (VERSION => {snapshot})")
        assert found == rows


def test_rows_that_go_and_files_that_come_are_one_snapshot(
    lake: Lake, table: str, write: Callable[..., Path]
) -> None:
    """How a generation takes the place of another."""
    old, new = write("01", 1), write("02", 2)
    add(lake, old)
    head = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    lake.con.execute("BEGIN")
    lake.con.execute(f"DELETE FROM {table}")
    add(lake, new)
    lake.con.execute("COMMIT")
    assert lake.value(f"SELECT id FROM {LAKE}.current_snapshot()") == head + 1
    assert ids(lake, table) == [2]
    assert lake.rows(f"SELECT id FROM {table} AT (VERSION => {head})") == [(1,)]
    assert old.exists()
