"""Branches: writable copies of the lake that share its files and cannot harm it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError, UpkeepRefusedError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.lake.branches import Branch, note_branch, read_branches
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.repair.branches import create_branch, drop_branch, list_branches
from lotus_lake.repair.removal import delete_objects
from lotus_lake.upkeep.compaction import compact
from lotus_lake.upkeep.expiry import delete, expire
from lotus_lake.upkeep.orphans import find_orphans, schedule_orphans
from tests.consuming import age, consume, expire_and_clean
from tests.feeds import DAY, Feed

TABLE = f"{LAKE}.main.fct"
LONG_AGO = DAY - timedelta(days=20)


@pytest.fixture
def origin(feed: Feed, lake: Lake) -> Lake:
    """A lake with two days that have landed, and a table with rows in files and in the catalog."""
    feed.put("old.parquet", day=LONG_AGO)
    feed.put("new.parquet")
    feed.run(lake)
    lake.con.execute(f"CREATE TABLE {TABLE} AS SELECT range AS id, 'a' AS text FROM range(1000)")
    lake.con.execute(f"INSERT INTO {TABLE} VALUES (1000, 'inlined')")
    lake.con.execute(f"UPDATE {TABLE} SET text = 'changed' WHERE id < 3")
    return lake


@contextmanager
def on_branch(settings: Settings, name: str = "new_sales") -> Iterator[Lake]:
    with open_lake(settings.of_branch(name)) as branch:
        yield branch


def table(lake: Lake) -> list[tuple[int, str]]:
    return lake.rows(f"SELECT id, text FROM {TABLE} ORDER BY id")


def files(settings: Settings) -> dict[str, bytes]:
    """All files of the lake's own folder."""
    return {str(p): p.read_bytes() for p in Path(settings.data_path).rglob("*") if p.is_file()}


def test_branch_and_origin_go_their_own_ways(origin: Lake, feed: Feed) -> None:
    before, landed = table(origin), feed.landed(origin)
    made = create_branch(origin, "new_sales")
    assert [found.branch for found in list_branches(origin)] == [made]
    late = feed.put("late.parquet")
    with on_branch(feed.settings) as branch:
        assert (table(branch), feed.landed(branch)) == (before, landed)
        feed.run(branch)
        branch.con.execute(f"DELETE FROM {TABLE} WHERE id >= 10")
        branch.con.execute(f"INSERT INTO {TABLE} SELECT range, 'branch' FROM range(5000, 6000)")
        branch.con.execute(f"CREATE TABLE {LAKE}.main.of_the_branch AS SELECT 1 AS one")
        assert feed.landed(branch) == landed + feed.rows_of([late])
    assert (table(origin), feed.landed(origin)) == (before, landed)
    assert "of_the_branch" not in origin.tables("main")
    feed.run(origin)
    origin.con.execute(f"DELETE FROM {TABLE}")
    with on_branch(feed.settings) as branch:
        assert feed.landed(branch) == feed.landed(origin)
        assert len(table(branch)) == 1010


def test_the_origin_keeps_what_a_live_branch_reads(origin: Lake, feed: Feed) -> None:
    before, landed = table(origin), feed.landed(origin)
    create_branch(origin, "new_sales", days=90)
    consume(feed, origin, "int_shop__orders")
    assert retire_files(origin, feed.stream, ["int_shop__orders"], "run").files == 1
    origin.con.execute(f"DROP TABLE {TABLE}")
    for _ in range(2):
        age(origin, timedelta(days=5))
        origin.con.execute(f"UPDATE {META}.branches SET created_at = created_at - INTERVAL 5 DAY")
        expire(origin)
        assert delete(origin) == ((), ())
    with on_branch(feed.settings) as branch:
        assert (table(branch), feed.landed(branch)) == (before, landed)
    origin.con.execute(f"UPDATE {META}.branches SET expires_at = now()")
    gone, _ = delete(origin)
    assert feed.settings.uri(feed.key("old.parquet", LONG_AGO)) in gone
    assert len(gone) > 1


