"""What an operator asks of the lake: where streams stand, what became of files, what comes next."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner, Result

from lotus_lake.bucket.keys import layout_of
from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError, PermanentError, SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META
from lotus_lake.ledger.events import EVENTS
from tests.catalogs import on_sqlite
from tests.consuming import consume, write_manifest
from tests.feeds import DAY, SHAPE, Feed, parquet, some_rows

MODEL = "int_shop__orders"


@dataclass(frozen=True, slots=True)
class Shell:
    """The command line, on a lake of the test's own."""

    environment: dict[str, str]

    def run(self, *words: str, given: str | None = None) -> Result:
        """Run a command that has to succeed."""
        result = self.attempt(*words, given=given)
        assert result.exit_code == 0, (result.stderr, result.exception)
        return result

    def attempt(self, *words: str, given: str | None = None, columns: int = 200) -> Result:
        """Run a command, which may fail."""
        env = {**self.environment, "COLUMNS": str(columns)}
        return CliRunner().invoke(app, list(words), input=given, env=env)

    def json(self, *words: str) -> list[dict[str, Any]]:
        """What a command prints with `--json`."""
        found: list[dict[str, Any]] = json.loads(self.run(*words, "--json").stdout)
        return found

    def refused(self, *words: str) -> LotusLakeError:
        """The error that a command ends with."""
        error = self.attempt(*words).exception
        assert isinstance(error, LotusLakeError)
        return error


@pytest.fixture
def shell(environment: dict[str, str]) -> Shell:
    return Shell(environment)


@pytest.fixture
def fed(make_feed: Callable[..., Feed]) -> Feed:
    """A stream with four landed files of two days, one in quarantine, and one that waits."""
    feed = make_feed(batch_files=2)
    with open_lake(feed.settings) as lake:
        for day in (DAY - timedelta(days=1), DAY):
            for name in ("part_0.parquet", "part_1.parquet"):
                feed.put(name, day=day)
            feed.run(lake, f"run of {day}")
        feed.put_bytes("broken.parquet", b"x" * 99)
        feed.run(lake, "broken run")
    feed.put("part_2.parquet")
    with open_lake(feed.settings) as lake:
        feed.list_files(lake, "listing")
    return feed


# status


def test_status_shows_streams_before_anything_was_fed_and_creates_nothing(
    make_feed: Callable[..., Feed], shell: Shell
) -> None:
    make_feed()
    make_feed("lines")
    found = shell.json("status")
    assert [row["stream"] for row in found] == ["shop/lines", "shop/orders"]
    assert {row["seen"] for row in found} == {0}
    assert "nothing has been fed yet" in shell.run("status").stderr
    with pytest.raises(LotusLakeError), open_lake(fed_settings(shell), read_only=True):
        pass


def fed_settings(shell: Shell) -> Settings:
    return Settings.from_env(shell.environment)


@on_sqlite
def test_status_counts_what_became_of_files(
    fed: Feed, make_feed: Callable[..., Feed], shell: Shell
) -> None:
    make_feed("lines")
    lines, orders = shell.json("status")
    assert (lines["stream"], lines["seen"], lines["configured"]) == ("shop/lines", 0, True)
    expected = {
        "stream": "shop/orders",
        "cursor": fed.key("part_1.parquet"),
        "seen": 6,
        "landed": 4,
        "copied": 0,
        "quarantined": 1,
        "missing": 0,
        "waiting": 1,
        "waiting_bytes": size_of(fed, fed.key("part_2.parquet")),
        "rows": 12,
        "lag_files": None,
        "slowest_model": None,
        "landed_bytes": sum(size_of(fed, key) for key in fed.sent)
        - size_of(fed, fed.key("part_2.parquet")),
    }
    assert {name: orders[name] for name in expected} == expected
    assert orders["oldest_waiting_at"] > orders["last_landed_at"]
    shown = shell.run("status").stdout
    assert "2026-03-10/part_1.parquet" in shown
    assert "1 QUARANTINED" in shown
    assert "raw/shop" not in shown
    assert "s ago" in shown
    narrow = shell.attempt("status", columns=80).stdout
    assert "2026-03-10/part_1.parquet" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert "shop/orders" in narrow


