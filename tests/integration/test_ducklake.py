"""The behaviours of DuckLake that the library relies on, or protects itself from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.landing.types import reads_as, widens_to
from tests.catalogs import on_postgres, on_sqlite

Add = Callable[..., None]


@pytest.fixture
def table(lake: Lake) -> str:
    """A table that takes the files of `write`."""
    lake.con.execute(
        f"CREATE TABLE {LAKE}.main.t (id BIGINT, year BIGINT, month VARCHAR, day VARCHAR)"
    )
    return f"{LAKE}.main.t"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a Parquet file with these ids; returns its path."""

    def write(name: str, ids: Sequence[int]) -> str:
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), path)
        return str(path)

    return write


@pytest.fixture
def add(lake: Lake, table: str) -> Add:
    """Register files."""

    def add(*paths: str) -> None:
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', 't', ?::VARCHAR[], allow_missing => true)",
            [list(paths)],
        )

    return add


def ids(lake: Lake, table: str) -> list[int]:
    return [value for (value,) in lake.rows(f"SELECT id FROM {table} ORDER BY id")]


def data_files(lake: Lake) -> int:
    return int(lake.value(f"SELECT count(*) FROM ducklake_list_files('{LAKE}', 't')"))


def snapshots(lake: Lake) -> int:
    return int(lake.value(f"SELECT count(*) FROM {LAKE}.snapshots()"))


# Transactions