def test_what_was_on_the_list_before_the_branch_is_deleted_all_the_same(
    origin: Lake, feed: Feed
) -> None:
    consume(feed, origin, "int_shop__orders")
    retire_files(origin, feed.stream, ["int_shop__orders"], "run")
    age(origin, timedelta(days=5))
    expire(origin)
    age(origin, timedelta(days=5))
    create_branch(origin, "new_sales")
    gone, _ = delete(origin)
    assert feed.settings.uri(feed.key("old.parquet", LONG_AGO)) in gone
    with on_branch(feed.settings) as branch:
        assert feed.landed(branch) == feed.landed(origin)


def test_a_branch_deletes_no_file_of_its_origin_whatever_is_asked_of_it(
    origin: Lake, feed: Feed
) -> None:
    before, objects, landed = files(feed.settings), feed.objects(), feed.landed(origin)
    create_branch(origin, "new_sales")
    with on_branch(feed.settings) as branch:
        branch.con.execute(
            f"CALL ducklake_rewrite_data_files('{LAKE}', 'fct', delete_threshold=>0)"
        )
        branch.con.execute(f"DELETE FROM {TABLE}")
        branch.con.execute(f"DELETE FROM {LAKE}.staging.{feed.stream.landing_table}")
        branch.con.execute(f"INSERT INTO {TABLE} SELECT range, 'branch' FROM range(1000)")
        branch.con.execute(f"DROP TABLE {TABLE}")
        expire_and_clean(branch)
        branch.con.execute(f"CALL ducklake_delete_orphaned_files('{LAKE}', cleanup_all => true)")
    assert not files(feed.settings.of_branch("new_sales"))
    assert (files(feed.settings), feed.objects()) == (before, objects)
    assert feed.landed(origin) == landed


def test_a_branch_has_no_upkeep_and_retires_nothing(origin: Lake, feed: Feed) -> None:
    create_branch(origin, "new_sales")
    works: list[Callable[[Lake], object]] = [
        expire, delete, compact, lambda lake: schedule_orphans(lake, datetime.now(UTC))
    ]  # fmt: skip
    with on_branch(feed.settings) as branch:
        for work in works:
            with pytest.raises(UpkeepRefusedError, match="new_sales"):
                work(branch)
        consume(feed, branch, "int_shop__orders")
        assert retire_files(branch, feed.stream, ["int_shop__orders"], "run").files == 0
    consume(feed, origin, "int_shop__orders")
    assert retire_files(origin, feed.stream, ["int_shop__orders"], "run").files == 1


def test_the_objects_of_a_stream_are_not_deleted_from_a_branch_or_under_one(
    origin: Lake, feed: Feed
) -> None:
    create_branch(origin, "new_sales")
    objects = feed.objects()
    with (
        on_branch(feed.settings) as branch,
        pytest.raises(UpkeepRefusedError, match="LAKE_BRANCH=new_sales"),
    ):
        delete_objects(branch, feed.stream, feed.client)
    with pytest.raises(UpkeepRefusedError, match=r"branches of the lake read .*: new_sales"):
        delete_objects(origin, feed.stream, feed.client)
    assert feed.objects() == objects
    drop_branch(origin, "new_sales")
    assert delete_objects(origin, feed.stream, feed.client) == len(objects) == 2


def test_dropping_a_branch_deletes_its_own_files_and_no_others(origin: Lake, feed: Feed) -> None:
    before, objects = files(feed.settings), feed.objects()
    create_branch(origin, "new_sales")
    create_branch(origin, "other")
    for name in ("new_sales", "other"):
        with on_branch(feed.settings, name) as branch:
            branch.con.execute(f"CREATE TABLE {LAKE}.main.own AS SELECT * FROM range(1000)")
    assert drop_branch(origin, "new_sales") == 1
    assert [found.branch.name for found in list_branches(origin)] == ["other"]
    assert (files(feed.settings), feed.objects()) == (before, objects)
    assert len(files(feed.settings.of_branch("other"))) == 1
    with pytest.raises(SettingsError, match="no such branch"), on_branch(feed.settings):
        pass
    with pytest.raises(SettingsError, match="there is no branch new_sales"):
        drop_branch(origin, "new_sales")


