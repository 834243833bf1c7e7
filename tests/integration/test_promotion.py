"""Tables of a branch become those of its origin, and go back, in one commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.errors import PermanentError, UpkeepRefusedError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.repair.branches import create_branch, drop_branch
from lotus_lake.repair.promotion import open_promotion, plan_promotion
from lotus_lake.upkeep.orphans import find_orphans
from tests.catalogs import on_postgres
from tests.consuming import age, expire_and_clean, write_manifest
from tests.feeds import DAY, Feed
from tests.promoting import (
    FCT,
    INT,
    MODELS,
    NAME,
    OTHER,
    SQL,
    build,
    do_promote,
    mark,
    roll_back,
    table,
)


@contextmanager
def on_branch(feed: Feed) -> Iterator[Lake]:
    with open_lake(feed.settings.of_branch(NAME)) as branch:
        yield branch


@pytest.fixture
def origin(feed: Feed, lake: Lake) -> Lake:
    """A lake with models that have read all that has landed, and a branch of it."""
    feed.put("part_0.parquet", rows=400)
    feed.put("part_1.parquet", rows=3, day=DAY - timedelta(days=40))
    feed.run(lake)
    build(lake)
    create_branch(lake, NAME)
    return lake


def test_tables_are_promoted_together_and_go_back(origin: Lake, feed: Feed) -> None:
    before, snapshot = table(origin), origin.current_snapshot()
    with on_branch(feed) as branch:
        build(branch)  # so that snapshots of the branch are past those of the lake
        build(branch, text="upper(status)")
        branch.con.execute(f"COMMENT ON TABLE {LAKE}.main.{FCT} IS 'what''s sold'")
        branch.con.execute(f"COMMENT ON COLUMN {LAKE}.main.{FCT}.text IS 'loud'")
        wanted = [table(branch, name) for name in SQL]
    assert table(origin) == before
    assert origin.current_snapshot() == snapshot
    done = do_promote(origin)
    assert [(r.model, r.rows_before, r.rows_after, r.newer) for r in done.replacements] == [
        (OTHER, 1, 1, ()), (FCT, 403, 403, ()), (INT, 403, 403, ())
    ]  # fmt: skip
    assert origin.current_snapshot() == snapshot + 1
    assert [table(origin, name) for name in SQL] == wanted
    assert table(origin)[0][1] == "PAID!"
    assert mark(origin) == snapshot
    [comment] = origin.rows("SELECT comment FROM duckdb_tables() WHERE database_name = ? "
                            "AND table_name = ?", [LAKE, FCT])  # fmt: skip
    assert comment == ("what's sold",)
    assert origin.rows(
        "SELECT comment FROM duckdb_columns() WHERE database_name = ? AND table_name = ? "
        "AND column_name = 'text'", [LAKE, FCT],
    ) == [("loud",)]  # fmt: skip
    # The lake has files of its own: nothing happens to it when the branch goes.
    drop_branch(origin, NAME)
    assert [table(origin, name) for name in SQL] == wanted
    origin.con.execute(f"UPDATE {LAKE}.main.{INT} SET text = 'x' WHERE id = 1")
    origin.con.execute(f"DELETE FROM {LAKE}.main.{FCT} WHERE id < 100")
    assert len(table(origin)) == 300
    assert [r.rows_after for r in roll_back(origin, OTHER, FCT, INT).replacements] == [1, 403, 403]
    assert table(origin) == before
    assert mark(origin) == snapshot - 4
    assert origin.rows(
        f"SELECT model, event, branch, from_snapshot_id, snapshot_id_before, rows_before, "
        f"rows_after, run_id FROM {META}.model_events WHERE model = ? ORDER BY recorded_at",
        [FCT],
    ) == [
        (FCT, "promoted", NAME, snapshot + 8, snapshot, 403, 403, "run"),
        (FCT, "rolled_back", None, snapshot, snapshot + 4, 300, 403, "back"),
    ]


def test_what_landed_since_is_read_by_the_next_build(origin: Lake, feed: Feed) -> None:
    with on_branch(feed) as branch:
        build(branch, INT, FCT, text="upper(status)")
    point = origin.current_snapshot()
    feed.put("part_2.parquet", rows=5)
    feed.run(origin)
    do_promote(origin)  # production has not processed it yet, so that nothing vanishes
    assert mark(origin) == point
    build(origin, INT, FCT)
    roll_back(origin, INT, FCT)
    with pytest.raises(PermanentError, match="lacks what is new of another version"):
        do_promote(origin)


def test_a_table_that_lacks_what_readers_see_is_refused(origin: Lake, feed: Feed) -> None:
    with on_branch(feed) as branch:
        build(branch, INT, FCT, text="upper(status)")
    feed.put("part_2.parquet", rows=5)
    feed.run(origin)
    build(origin, INT)
    before, snapshot = table(origin, INT), origin.current_snapshot()
    with pytest.raises(PermanentError, match=r"int_shop__orders lacks .* stream shop__orders"):
        do_promote(origin)
    assert (table(origin, INT), origin.current_snapshot()) == (before, snapshot)
    assert len(before) == 408
    found = do_promote(origin, [INT, FCT], behind=True)
    assert found.readers == (OTHER,)
    assert len(table(origin, INT)) == 403
    landed = f"{LAKE}.staging.stg_shop__orders"
    again = origin.value(f"SELECT count(*) FROM {landed} WHERE snapshot_id > ?", [mark(origin)])
    assert again == 5


def test_tables_that_do_not_belong_together_are_refused(origin: Lake, feed: Feed) -> None:
    with on_branch(feed) as branch:
        build(branch, INT, FCT)
    with pytest.raises(PermanentError, match="fct_sales was built from int_shop__orders of the"):
        do_promote(origin, [FCT])
    with pytest.raises(PermanentError, match="nothing is no model of this project"):
        do_promote(origin, ["nothing"])
    with pytest.raises(PermanentError, match="stg_shop__orders is no model"):
        do_promote(origin, ["stg_shop__orders"])
    feed.put("part_2.parquet", rows=5)
    with on_branch(feed) as branch:
        feed.run(branch)
    with pytest.raises(PermanentError, match="rows of shop__orders that were fed on the branch"):
        do_promote(origin, [INT])
    with on_branch(feed) as branch, pytest.raises(UpkeepRefusedError, match="LAKE_BRANCH"):
        do_promote(branch, [INT])


def test_rows_that_only_the_table_has_are_not_lost(origin: Lake, feed: Feed) -> None:
    with on_branch(feed) as branch:
        build(branch, INT, text="upper(status)")
    snapshot = origin.current_snapshot()
    feed.put("late.parquet", rows=5)
    feed.run(origin)
    feed.put("next.parquet", day=DAY + timedelta(days=60))
    feed.run(origin)
    build(origin, INT)
    assert retire_files(origin, feed.stream, [INT], "run").files == 3
    before = table(origin, INT)
    with pytest.raises(PermanentError, match="1 files of shop__orders that the version has not"):
        do_promote(origin, [INT], behind=True)
    with pytest.raises(PermanentError, match="1 files of shop__orders that the version has not"):
        roll_back(origin, INT, to=snapshot)
    assert table(origin, INT) == before


class Interrupted:
    """A connection that lets something happen once watermarks were read so many times."""

    def __init__(self, lake: Lake, times: int, act: Callable[[], None]) -> None:
        self.lake, self.times, self.act = lake, times, act

    def execute(self, statement: str, *parameters: object) -> object:
        found = self.lake.con.execute(statement, *parameters)  # type: ignore[arg-type]
        if "snapshot_id_to" in str(parameters):
            self.times -= 1
            if self.times == 0:
                rows = found.fetchall()
                self.act()
                return Rows(rows)
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self.lake.con, name)


@dataclass
class Rows:
    """A result that was fetched."""

    rows: list[object]

    def fetchall(self) -> list[object]:
        return self.rows


def promote_while_days_are_retired(origin: Lake, feed: Feed, times: int) -> int:
    """Promote when the watermarks were read so many times; returns the rows still to be read."""
    with on_branch(feed) as branch:
        build(branch, INT, text="upper(status)")
    feed.put("late.parquet", rows=5)
    feed.run(origin)
    feed.put("next.parquet", day=DAY + timedelta(days=60))
    feed.run(origin)
    build(origin, INT)

    def act() -> None:
        with open_lake(feed.settings) as other:
            do_promote(other, [INT], behind=True)

    con = Interrupted(origin, times, act)
    retire_files(Lake(con, origin.settings), feed.stream, [INT], "run")  # type: ignore[arg-type]
    assert con.times <= 0
    query = f"""
        SELECT count(*) FROM {LAKE}.staging.stg_shop__orders
        WHERE snapshot_id > ? AND year IS NOT NULL
    """
    return int(origin.value(query, [mark(origin)]))


def test_nothing_is_retired_that_a_promoted_table_has_to_read(origin: Lake, feed: Feed) -> None:
    """The feeder has asked for the watermarks already when they move back."""
    assert promote_while_days_are_retired(origin, feed, 1) == 8


@on_postgres  # where another process can commit meanwhile
def test_a_promotion_and_retiring_do_not_pass_each_other(origin: Lake, feed: Feed) -> None:
    """They move back after they were read in the transaction that retires the second day."""
    assert promote_while_days_are_retired(origin, feed, 3) == 8


def test_rows_are_right_whatever_holds_them(origin: Lake, feed: Feed) -> None:
    fct = f"{LAKE}.main.{FCT}"
    with on_branch(feed) as branch:
        con = branch.con
        con.execute(
            f"CREATE OR REPLACE TABLE {fct} AS SELECT range AS id, range % 3 AS part, "
            "range::HUGEINT AS huge, {'a': [range]} AS nested FROM range(1000)"
        )
        con.execute(f"ALTER TABLE {fct} DROP COLUMN huge")
        con.execute(f"INSERT INTO {fct} SELECT range, 1, {{'a': [range]}} FROM range(1000, 2000)")
        con.execute(f"INSERT INTO {fct} SELECT range, 1, {{'a': [range]}} FROM range(2000, 3000)")
        con.execute(f"INSERT INTO {fct} VALUES (-1, NULL, NULL)")
        con.execute(f"DELETE FROM {fct} WHERE id = 1500")  # in the catalog
        con.execute(f"DELETE FROM {fct} WHERE id BETWEEN 100 AND 400")  # in a file
        con.execute(f"UPDATE {fct} SET part = 9 WHERE id BETWEEN 500 AND 600")
        wanted = table(branch)
    assert len(wanted) == 2699
    do_promote(origin, [FCT])
    assert table(origin) == wanted
    files = origin.rows(f"SELECT data_file FROM ducklake_list_files('{LAKE}', '{FCT}')")
    assert len(files) == 2  # that of rows 2000 to 3000, and one of all others
    origin.con.execute(f"UPDATE {fct} SET part = 8 WHERE id % 2 = 0")
    origin.con.execute(f"DELETE FROM {fct} WHERE id = 1")
    assert len(table(origin)) == 2698
    roll_back(origin, FCT)
    assert len(table(origin)) == 403


def test_partition_and_order_come_along(origin: Lake, feed: Feed) -> None:
    fct = f"{LAKE}.main.{FCT}"
    with on_branch(feed) as branch:
        branch.con.execute(
            f"CREATE OR REPLACE TABLE {fct} AS SELECT range AS id, "
            "DATE '2026-01-30' + range::INT AS day FROM range(100)"
        )
        branch.con.execute(f"ALTER TABLE {fct} SET PARTITIONED BY (month(day), id)")
        branch.con.execute(f"ALTER TABLE {fct} SET SORTED BY (day DESC NULLS FIRST)")
        wanted = table(branch)
    do_promote(origin, [FCT])
    assert table(origin) == wanted
    metadata = f"__ducklake_metadata_{LAKE}"
    assert origin.rows(
        f"SELECT transform, column_name FROM {metadata}.ducklake_partition_column "
        f"JOIN {metadata}.ducklake_column USING (table_id, column_id) ORDER BY partition_key_index"
    ) == [("month", "day"), ("identity", "id")]
    assert origin.rows(
        f"SELECT expression, sort_direction, null_order FROM {metadata}.ducklake_sort_expression"
    ) == [('"day"', "DESC", "NULLS_FIRST")]


def test_a_table_goes_back_by_itself_and_no_file_is_shared(origin: Lake, feed: Feed) -> None:
    snapshot = origin.current_snapshot()
    before = table(origin)
    origin.con.execute(f"DELETE FROM {LAKE}.main.{FCT} WHERE id > 10")
    with pytest.raises(PermanentError, match="no table was ever promoted"):
        roll_back(origin, FCT)
    roll_back(origin, FCT, to=snapshot)
    assert table(origin) == before
    age(origin, timedelta(days=5))
    expire_and_clean(origin)
    assert table(origin) == before
    assert find_orphans(origin, origin.value("SELECT now() + INTERVAL 1 DAY")).files == ()


def test_a_plan_changes_nothing(origin: Lake, feed: Feed) -> None:
    with on_branch(feed) as branch:
        build(branch, INT, FCT)
    snapshot = origin.current_snapshot()
    files = sorted(Path(origin.settings.data_path).rglob("*"))
    with open_promotion(origin, NAME, MODELS) as (judge, changed):
        assert changed == [FCT, INT]
        assert plan_promotion(judge, changed).readers == (OTHER,)
    assert origin.current_snapshot() == snapshot
    assert sorted(Path(origin.settings.data_path).rglob("*")) == files


def test_the_commands_show_ask_and_do(
    origin: Lake, feed: Feed, environment: dict[str, str]
) -> None:
    write_manifest(feed.settings, (INT, "shop__orders"), enriched={FCT: [INT], OTHER: [FCT]})
    before = table(origin)

    def run(*words: str, answer: str = "", code: int = 0) -> Result:
        done = CliRunner().invoke(app, words, env=environment, input=answer)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    assert "no table of a model was built" in str(run("promote", NAME, code=1).exception)
    assert "no table was ever promoted" in str(run("rollback", code=1).exception)
    with on_branch(feed) as branch:
        build(branch, INT, FCT, text="upper(status)")
        wanted = table(branch)
    shown = run("promote", NAME, FCT, INT, "--dry-run")
    assert "1 other model that read them stay as they are" in shown.stderr
    run("promote", NAME, answer="n\n", code=1)
    assert table(origin) == before
    found = run("promote", NAME, "--yes", "--json")
    assert [row["model"] for row in json.loads(found.stdout)] == [FCT, INT]
    assert table(origin) == wanted
    assert "403" in run("rollback", "--dry-run").stdout
    assert table(origin) == wanted
    run("rollback", "--yes")
    assert table(origin) == before
