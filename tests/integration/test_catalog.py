"""The catalog: opening it, writing to it at once from many processes, losing it."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogUnavailableError, CommitConflictError, SettingsError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake import session
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.commit import Change, record
from lotus_lake.ledger.schema import create_ledger
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import Feed
from tests.servers import PostgresServer

WRITERS = 3
COMMITS = 5


def commit_often(settings: Settings, table: str) -> None:
    """Child: some commits to a table of its own, which no other writer may disturb."""
    session.COMMIT_ATTEMPTS = 1
    with open_lake(settings) as lake:
        for number in range(COMMITS):
            lake.commit(
                f"{table} {number}",
                lambda: lake.con.execute(f"INSERT INTO lakehouse.meta.{table} VALUES (1)"),
            )


def test_no_commit_of_processes_that_write_to_different_streams_fails(
    settings: Settings, lake: Lake
) -> None:
    tables = [f"stream_{number}" for number in range(WRITERS)]
    lake.con.execute("CREATE SCHEMA lakehouse.meta")
    for table in tables:
        lake.con.execute(f"CREATE TABLE lakehouse.meta.{table} (n BIGINT)")
    writers = [children.start(commit_often, settings, table) for table in tables]
    assert children.finish(*writers) == [0] * WRITERS
    for table in tables:
        assert lake.value(f"SELECT count(*) FROM lakehouse.meta.{table}") == COMMITS
    messages = lake.rows("SELECT commit_message FROM lakehouse.snapshots()")
    assert {f"{table} {number}" for table in tables for number in range(COMMITS)} <= {
        message for (message,) in messages
    }


def test_streams_that_start_together_on_an_empty_catalog_all_land(
    make_feed: Callable[..., Feed],
) -> None:
    feeds = [make_feed(f"stream_{number}") for number in range(WRITERS)]
    for feed in feeds:
        feed.put()
    feeders = [children.start(children.feed, feed.settings, feed.stream, "run") for feed in feeds]
    assert children.finish(*feeders) == [0] * WRITERS
    with open_lake(feeds[0].settings) as lake:
        for feed in feeds:
            assert feed.landed(lake) == feed.rows_of(feed.sent)


@on_sqlite
def test_a_sqlite_catalog_keeps_a_write_ahead_log(settings: Settings, lake: Lake) -> None:
    with closing(sqlite3.connect(settings.catalog.address)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@on_sqlite
def test_a_reader_does_not_stop_a_writer(feed: Feed, lake: Lake) -> None:
    feed.put("part_0.parquet")
    feed.run(lake)
    with open_lake(feed.settings, read_only=True) as reader:
        reader.con.execute("BEGIN")
        before = feed.landed(reader)
        feed.put("part_1.parquet")
        assert feed.run(lake).total.registered == 1
        assert feed.landed(reader) == before
        reader.con.execute("COMMIT")
        assert feed.landed(reader) == feed.rows_of(feed.sent)


def test_a_reader_cannot_write(settings: Settings, lake: Lake) -> None:
    with (
        open_lake(settings, read_only=True) as reader,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        reader.con.execute("CREATE SCHEMA lakehouse.meta")


# A unit of work


def test_a_unit_that_fails_leaves_nothing(feed: Feed, lake: Lake) -> None:
    create_ledger(lake, feed.stream)
    before = feed.guard(lake)

    def unit() -> None:
        record(lake, feed.stream, before, Change(), "run")
        raise KeyError("on the way")

    with pytest.raises(KeyError, match="on the way"):
        lake.commit("fail", unit)
    assert feed.guard(lake) == before


def test_a_unit_that_meets_another_writer_runs_again(feed: Feed, lake: Lake) -> None:
    create_ledger(lake, feed.stream)
    attempts: list[int] = []

    def unit() -> None:
        attempts.append(len(attempts))
        if len(attempts) < 3:
            raise duckdb.TransactionException("Transaction conflict - somebody else")
        record(lake, feed.stream, feed.guard(lake), Change(), "run")

    lake.commit("meet", unit)
    assert attempts == [0, 1, 2]
    assert feed.guard(lake).version == 1


@on_sqlite
def test_a_guard_row_that_has_gone_stops_every_commit(feed: Feed, lake: Lake) -> None:
    feed.put()
    feed.list_files(lake)
    guard = feed.guard(lake)
    lake.con.execute(f"DELETE FROM lakehouse.meta.guard_{feed.stream.id}")
    with pytest.raises(CommitConflictError, match="guard row"):
        lake.commit("x", lambda: record(lake, feed.stream, guard, Change(), "run"))
    with pytest.raises(AssertionError, match="has 0 rows, not one"):
        feed.run(lake)
    assert feed.landed(lake) == {}


# Catalogs that cannot be opened


@on_sqlite
def test_another_data_path_is_refused(settings: Settings, lake: Lake, tmp_path: Path) -> None:
    other = dataclasses.replace(settings, data_path=f"{tmp_path}/elsewhere/")
    with pytest.raises(SettingsError, match="LAKE_DATA_PATH") as caught, open_lake(other):
        pass
    assert settings.data_path in str(caught.value)


@on_postgres
@pytest.mark.parametrize("statement", ["CALL ducklake_add_data_files", "COMMIT"])
def test_a_catalog_that_goes_away_quarantines_nothing(
    feed: Feed, lake: Lake, postgres: PostgresServer, statement: str
) -> None:
    key = feed.put()
    feed.list_files(lake)
    (batch,) = plan_batches(lake, feed.stream)

    def cut_off(coming: str) -> None:
        if coming.startswith(statement):
            postgres.disconnect_all(feed.settings.catalog.address)

    cut = dataclasses.replace(lake, con=children.Watched(lake.con, cut_off))  # type: ignore[arg-type]
    with pytest.raises(CatalogUnavailableError):
        register_batch(cut, feed.stream, batch, "run")
    assert feed.events(lake) == {key: ["discovered"]}
    assert register_batch(lake, feed.stream, batch, "run") == Registration(1, 0, 0, 3)