def test_a_branch_whose_files_the_lake_reads_is_not_dropped(origin: Lake, feed: Feed) -> None:
    create_branch(origin, "new_sales")
    with on_branch(feed.settings) as branch:
        branch.con.execute(f"CREATE TABLE {LAKE}.main.own AS SELECT range AS id FROM range(1000)")
        [(path,)] = branch.rows(f"SELECT data_file FROM ducklake_list_files('{LAKE}', 'own')")
    origin.con.execute(f"CREATE TABLE {LAKE}.main.promoted (id BIGINT)")
    origin.con.execute("CALL ducklake_add_data_files(?, 'promoted', ?)", [LAKE, path])
    with pytest.raises(SettingsError, match="1 data file of the lake"):
        drop_branch(origin, "new_sales")
    assert Path(path).exists()


def test_what_was_killed_half_way_is_done_to_its_end(
    origin: Lake, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    folder = feed.settings.of_branch("new_sales").data_path
    note_branch(origin, Branch("new_sales", now, now + timedelta(days=1), folder))
    assert [found.state for found in list_branches(origin)] == ["incomplete"]
    made = create_branch(origin, "new_sales")
    assert [(found.branch, found.state) for found in list_branches(origin)] == [(made, "live")]
    with pytest.raises(SettingsError, match="there is a branch new_sales"):
        create_branch(origin, "new_sales")
    with on_branch(feed.settings) as branch:
        branch.con.execute(f"CREATE TABLE {LAKE}.main.own AS SELECT * FROM range(1000)")

    def refuse(_folder: str) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        with pytest.raises(OSError, match="gone"):
            drop_branch(origin, "new_sales")
    assert [found.state for found in list_branches(origin)] == ["incomplete"]
    assert drop_branch(origin, "new_sales") == 1
    assert read_branches(origin) == []


def test_an_expired_branch_is_not_opened(origin: Lake, feed: Feed) -> None:
    create_branch(origin, "new_sales", days=-1)
    assert [found.state for found in list_branches(origin)] == ["expired"]
    with pytest.raises(SettingsError, match="new_sales has expired"), on_branch(feed.settings):
        pass


@pytest.mark.parametrize("name", ["Main", "main", "list", "a-b", "a/b", "", "1a", "a" * 41, "é"])
def test_a_name_that_is_none_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(SettingsError, match="not a name for a branch"):
        settings.of_branch(name)


def test_the_folder_of_a_branch_is_never_in_that_of_the_lake(environment: dict[str, str]) -> None:
    inside = f"{environment['LAKE_DATA_PATH']}/branches"
    for path in (inside, f"{environment['LAKE_RAW_URI']}/branches", "relative"):
        with pytest.raises(SettingsError, match="LAKE_BRANCHES_PATH"):
            Settings.from_env(environment | {"LAKE_BRANCH": "a", "LAKE_BRANCHES_PATH": path})
    with pytest.raises(SettingsError, match="whole bucket"):
        Settings.from_env(environment | {"LAKE_BRANCH": "a", "LAKE_DATA_PATH": "s3://lake"})


def test_orphans_of_the_origin_are_not_looked_for_among_the_files_of_a_branch(
    origin: Lake, feed: Feed
) -> None:
    create_branch(origin, "new_sales")
    with on_branch(feed.settings) as branch:
        branch.con.execute(f"CREATE TABLE {LAKE}.main.own AS SELECT * FROM range(1000)")
    assert find_orphans(origin, datetime.now(UTC) + timedelta(days=1)).files == ()