@on_sqlite
def test_commit_of_an_aborted_transaction_answers_ok_and_does_nothing(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    """Why a failed unit of work is rolled back and raised, and the guard is read after a commit."""
    lake.con.execute("BEGIN")
    add(write("a.parquet", [1]))
    with pytest.raises(duckdb.IOException, match="No files found"):
        add("/no/such/file.parquet")
    with pytest.raises(duckdb.TransactionException, match="aborted"):
        lake.con.execute("SELECT 1")
    lake.con.execute("COMMIT")
    assert ids(lake, table) == []


def test_registration_and_rows_of_other_tables_are_one_snapshot_or_nothing(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    lake.con.execute(f"CREATE TABLE {LAKE}.main.ledger (n BIGINT)")
    before = snapshots(lake)
    for end, landed in (("ROLLBACK", []), ("COMMIT", [1, 2])):
        lake.con.execute("BEGIN")
        add(write("a.parquet", [1]), write("b.parquet", [2]))
        lake.con.execute(f"INSERT INTO {LAKE}.main.ledger VALUES (2)")
        lake.con.execute(end)
        assert ids(lake, table) == landed
    assert lake.rows(f"FROM {LAKE}.main.ledger") == [(2,)]
    assert snapshots(lake) == before + 1


@on_sqlite
def test_a_list_with_one_bad_file_is_refused_as_a_whole(
    lake: Lake, table: str, add: Add, write: Callable[..., str], tmp_path: Path
) -> None:
    """Why a refused batch is halved."""
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"x" * 99)
    with pytest.raises(duckdb.InvalidInputException, match=r"bad\.parquet"):
        add(write("a.parquet", [1]), str(bad))
    assert ids(lake, table) == []


# Registration


@on_sqlite
def test_the_same_file_twice_doubles_its_rows(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    """Why there is a ledger."""
    path = write("a.parquet", [1, 2])
    add(path)
    add(path)
    assert ids(lake, table) == [1, 1, 2, 2]


@on_sqlite
def test_a_file_without_rows_is_silently_not_registered(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    """Why the ledger knows `empty`."""
    add(write("a.parquet", []), write("b.parquet", [1]))
    assert data_files(lake) == 1


@pytest.mark.parametrize(("prepared", "found"), [(False, 0), (True, 2)])
@pytest.mark.parametrize("column", ["note", "address.city"])
def test_nulls_of_a_file_without_the_column_are_lost_unless_the_table_has_had_a_null(
    lake: Lake, tmp_path: Path, column: str, prepared: bool, found: int
) -> None:
    """The column statistics do not count a missing column as NULL, and the optimizer trusts them.

    `IS NULL`, `coalesce`, `count(column)` and, when the other files hold one value only, even
    `column = value` are wrong then. A row of NULLs that was committed before the first file, and
    deleted again by another commit, makes the statistics say that there are NULLs.
    """
    table = f"{LAKE}.main.t"
    lake.con.execute(
        f"CREATE TABLE {table} (id BIGINT, note VARCHAR, address STRUCT(city VARCHAR))"
    )
    lake.con.execute(f"CALL {LAKE}.set_option('data_inlining_row_limit', 0)")
    if prepared:
        lake.con.execute(f"INSERT INTO {table} (id) VALUES (NULL)")
        lake.con.execute(f"DELETE FROM {table}")
    full = {"id": [1, 2], "note": ["x", "y"], "address": [{"city": "Oslo"}, {"city": "Rome"}]}
    for name, columns in (("full", full), ("short", {"id": [3, 4]})):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', 't', ?, allow_missing => true)", [str(path)]
        )
    assert lake.rows(f"SELECT id, {column} FROM {table} WHERE id > 2 ORDER BY id") == [
        (3, None),
        (4, None),
    ]
    assert lake.value(f"SELECT count(*) FROM {table} WHERE {column} IS NULL") == found


@on_sqlite
def test_a_star_in_a_path_registers_every_match(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    """Why keys with glob characters are quarantined."""
    write("ab.parquet", [2])
    add(write("a*.parquet", [1]))
    assert ids(lake, table) == [1, 2]


@on_sqlite
def test_a_hive_key_overrides_a_field_of_the_file(lake: Lake, tmp_path: Path) -> None:
    """Why fields named like a partition column are refused."""
    path = tmp_path / "year=2026" / "month=03" / "a.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"due": [{"month": "12"}], "year": [1999]}), path)
    lake.con.execute(f"CREATE TABLE {LAKE}.main.t (due STRUCT(month VARCHAR), year BIGINT)")
    lake.con.execute(f"CALL ducklake_add_data_files('{LAKE}', 't', ?)", [str(path)])
    assert lake.rows(f"SELECT due.month, year FROM {LAKE}.main.t") == [("03", 2026)]


@on_sqlite
def test_declared_hive_columns_are_filled_as_declared(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    add(write("year=2026/month=03/day=01/a.parquet", [1]))
    assert lake.rows(f"SELECT year, month, day FROM {table}") == [(2026, "03", "01")]


def test_the_virtual_snapshot_id_of_a_row_is_that_of_its_registration(
    lake: Lake, table: str, add: Add, write: Callable[..., str]
) -> None:
    """Why snapshot ids say what is new; in the ledger, whose rows are inlined, as in the table."""
    lake.con.execute(f"CREATE TABLE {LAKE}.main.ledger (id BIGINT)")
    expected = []
    for number in (1, 2):
        lake.con.execute("BEGIN")
        add(write(f"{number}.parquet", [number]))
        lake.con.execute(f"INSERT INTO {LAKE}.main.ledger VALUES ({number})")
        lake.con.execute("COMMIT")
        expected.append((number, lake.value(f"SELECT max(snapshot_id) FROM {LAKE}.snapshots()")))
    for name in ("t", "ledger"):
        found = lake.rows(f"SELECT id, snapshot_id FROM {LAKE}.main.{name} ORDER BY id")
        assert found == expected


def test_a_view_may_unnest_the_latest_struct_of_a_group(lake: Lake) -> None:
    """How `meta.feeder_files` shows the latest event of a file."""
    lake.con.execute(
        f"CREATE TABLE {LAKE}.main.events (key VARCHAR, version BIGINT, event VARCHAR)"
    )
    lake.con.execute(
        f"CREATE VIEW {LAKE}.main.latest AS SELECT key, unnest(arg_max(struct_pack("
        f"event := event, snapshot_id := snapshot_id), version)) FROM {LAKE}.main.events GROUP BY 1"
    )
    lake.con.execute(f"INSERT INTO {LAKE}.main.events VALUES ('a', 1, 'old'), ('b', 1, 'only')")
    lake.con.execute(f"INSERT INTO {LAKE}.main.events VALUES ('a', 2, 'new')")
    with open_lake(lake.settings, read_only=True) as reader:
        found = reader.rows(f"SELECT key, event, snapshot_id FROM {LAKE}.main.latest ORDER BY key")
    newest = lake.value(f"SELECT max(snapshot_id) FROM {LAKE}.snapshots()")
    assert found == [("a", "new", newest), ("b", "only", newest - 1)]


# Options of landing tables


@on_sqlite
def test_an_option_is_refused_in_the_transaction_that_creates_the_table(lake: Lake) -> None:
    """Why options are set in commits of their own."""
    lake.con.execute("BEGIN")
    lake.con.execute(f"CREATE TABLE {LAKE}.main.t (id BIGINT)")
    with pytest.raises(duckdb.Error, match="transaction-local"):
        lake.con.execute(f"CALL {LAKE}.set_option('auto_compact', false, table_name => 't')")


@pytest.mark.parametrize(("limit", "files"), [(None, 1), (0, 0)])
def test_a_delete_of_few_rows_keeps_its_file_unless_nothing_is_inlined(
    lake: Lake, table: str, add: Add, write: Callable[..., str], limit: int | None, files: int
) -> None:
    """Why landing tables have `data_inlining_row_limit` 0: a retired file would stay for ever."""
    if limit is not None:
        lake.con.execute(
            f"CALL {LAKE}.set_option('data_inlining_row_limit', {limit}, table_name => 't')"
        )
    add(write("year=2026/month=03/day=01/a.parquet", range(10)))
    lake.con.execute(f"DELETE FROM {table} WHERE year = 2026 AND month = '03' AND day = '01'")
    assert ids(lake, table) == []
    assert data_files(lake) == files


@on_sqlite
@pytest.mark.parametrize(("protected", "files"), [(False, 1), (True, 2)])
def test_merging_takes_raw_files_away_unless_auto_compact_is_off(
    lake: Lake, table: str, add: Add, write: Callable[..., str], protected: bool, files: int
) -> None:
    """Why landing tables have `auto_compact` false."""
    if protected:
        lake.con.execute(f"CALL {LAKE}.set_option('auto_compact', false, table_name => 't')")
    add(write("a.parquet", [1]))
    add(write("b.parquet", [2]))
    lake.con.execute(f"CALL ducklake_merge_adjacent_files('{LAKE}')")
    assert data_files(lake) == files
    assert ids(lake, table) == [1, 2]


@on_sqlite
def test_orphan_clean_up_deletes_unregistered_files_below_the_data_path(lake: Lake) -> None:
    """Why the raw prefix and the data path must not overlap."""
    waiting = Path(lake.settings.data_path) / "raw" / "waiting.parquet"
    waiting.parent.mkdir()
    pq.write_table(pa.table({"id": [1]}), waiting)
    lake.con.execute(f"CALL ducklake_delete_orphaned_files('{LAKE}', cleanup_all => true)")
    assert not waiting.exists()


@on_sqlite
def test_sqlite_expires_by_the_day(lake: Lake, table: str) -> None:
    """Why upkeep waits a day longer on SQLite: times are compared as text there."""
    made = lake.value(f"SELECT max(snapshot_time) FROM {LAKE}.snapshots()")
    midnight = made.replace(hour=0, minute=0, second=0, microsecond=0)
    listed = lake.rows(
        f"CALL ducklake_expire_snapshots('{LAKE}', older_than => ?, dry_run => true)", [midnight]
    )
    assert listed  # although nothing is older than midnight
    assert made > midnight


# Two writers


def two_transactions(
    lake: Lake, other: Lake, first: Callable[[Lake], object], second: Callable[[Lake], object]
) -> str:
    """Overlap two transactions; returns the text of the loser's error, empty if both won."""
    for each, act in ((lake, first), (other, second)):
        each.con.execute("BEGIN")
        each.rows(f"FROM {LAKE}.main.guard")
        act(each)
    lake.con.execute("COMMIT")
    try:
        other.con.execute("COMMIT")
    except duckdb.Error as error:
        return str(error)
    return ""


def bump(lake: Lake) -> None:
    lake.con.execute(f"UPDATE {LAKE}.main.guard SET n = n + 1 WHERE n = 0")


@pytest.fixture
def guarded(lake: Lake, table: str) -> Lake:
    lake.con.execute(f"CREATE TABLE {LAKE}.main.guard AS SELECT 0 AS n")
    return lake


@on_postgres
def test_two_registrations_of_one_file_both_win(
    guarded: Lake, table: str, write: Callable[..., str]
) -> None:
    """Why a ledger alone is not enough."""
    path = write("a.parquet", [1])

    def register_it(lake: Lake) -> None:
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', 't', ?, allow_missing => true)", [path]
        )

    with open_lake(guarded.settings) as other:
        assert two_transactions(guarded, other, register_it, register_it) == ""
    assert ids(guarded, table) == [1, 1]


@on_postgres
def test_two_updates_of_one_row_conflict(guarded: Lake) -> None:
    """Why every stream has a guard row, and what `is_conflict` looks for."""
    with open_lake(guarded.settings) as other:
        assert "Transaction conflict" in two_transactions(guarded, other, bump, bump)
    assert guarded.rows(f"FROM {LAKE}.main.guard") == [(1,)]


@on_postgres
def test_an_update_of_no_row_conflicts_with_nothing(guarded: Lake) -> None:
    """Why the update of the guard must have changed one row."""

    def miss(lake: Lake) -> None:
        lake.con.execute(f"UPDATE {LAKE}.main.guard SET n = 9 WHERE n = 7")

    with open_lake(guarded.settings) as other:
        assert two_transactions(guarded, other, miss, bump) == ""


@on_postgres
def test_a_new_column_conflicts_with_a_registration(
    guarded: Lake, write: Callable[..., str]
) -> None:
    """Why columns are added in a commit of their own."""
    path = write("a.parquet", [1])

    def evolve(lake: Lake) -> None:
        lake.con.execute(f"ALTER TABLE {LAKE}.main.t ADD COLUMN more BIGINT")

    def register_it(lake: Lake) -> None:
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', 't', ?, allow_missing => true)", [path]
        )

    with open_lake(guarded.settings) as other:
        assert "Transaction conflict" in two_transactions(guarded, other, evolve, register_it)


@on_sqlite
def test_on_sqlite_an_overlapping_writer_finds_the_database_locked(
    guarded: Lake, table: str
) -> None:
    """Why writers of a SQLite catalog take turns."""

    def insert(lake: Lake) -> None:
        lake.con.execute(f"INSERT INTO {table} (id) VALUES (1)")

    with open_lake(guarded.settings) as other:
        assert "database is locked" in two_transactions(guarded, other, bump, insert)


# Types

TYPES: dict[str, Any] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DECIMAL(10,2)": pa.decimal128(10, 2),
    "DECIMAL(18,4)": pa.decimal128(18, 4),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
    "VARCHAR": pa.string(),
}


@pytest.fixture
def typed_files(tmp_path: Path) -> dict[str, str]:
    """A file of each type: one column `x`, one null."""
    paths = {}
    for kind, arrow in TYPES.items():
        path = tmp_path / f"{kind.replace(' ', '_').replace('(', '_').replace(')', '')}.parquet"
        pq.write_table(pa.table({"x": pa.nulls(1, arrow)}), path)
        paths[kind] = str(path)
    return paths


def register(lake: Lake, name: str, *paths: str) -> None:
    lake.con.execute(f"CALL ducklake_add_data_files('{LAKE}', '{name}', ?::VARCHAR[])", [paths])


@on_sqlite
def test_reads_as_says_which_files_ducklake_registers(
    lake: Lake, typed_files: dict[str, str]
) -> None:
    statements = [f"CREATE TABLE {LAKE}.main.t{n} (x {kind})" for n, kind in enumerate(TYPES)]
    lake.con.execute(f"BEGIN; {'; '.join(statements)}; COMMIT")
    for number, column in enumerate(TYPES):
        for kind, path in typed_files.items():
            lake.con.execute("BEGIN")
            if reads_as(kind, column):
                register(lake, f"t{number}", path)
            else:
                with pytest.raises(duckdb.InvalidInputException, match="Failed to map column"):
                    register(lake, f"t{number}", path)
            lake.con.execute("ROLLBACK")


@on_sqlite
def test_widens_to_says_what_can_be_altered_so_that_files_register(
    lake: Lake, typed_files: dict[str, str]
) -> None:
    pairs = [(old, new) for old in TYPES for new in TYPES if widens_to(old, new)]
    assert len(pairs) >= 8
    for number, (old, new) in enumerate(pairs):
        name = f"t{number}"
        lake.con.execute(f"CREATE TABLE {LAKE}.main.{name} (x {old})")
        register(lake, name, typed_files[old])
        lake.con.execute(f"ALTER TABLE {LAKE}.main.{name} ALTER COLUMN x TYPE {new}")
        register(lake, name, typed_files[new])
        assert lake.rows(f"FROM {LAKE}.main.{name}") == [(None,), (None,)]