def size_of(feed: Feed, key: str) -> int:
    found = feed.client.head_object(Bucket=feed.settings.bucket, Key=key)
    return int(found["ContentLength"])


@on_sqlite
def test_status_shows_streams_whose_config_is_gone(fed: Feed, shell: Shell) -> None:
    Path(fed.settings.streams_dir, "shop", "orders.json").unlink()
    (row,) = shell.json("status")
    assert (row["configured"], row["landed"]) == (False, 4)
    assert "no config" in shell.run("status").stdout


def test_status_tells_how_far_the_slowest_model_is_behind(fed: Feed, shell: Shell) -> None:
    write_manifest(fed.settings, (MODEL, "shop__orders"), ("int_slow", "shop__orders"))
    (row,) = shell.json("status")
    assert (row["lag_snapshots"], row["lag_files"]) == (2, 4)
    with open_lake(fed.settings) as lake:
        consume(fed, lake, MODEL, "int_slow")
        first = lake.value(f"SELECT min(snapshot_id) FROM {META}.file_events WHERE event = ?",
                           ["registered"])  # fmt: skip
        lake.con.execute(f"UPDATE {META}.watermark_int_slow SET snapshot_id_to = {first}")
    (row,) = shell.json("status")
    assert (row["lag_snapshots"], row["lag_files"], row["slowest_model"]) == (1, 2, "int_slow")
    with open_lake(fed.settings) as lake:
        consume(fed, lake, "int_slow")
        # As upkeep may do: the table is in a data file then, not in DuckLake's metadata.
        lake.con.execute(f"CALL ducklake_flush_inlined_data('{LAKE}')")
    (row,) = shell.json("status")
    assert (row["lag_files"], row["slowest_model"], row["unread_since"]) == (0, None, None)


def test_status_tells_when_an_enriched_model_was_built_and_what_it_lacks(
    fed: Feed, shell: Shell
) -> None:
    write_manifest(fed.settings, (MODEL, "shop__orders"), enriched={"fct_sales": [MODEL]})
    (row,) = shell.json("status", "--enriched")
    assert (row["model"], row["built"], row["behind"]) == ("fct_sales", False, [])
    with open_lake(fed.settings) as lake:
        consume(fed, lake, MODEL)
        lake.con.execute(f"CREATE TABLE {LAKE}.main.fct_sales AS FROM range(3)")
    (row,) = shell.json("status", "--enriched")
    assert (row["built"], row["rows"], row["behind"]) == (True, 3, [])
    assert row["built_at"]
    assert "up to date" in shell.run("status").stdout
    with open_lake(fed.settings) as lake:
        consume(fed, lake, MODEL)
        lake.con.execute(f"DELETE FROM {LAKE}.main.fct_sales WHERE range = 0")
    (row,) = shell.json("status", "--enriched")
    assert row["rows"] == 2
    with open_lake(fed.settings) as lake:
        consume(fed, lake, MODEL)
    (row,) = shell.json("status", "--enriched")
    assert row["behind"] == [MODEL]
    assert f"behind {MODEL}" in shell.attempt("status", columns=80).stdout


# files


