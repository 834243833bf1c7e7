"""What killed transactions leave behind goes in the end, and nothing else does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from lotus_lake.errors import SettingsError, UpkeepRefusedError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.data_files import schedule_deletion
from lotus_lake.lake.session import METADATA, Lake
from lotus_lake.upkeep.expiry import untouchable_since, upkeep
from lotus_lake.upkeep.orphans import schedule_orphans
from lotus_lake.upkeep.sizes import read_sizes
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.children import Watched
from tests.consuming import age
from tests.feeds import Feed
from tests.integration.test_compaction import compact_in_child, make_table, rows_of

OLD = timedelta(days=3)


def leave(lake: Lake, name: str = "", folder: str = "main/events", age: timedelta = OLD) -> Path:
    """A file that nothing knows, written some time ago."""
    path = Path(lake.settings.data_path, folder, name or f"ducklake-{uuid4()}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a file")
    made_at = (datetime.now(UTC) - age).timestamp()
    os.utime(path, (made_at, made_at))
    return path


def make_old(lake: Lake) -> None:
    """Let every file of the lake be written some time ago."""
    for path in Path(lake.settings.data_path).rglob("*.parquet"):
        made_at = (datetime.now(UTC) - OLD).timestamp()
        os.utime(path, (made_at, made_at))


def wait(lake: Lake) -> None:
    """Let the files on the list of deletions be there long enough."""
    age(lake, 2 * OLD)


def test_an_orphan_waits_on_the_list_and_is_then_deleted(lake: Lake) -> None:
    table = make_table(lake)
    make_old(lake)
    before, orphan = rows_of(lake, table), leave(lake)
    planned = schedule_orphans(lake, untouchable_since(lake), dry_run=True)
    assert planned.files == (str(orphan),)
    assert read_sizes(lake).files_to_delete == 0
    found = schedule_orphans(lake, untouchable_since(lake))
    assert found == planned
    assert (found.listed, found.foreign, found.young) == (11, 0, 0)
    assert schedule_orphans(lake, untouchable_since(lake)).files == ()  # it is known now
    assert upkeep(lake).files_deleted == ()
    wait(lake)
    assert upkeep(lake).files_deleted == (str(orphan),)
    assert not orphan.exists()
    assert rows_of(lake, table) == before


def test_what_is_young_or_not_named_as_the_lake_names_its_files_stays(lake: Lake) -> None:
    make_table(lake)
    young = leave(lake, age=timedelta(hours=47))
    foreign = [
        leave(lake, name="part_0.parquet", folder="raw/shop/orders/year=2026/month=03/day=01"),
        leave(lake, name="ducklake-notes.parquet"),
        leave(lake, name=f"ducklake-{uuid4()}.csv"),
        leave(lake, name=f"{uuid4().hex}.parquet", folder="main/events"),
    ]
    found = schedule_orphans(lake, untouchable_since(lake))
    assert (found.files, found.young, found.foreign) == ((), 1, 4)
    wait(lake)
    upkeep(lake)
    assert all(path.exists() for path in (young, *foreign))


def test_every_kind_of_file_that_the_lake_writes_is_known_or_can_be_an_orphan(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    table = make_table(lake)
    lake.con.execute(f"DELETE FROM {table} WHERE id % 2 = 0")
    make_old(lake)
    left = {
        str(leave(lake)),
        str(leave(lake, name=f"ducklake-{uuid4()}-delete.parquet")),
        str(leave(lake, name=f"{uuid4().hex}.parquet", folder="copies/shop/orders/year=2026")),
    }
    found = schedule_orphans(lake, untouchable_since(lake))
    assert set(found.files) == left
    assert found.listed == 10 + 10 + 3


def test_a_lake_that_is_not_the_catalogs_is_refused(lake: Lake) -> None:
    make_table(lake)
    for _ in range(11):
        leave(lake)
    with pytest.raises(UpkeepRefusedError, match="11 of 21 files"):
        schedule_orphans(lake, untouchable_since(lake))
    with pytest.raises(UpkeepRefusedError):
        schedule_orphans(lake, untouchable_since(lake), dry_run=True)
    assert read_sizes(lake).files_to_delete == 0
    assert len(schedule_orphans(lake, untouchable_since(lake), max_share=1).files) == 11


def test_a_large_share_is_refused_even_when_most_are_known(lake: Lake) -> None:
    for name in ("a", "b"):
        make_table(lake, name)
    for _ in range(11):
        leave(lake)
    with pytest.raises(UpkeepRefusedError, match="11 of 31 files"):
        schedule_orphans(lake, untouchable_since(lake))


@on_sqlite
def test_raw_files_and_the_lakes_own_must_lie_apart(lake: Lake) -> None:
    raw = lake.settings.raw_uri
    for data_path, raw_uri in ((f"{raw}/lake/", raw), ("s3://bucket/", "s3://bucket/raw")):
        settings = dataclasses.replace(lake.settings, data_path=data_path, raw_uri=raw_uri)
        with pytest.raises(SettingsError, match="overlap"):
            schedule_orphans(Lake(lake.con, settings), untouchable_since(lake))


def test_a_file_that_a_table_holds_again_is_taken_off_the_list(lake: Lake) -> None:
    table = make_table(lake)
    before = rows_of(lake, table)
    [path, *_] = Path(lake.settings.data_path, "main", "events").glob("*.parquet")
    schedule_deletion(lake, [str(path)])
    wait(lake)
    planned = upkeep(lake, dry_run=True)
    assert (planned.files_deleted, planned.files_protected) == ((), (str(path),))
    assert upkeep(lake) == planned
    assert rows_of(lake, table) == before


def test_what_a_killed_compaction_wrote_is_found(lake: Lake) -> None:
    table = make_table(lake)
    before = rows_of(lake, table)
    hook = children.KillBefore(2, start="CALL ducklake_merge")  # it has merged, not committed
    assert children.run(compact_in_child, lake.settings, hook) == children.KILLED
    make_old(lake)
    [orphan] = schedule_orphans(lake, untouchable_since(lake)).files
    assert Path(orphan).exists()
    wait(lake)
    assert orphan in upkeep(lake).files_deleted
    assert rows_of(lake, table) == before


@on_sqlite
def test_files_of_a_lake_on_s3_are_listed_there(environment: dict[str, str], bucket: str) -> None:
    from lotus_lake.bucket.objects import s3_client
    from lotus_lake.config.settings import Settings
    from lotus_lake.lake.connection import open_lake

    settings = Settings.from_env(environment | {"LAKE_DATA_PATH": f"s3://{bucket}/lake"})
    with open_lake(settings) as other:
        table = make_table(other)
        before, key = rows_of(other, table), f"lake/main/events/ducklake-{uuid4()}.parquet"
        client = s3_client(settings.s3)
        client.put_object(Bucket=bucket, Key=key, Body=b"half a file")
        now = datetime.now(UTC) + timedelta(minutes=1)
        found = schedule_orphans(other, now)
        assert (found.files, found.listed) == ((f"s3://{bucket}/{key}",), 11)
        wait(other)
        assert upkeep(other).files_deleted == found.files
        assert rows_of(other, table) == before


@on_postgres
def test_two_that_schedule_one_deletion_at_once_give_two_ids(lake: Lake) -> None:
    """DuckLake deletes by address, and takes entries off its list by id."""
    uri = f"{lake.settings.data_path}orphan.parquet"
    left = [uri]

    def overtake(statement: str) -> None:
        if left and statement.startswith("INSERT INTO"):
            with open_lake(lake.settings) as other:
                schedule_deletion(other, [left.pop()])

    slow = Lake(Watched(lake.con, overtake), lake.settings)  # type: ignore[arg-type]
    schedule_deletion(slow, [uri])
    ids = lake.rows(
        f"SELECT data_file_id FROM {METADATA}.ducklake_files_scheduled_for_deletion WHERE path = ?",
        [uri],
    )
    assert len(ids) == len(set(ids)) == 2
