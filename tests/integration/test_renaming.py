"""A renamed stream goes on where it was: nothing is fed again, no row is lost or doubled."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.errors import ScaffoldError, StreamConfigError, UpkeepRefusedError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.register import Registration
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.ledger.registrations import (
    compare_rows,
    count_unknown,
    files_without_registration,
)
from lotus_lake.ledger.renames import forget_rename
from lotus_lake.ledger.watermarks import has_unprocessed
from lotus_lake.repair.branches import create_branch
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.renaming import plan_renames, rename_in_lake
from lotus_lake.scaffold.columns import model_columns
from lotus_lake.scaffold.model_sql import model_sql
from tests import children
from tests.catalogs import on_postgres, on_sqlite
from tests.children import Watched
from tests.consuming import expire_and_clean
from tests.feeds import DAY, SHAPE, Feed, some_rows
from tests.property import processed

NAME = "sales"
MODELS = {"int_shop__orders": "int_shop__sales"}


def process(lake: Lake, feed: Feed, stream: Stream | None = None) -> None:
    """Run the model, whose text is the same under the new name."""
    columns = model_columns(feed.stream, {})
    text = model_sql(feed.stream, columns)
    processed.process(lake, stream or feed.stream, text, list(columns.key))


def put(feed: Feed, name: str, first_id: int, day: int, **changes: Any) -> str:
    rows = [{**row, "id": first_id + row["id"], **changes} for row in some_rows(2)]
    shape = {**SHAPE, "amount": pa.string()} if changes else SHAPE
    return feed.put(name, rows, day=DAY + timedelta(days=day), shape=shape)


@pytest.fixture
def fed(make_feed: Callable[..., Feed], lake: Lake) -> Feed:
    """A stream with a retired day, a copy, a quarantined file, and rows that wait for the model."""
    feed, other = make_feed(retention_days=30), make_feed("lines")
    other.put()
    other.run(lake)
    put(feed, "old.parquet", 0, -50)
    put(feed, "copy.parquet", 10, -1, amount="x")
    put(feed, "part_0.parquet", 20, 0)
    feed.put("wider.parquet", [{**some_rows(1)[0], "id": 22, "vip": True}],
             shape={**SHAPE, "vip": pa.bool_()})  # fmt: skip
    feed.put_bytes("broken.parquet", b"nothing")
    feed.run(lake)
    process(lake, feed)
    assert retire_files(lake, feed.stream, [processed.model(feed.stream)], "run").files == 1
    put(feed, "part_1.parquet", 30, 0)
    feed.run(lake)
    lake.con.execute(
        f"CREATE TABLE {META}.inputs_fct_sales AS "
        "SELECT 'int_shop__orders' AS input, 7 AS snapshot_id_to"
    )
    return feed


def renamed(feed: Feed) -> Stream:
    """The stream as its config says it then."""
    old = feed.stream.config
    config = old.model_copy(update={"stream": NAME, "stream_name": feed.stream.stream_name})
    return dataclasses.replace(feed.stream, name=NAME, config=config)


def state(lake: Lake, feed: Feed, stream: Stream) -> Any:
    """What a lake knows of a stream, whatever it is called."""
    columns = "* EXCLUDE (stream, snapshot_id, discovered_at, updated_at)"
    model = processed.model(stream)
    return (
        lake.rows(f"SELECT {columns} FROM {META}.feeder_files WHERE source = 'shop' AND "
                  f"stream = '{stream.name}' ORDER BY ALL"),
        lake.rows(f"SELECT *, rowid, snapshot_id FROM {STAGING}.{stream.landing_table} "
                  "ORDER BY ALL"),
        lake.rows(f"SELECT * FROM {LAKE}.main.{model} ORDER BY ALL"),
        lake.rows(f"SELECT * EXCLUDE updated_at FROM {META}.watermark_{model}"),
        lake.rows(f"SELECT * EXCLUDE version FROM {META}.guard_{stream.id}"),
        lake.rows(f"SELECT column_path, key FROM {META}.schema_changes "
                  f"WHERE stream = '{stream.name}' ORDER BY ALL"),
        lake.rows(f"SELECT cursor_path FROM {META}.cursor_events WHERE stream = '{stream.name}' "
                  "ORDER BY version"),
        sorted(feed.objects()),
    )  # fmt: skip


def assert_goes_on(lake: Lake, feed: Feed, before: Any) -> None:
    """The stream has its new name, and lacks and doubles nothing, now and later."""
    stream = renamed(feed)
    again = dataclasses.replace(feed, stream=stream)
    assert state(lake, again, stream) == before
    assert not any("orders" in name for schema in ("staging", "main", "meta")
                   for name in lake.tables(schema))  # fmt: skip
    assert lake.rows(f"SELECT input FROM {META}.inputs_fct_sales") == [("int_shop__sales",)]
    forget_rename(lake, "shop", "orders")
    landed = again.landed(lake)
    assert again.run(lake).total == Registration()
    assert again.landed(lake) == landed
    found = reconcile(lake, stream, feed.client, "run", repair=True)
    assert (found.discovered, found.quarantined, found.missing, found.registered) == (0, 0, 0, 0)
    assert files_without_registration(lake, stream) == []
    assert count_unknown(lake, stream) == 0
    with lake.snapshot() as snapshot:
        counts = compare_rows(lake, stream, snapshot)
    assert counts == (len(landed), len(landed), [])
    # Rows that waited for the model, and a file that arrives now, under the old key.
    put(again, "part_2.parquet", 40, 0)
    assert again.run(lake).total.registered == 1
    process(lake, feed, stream)
    assert not has_unprocessed(lake, stream, ["int_shop__sales"])
    ids = lake.rows(f"SELECT order_id FROM {LAKE}.main.int_shop__sales ORDER BY 1")
    assert [number for (number,) in ids] == [0, 1, 10, 11, 20, 21, 22, 30, 31, 40, 41]
    expire_and_clean(lake)
    assert again.landed(lake) == landed + again.rows_of([again.key("part_2.parquet")])


def test_a_renamed_stream_goes_on_where_it_was(fed: Feed, lake: Lake) -> None:
    before = state(lake, fed, fed.stream)
    found = rename_in_lake(lake, fed.stream, renamed(fed), MODELS)
    assert found.tables[("staging", "stg_shop__orders")] == "stg_shop__sales"
    assert_goes_on(lake, fed, before)


def rename(settings: Settings, feed_stream: Stream, new: Stream, hook: children.Hook) -> None:
    """Child: rename in the lake."""
    with open_lake(settings) as opened:
        lake = Lake(Watched(opened.con, hook), settings)  # type: ignore[arg-type]
        rename_in_lake(lake, feed_stream, new, MODELS)


def test_killed_before_any_statement_it_has_happened_or_not(fed: Feed, lake: Lake) -> None:
    before, kills = state(lake, fed, fed.stream), 0
    for number in itertools.count(1):
        hook = children.KillBefore(number, "BEGIN")
        code = children.run(rename, fed.settings, fed.stream, renamed(fed), hook)
        if code == 0:
            break
        assert code == children.KILLED
        kills += 1
        with open_lake(fed.settings) as fresh:
            if "stg_shop__sales" in fresh.tables("staging"):  # after its COMMIT
                break
            assert state(fresh, fed, fed.stream) == before
    assert kills > 10
    with open_lake(fed.settings) as fresh:
        # Once more, as the command does.
        rename_in_lake(fresh, fed.stream, renamed(fed), MODELS)
        assert_goes_on(fresh, fed, before)


@on_sqlite
def test_nothing_is_fed_under_the_old_name_before_the_project_has_the_new_one(
    fed: Feed, lake: Lake
) -> None:
    before = state(lake, fed, fed.stream)
    rename_in_lake(lake, fed.stream, renamed(fed), MODELS)
    with pytest.raises(StreamConfigError, match="is being renamed to shop__sales") as refused:
        fed.run(lake)
    assert "rename-stream shop orders sales" in str(refused.value)
    assert lake.tables("staging") == {"stg_shop__sales", "stg_shop__lines"}
    assert_goes_on(lake, fed, before)
    # Then the old name is free again.
    assert fed.run(lake).listing.discovered > 0


@on_postgres
def test_a_feeder_that_is_about_to_commit_lands_nothing_under_the_old_name(
    fed: Feed, lake: Lake
) -> None:
    put(fed, "late.parquet", 50, 0)
    fed.list_files(lake)

    seen: list[str] = []

    def rename_first(statement: str) -> None:
        seen.append(statement)
        registers = any("ducklake_add_data_files" in one for one in seen)
        if registers and statement == "COMMIT" and seen.count("COMMIT, renamed") == 0:
            seen.append("COMMIT, renamed")
            rename_in_lake(other, fed.stream, renamed(fed), MODELS)

    with open_lake(fed.settings) as other:
        watched = Lake(Watched(lake.con, rename_first), lake.settings)  # type: ignore[arg-type]
        with pytest.raises(duckdb.CatalogException, match=r"(stg|guard)_shop__orders"):
            fed.run(watched)
        assert "COMMIT, renamed" in seen
    with open_lake(fed.settings) as fresh:
        again = dataclasses.replace(fed, stream=renamed(fed))
        assert fresh.tables("staging") == {"stg_shop__sales", "stg_shop__lines"}
        forget_rename(fresh, "shop", "orders")
        late = {fed.key("late.parquet"): fed.sent[fed.key("late.parquet")]}
        before = again.landed(fresh)
        assert again.run(fresh).total.registered == 1
        assert again.landed(fresh) == before + again.rows_of(late)


@on_postgres
@pytest.mark.parametrize("event", ["registered", "discovered"])
def test_files_that_are_fed_while_it_renames_get_the_new_name(
    fed: Feed, lake: Lake, event: str
) -> None:
    late = put(fed, "late.parquet", 50, 0)
    if event == "registered":
        fed.list_files(lake)
    done: list[str] = []

    def feed_first(statement: str) -> None:
        if statement == "COMMIT" and not done:
            done.append(event)
            with open_lake(fed.settings) as other:
                if event == "registered":
                    fed.run(other)
                else:
                    fed.list_files(other)

    watched = Lake(Watched(lake.con, feed_first), lake.settings)  # type: ignore[arg-type]
    rename_in_lake(watched, fed.stream, renamed(fed), MODELS)
    with open_lake(fed.settings) as fresh:
        forget_rename(fresh, "shop", "orders")
        again = dataclasses.replace(fed, stream=renamed(fed))
        assert again.events(fresh)[late] == [event]
        assert fed.events(fresh) == {}
        again.run(fresh)
        assert again.events(fresh)[late] == ["registered"]


@on_sqlite
def test_a_name_that_the_lake_knows_is_refused(fed: Feed, lake: Lake) -> None:
    with pytest.raises(ScaffoldError, match=r"the lake has staging.stg_shop__lines, meta") as no:
        plan_renames(lake, fed.stream, dataclasses.replace(fed.stream, name="lines"), {})
    assert "meta.guard_shop__lines" in no.value.args[0]
    lake.con.execute(f"UPDATE {META}.file_events SET stream = 'gone' WHERE stream = 'lines'")
    with pytest.raises(ScaffoldError, match="the ledger knows files of an earlier stream"):
        plan_renames(lake, fed.stream, dataclasses.replace(fed.stream, name="gone"), {})


@on_sqlite
def test_a_lake_with_live_branches_is_left_as_it_is(fed: Feed, lake: Lake) -> None:
    create_branch(lake, "try")
    with pytest.raises(UpkeepRefusedError, match="branches"):
        rename_in_lake(lake, fed.stream, renamed(fed), MODELS)
    assert lake.tables("staging") == {"stg_shop__orders", "stg_shop__lines"}


@on_sqlite
def test_a_stream_that_was_never_fed_has_nothing_to_rename(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed("never")
    assert rename_in_lake(lake, feed.stream, renamed(feed), {}).tables == {}