@on_sqlite
def test_files_shows_the_ledger_and_filters_it(fed: Feed, shell: Shell) -> None:
    everything = shell.json("files")
    assert len(everything) == 6
    assert everything[0]["key"] == fed.key("part_2.parquet")
    (broken,) = shell.json("files", "shop", "orders", "--event", "quarantined")
    assert broken["key"] == fed.key("broken.parquet")
    assert "No magic bytes" in broken["error"]
    assert broken["dag_run_id"] == "broken run"
    earlier = DAY - timedelta(days=1)
    keys = {fed.key(name, earlier) for name in ("part_0.parquet", "part_1.parquet")}
    day = f"year={earlier:%Y}/month={earlier:%m}/day={earlier:%d}/"
    assert {file["key"] for file in shell.json("files", "--key", day)} == keys
    full = layout_of(fed.settings, fed.stream).prefix + day
    assert {file["key"] for file in shell.json("files", "shop", "--key", full)} == keys
    for words in (("files", "shpo"), ("cursors", "shpo"), ("plan", "shpo"), ("plan", "shop", "o")):
        assert "known: " in str(shell.refused(*words).hint)
    cut = shell.run("files", "--limit", "2")
    assert "2 files, there may be more" in cut.stderr
    assert set(EVENTS) <= set(re.findall(r"\w+", shell.run("files", "--help").stdout))


def test_a_row_is_traced_to_the_file_and_the_run_it_came_from(fed: Feed, shell: Shell) -> None:
    wanted = fed.sent[fed.key("part_1.parquet")][2]
    (origin,) = shell.json("files", "shop", "orders", "--where", f"_airbyte_raw_id = '{wanted}'")
    assert origin["key"] == fed.key("part_1.parquet")
    assert origin["matching_rows"] == 1
    assert origin["dag_run_id"] == f"run of {DAY}"
    assert origin["data_file"] == fed.settings.uri(fed.key("part_1.parquet"))
    assert origin["snapshot_id"] > 0
    several = shell.run("files", "shop", "orders", "--where", "id < 2")
    assert "8 rows in 4 files" in several.stderr
    assert "0 rows in 0 files" in shell.run("files", "shop", "orders", "--where", "id=99").stderr


@on_sqlite
def test_a_row_that_landed_as_a_copy_is_traced_to_its_object(
    make_feed: Callable[..., Feed], shell: Shell
) -> None:
    feed = make_feed()
    key = feed.put(shape={**SHAPE, "amount": pa.int64()}, rows=[
        {**row, "amount": 9} for row in some_rows(2)
    ])  # fmt: skip
    assert feed.run_afresh().total.copied == 1
    (origin,) = shell.json("files", "shop", "orders", "--where", "amount = 9")
    assert (origin["key"], origin["matching_rows"]) == (key, 2)
    assert "/copies/" in origin["data_file"]


@on_sqlite
def test_a_condition_that_is_wrong_is_told(fed: Feed, shell: Shell) -> None:
    for words, said in (
        (("shop", "--where", "id = 1"), "one stream"),
        (("shop", "orders", "--where", "no_such = 1"), "no_such"),
        (("shop", "orders", "--where", "id = ("), "is not valid for"),
        (("shop", "orders", "--where", "id = 1", "--event", "empty"), "one stream"),
    ):
        assert said in str(shell.refused("files", *words))


# cursors


@on_sqlite
def test_cursors_and_their_history(fed: Feed, shell: Shell) -> None:
    (cursor,) = shell.json("cursors")
    assert (cursor["cursor_path"], cursor["backlog"]) == (fed.key("part_1.parquet"), 1)
    moves = shell.json("cursors", "shop", "orders", "--history", "5")
    assert [move["dag_run_id"] for move in moves] == [
        f"run of {DAY}",
        f"run of {DAY - timedelta(days=1)}",
    ]
    assert len(shell.json("cursors", "--history", "1")) == 1


# plan


def test_a_plan_says_what_the_next_run_does_and_writes_nothing(fed: Feed, shell: Shell) -> None:
    fed.put("part_3.parquet")
    fed.put("part_4.parquet", day=DAY + timedelta(days=1))
    unsafe = fed.put_bytes("a&b.parquet", parquet(some_rows(1)))
    fed.put_bytes("part_0.parquet", parquet(some_rows(9)))  # replaced after it landed
    before = head(fed)
    (plan,) = shell.json("plan", "shop", "orders")
    assert (plan["new_files"], plan["waiting_files"], plan["left_files"]) == (2, 1, 0)
    assert [(day["day"], day["files"]) for day in plan["days"]] == [
        (str(DAY), 1),
        (str(DAY + timedelta(days=1)), 1),
    ]
    assert [batch["files"] for batch in plan["batches"]] == [2, 1]
    refused = {item["key"]: item for item in plan["refused"]}
    assert set(refused) == {unsafe, fed.key("part_0.parquet")}
    assert {item["event"] for item in refused.values()} == {"quarantined"}
    assert head(fed) == before
    done = fed.run_afresh()
    assert done.listing.discovered == plan["new_files"]
    assert done.listing.quarantined == len(plan["refused"])
    assert [batch.registered for batch in done.batches] == [2, 1]
    (after,) = shell.json("plan")
    assert (after["new_files"], after["batches"]) == (0, [])
    assert "lists after raw/shop/orders/year=2026" in shell.run("plan").stderr


def head(feed: Feed) -> int:
    with open_lake(feed.settings) as lake:
        return int(lake.value(f"SELECT id FROM {LAKE}.current_snapshot()"))


@on_sqlite
def test_a_stream_that_was_never_fed_has_a_plan(
    make_feed: Callable[..., Feed], shell: Shell
) -> None:
    feed = make_feed(batch_files=1, max_batches=2)
    for number in range(3):
        feed.put(f"part_{number}.parquet")
    feed.put_bytes("nothing.parquet", b"")
    (plan,) = shell.json("plan", "shop", "orders")
    assert (plan["listed"], plan["new_files"], plan["left_files"]) == (4, 3, 1)
    assert plan["start_after"] is None
    assert [item["error"] for item in plan["refused"]] == ["object has no bytes"]
    with pytest.raises(LotusLakeError), open_lake(feed.settings, read_only=True):
        pass


# query


@on_sqlite
def test_sql_is_answered_as_table_json_or_csv(fed: Feed, shell: Shell, tmp_path: Path) -> None:
    sql = "SELECT id, status, [1, 2] AS list FROM staging.stg_shop__orders ORDER BY id LIMIT 2"
    assert shell.json("query", sql) == [{"id": 0, "status": "paid", "list": [1, 2]}] * 2
    table = list(csv.reader(io.StringIO(shell.run("query", "--csv", sql).stdout)))
    assert table == [["id", "status", "list"], *[["0", "paid", "[1, 2]"]] * 2]
    shown = shell.run("query", sql)
    assert "[1, 2]" in shown.stdout
    assert "2 rows" in shown.stderr
    assert json.loads(shell.run("query", "--json", given="SELECT 1 AS one").stdout) == [{"one": 1}]
    file = tmp_path / "report.sql"
    file.write_text("SELECT 'a' AS x, 'b' AS x")
    assert shell.json("query", "--file", str(file)) == [{"x": "a", "x_2": "b"}]
    cut = shell.run("query", "--limit", "3", "FROM range(9)")
    assert "only the first 3 rows" in cut.stderr


def test_sql_cannot_write_unless_it_is_asked_to(fed: Feed, shell: Shell, tmp_path: Path) -> None:
    csv_file = tmp_path / "out.csv"
    before = head(fed)
    for sql in (
        "DELETE FROM staging.stg_shop__orders",
        "SELECT 1; DROP TABLE meta.file_events",
        f"COPY (SELECT 1) TO '{csv_file}'",
        f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)",
        f"FROM ducklake_delete_orphaned_files('{LAKE}', cleanup_all => true)",
        f"CALL {LAKE}.set_option('auto_compact', true)",
        "ATTACH ':memory:' AS other",
    ):
        error = shell.refused("query", sql)
        assert isinstance(error, PermanentError)
        assert "--write" in str(error)
    assert head(fed) == before
    assert not csv_file.exists()
    shell.run("query", "--write", "CREATE TABLE main.notes AS SELECT 1 AS id")
    assert shell.json("query", "FROM main.notes") == [{"id": 1}]


@on_sqlite
def test_sql_that_is_wrong_is_told(fed: Feed, shell: Shell) -> None:
    assert "no_such" in str(shell.refused("query", "FROM no_such"))
    assert "no statement" in str(shell.refused("query", "  "))
    assert isinstance(shell.refused("query", "--csv", "--json", "SELECT 1"), SettingsError)


def test_rows_that_are_wider_than_the_terminal_get_a_line_a_column(fed: Feed, shell: Shell) -> None:
    columns = ", ".join(f"'value number {n}' AS a_column_{n}" for n in range(12))
    shown = shell.attempt("query", f"SELECT {columns}", columns=80).stdout
    assert shown.splitlines()[0] == "── row 1 ──"
    assert "a_column_11  value number 11" in shown
    assert "a_column_11" in shell.attempt("query", f"SELECT {columns}", columns=300).stdout
    text = "long " * 60
    broken = shell.attempt("query", f"SELECT 7 AS id, '{text}' AS text", columns=80).stdout
    assert max(map(len, broken.splitlines())) <= 80
    assert "".join(broken.split()).count("long") == 60


# What a person reads before.


def commands() -> list[tuple[str, ...]]:
    group = typer.main.get_command(app)
    names: list[tuple[str, ...]] = [(name,) for name in group.commands]  # type: ignore[attr-defined]
    return names


MINE = ("status", "files", "cursors", "plan", "query", "doctor")


@pytest.mark.parametrize("name", MINE)
def test_the_help_of_a_command_has_an_example(name: str) -> None:
    assert (name,) in commands()
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout
    assert f"Example: lotus-lake {name}" in shown


@on_sqlite
def test_the_shell_completes_sources_and_streams(
    make_feed: Callable[..., Feed], environment: dict[str, str]
) -> None:
    make_feed()
    make_feed("order_lines")

    def complete(words: str, *, number: int) -> set[str]:
        shown = CliRunner().invoke(
            app,
            prog_name="lotus-lake",
            env={
                **environment,
                "_LOTUS_LAKE_COMPLETE": "complete_bash",
                "COMP_WORDS": f"lotus-lake {words}",
                "COMP_CWORD": str(number),
            },
        )
        return set(shown.stdout.split())

    for command in ("files", "feed", "rewind", "plan"):
        assert complete(f"{command} ", number=2) == {"shop"}
        assert complete(f"{command} shop ", number=3) == {"orders", "order_lines"}
        assert complete(f"{command} shop orders", number=3) == {"orders"}


@on_sqlite
def test_balance_ends_with_1_and_names_the_file_if_rows_are_missing(
    fed: Feed, shell: Shell
) -> None:
    sheet = shell.run("balance", "shop", "orders").stdout
    assert "balanced" in sheet
    (found,) = shell.json("balance")
    assert (found["files"], found["ledger_rows"], found["problems"]) == (6, 12, [])
    with open_lake(fed.settings) as lake:
        lake.con.execute(f"DELETE FROM {LAKE}.staging.{fed.stream.landing_table} WHERE year = 2026")
    result = shell.attempt("balance", "--read")
    assert result.exit_code == 1
    assert "UNBALANCED" in result.stdout
    assert f"  {fed.key('part_0.parquet')}: 3 landed, the table has 0" in result.stderr


@on_sqlite
def test_status_says_how_each_stream_is(fed: Feed, shell: Shell) -> None:
    (found,) = shell.json("status")
    assert (found["state"], found["reason"]) == ("broken", "1 file in quarantine")
    assert "broken" in shell.run("status").stdout
    assert found["acknowledged_by"] is None
    person = os.environ.get("USER") or str(os.getuid())
    said = shell.run("acknowledge", "shop", "orders").stderr
    assert f"seen by {person}: 1 file in quarantine; only what is new is alerted" in said
    (found,) = shell.json("status")
    assert (found["state"], found["acknowledged_by"]) == ("broken", person)
    assert f"seen by {person}" in shell.run("status").stdout
