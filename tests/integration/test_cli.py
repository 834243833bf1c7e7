"""The command line on a real lake: data to stdout, words to stderr, exit codes, and no surprise."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from lotus_lake import __version__
from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError, PermanentError, SettingsError, StreamConfigError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.data_files import schedule_deletion
from lotus_lake.lake.session import Lake
from lotus_lake.upkeep import expiry as maintenance
from tests.commands import told
from tests.feeds import DAY, SOURCE, Feed, write_stream
from tests.integration.test_compaction import make_table

PROJECT = Path(__file__).resolve().parents[2]
ORDERS = (SOURCE, "orders")
Command = Callable[..., Result]


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    """A SQLite catalog: what differs between catalogs is below the command line."""
    return f"sqlite:{tmp_path / 'catalog.sqlite'}"


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The dbt project is that of the checkout; everything that is written goes elsewhere."""
    return environment | {"LAKE_PROJECT_DIR": str(PROJECT), "LAKE_TEMP_DIR": str(tmp_path / "tmp")}


@pytest.fixture
def run(environment: dict[str, str]) -> Command:
    """Run `lotus-lake`; an exit code that was not expected shows what was said."""
    runner = CliRunner(env=environment)

    def invoke(*arguments: str, code: int = 0, answer: str | None = None) -> Result:
        result = runner.invoke(app, arguments, input=answer)
        if isinstance(result.exception, LotusLakeError):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def fed(feed: Feed, run: Command) -> Feed:
    """A stream with two files that have landed and two in quarantine."""
    feed.put("part_0.parquet")
    feed.put("part_1.parquet", day=DAY + timedelta(days=1))
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.put_bytes("a&b.parquet", b"x" * 99)
    assert run("feed", *ORDERS).exit_code == 0
    return feed


@pytest.mark.parametrize(
    "command",
    [("feed", *ORDERS), ("reconcile", *ORDERS), ("rewind", *ORDERS, "--dry-run")],
)
def test_a_command_that_waits_for_the_catalog_says_so(
    command: tuple[str, ...], feed: Feed, environment: dict[str, str]
) -> None:
    assert feed.stream.id == "__".join(ORDERS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        catalog = f"postgres:host=127.0.0.1 port={port} dbname=lake user=lake"
        variables = os.environ | environment | {"LAKE_CATALOG": catalog, "PGPASSWORD": "secret"}
        with subprocess.Popen(
            [sys.executable, "-m", "lotus_lake.cli", *command],
            env=variables,
            stderr=subprocess.PIPE,
            text=True,
        ) as waiting:
            assert waiting.stderr
            try:
                assert waiting.stderr.readline() == "opening the catalog ...\n"
            finally:
                waiting.kill()


def state(settings: Settings) -> tuple[int, dict[str, Any]]:
    """The head of the lake, and the newest event of each file."""
    with open_lake(settings) as lake:
        events = lake.rows("SELECT key, event FROM lakehouse.meta.feeder_files ORDER BY version")
        return head(lake), dict(events)


def head(lake: Lake) -> int:
    return int(lake.value("SELECT id FROM lakehouse.current_snapshot()"))


# Help


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with their names, groups included."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


COMMANDS = {" ".join(path): command for path, command in commands(typer.main.get_command(app))}
OURS = [
    "status", "feed", "reconcile", "rewind", "maintain",
    "quarantine list", "quarantine retry", "quarantine drop",
]  # fmt: skip


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(run: Command, name: str) -> None:
    said = run(*name.split(), "--help")
    assert told(said) == []
    first_line = (COMMANDS[name].help or "").splitlines()[0]
    assert first_line
    assert first_line.split()[-1] in said.stdout
    assert all(param.help for param in COMMANDS[name].params if isinstance(param, click.Option))


@pytest.mark.parametrize("command", ["status", "plan", "files", "cursors", "init", "landing"])
def test_a_folder_of_streams_that_is_not_there_is_an_error(
    feed: Feed, environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    said = CliRunner(env=environment | {"LAKE_STREAMS_DIR": str(tmp_path / "nope")}).invoke(
        app, [command]
    )
    assert said.exit_code == 1
    assert "no such folder" in f"{said.stderr}{said.exception}"
    assert not (tmp_path / "nope").exists()


@pytest.mark.parametrize("name", OURS)
def test_every_command_with_arguments_has_an_example_that_it_accepts(name: str) -> None:
    command = COMMANDS[name]
    if not any(isinstance(param, click.Argument) for param in command.params):
        return
    example = re.search(r"Example: (lotus-lake .*)", command.help or "")
    assert example
    program, *words = shlex.split(example[1])
    length = len(name.split())
    assert (program, words[:length]) == ("lotus-lake", name.split())
    command.make_context(name, words[length:])  # raises on a word that it does not know


def test_the_versions_at_work_are_told(run: Command, settings: Settings) -> None:
    said = run("--version").stdout
    assert said.startswith(f"lotus-lake {__version__}, DuckDB {duckdb.__version__}, DuckLake ")
    with open_lake(settings) as lake:
        (made,) = lake.metadata_rows("SELECT value FROM ducklake_metadata WHERE key = 'version'")
        extension = lake.value(
            "SELECT extension_version FROM duckdb_extensions() WHERE extension_name = 'ducklake'"
        )
    assert said.endswith(f"DuckLake {extension} (catalog format {made[0]})\n")


def test_a_missing_argument_is_named(run: Command) -> None:
    said = run("feed", "shop", code=2)
    assert said.stdout == ""
    assert "STREAM" in said.stderr


# status and feed


def test_status_of_a_lake_that_was_never_fed_is_empty(run: Command, settings: Settings) -> None:
    settings.streams_dir.mkdir()
    with open_lake(settings):
        pass
    assert [line.split() for line in run("status").stdout.splitlines()[2:] if line] == [
        ["fct_campaign_performance", "not", "yet"],
        ["fct_campaign_touches", "not", "yet"],
        ["fct_sales", "not", "yet"],
    ]
    said = run("status", "--json")
    assert json.loads(said.stdout) == []
    assert told(said) == ["nothing has been fed yet"]


def test_feed_says_what_landed_and_what_did_not(feed: Feed, run: Command) -> None:
    feed.put("part_0.parquet")
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.put_bytes("a&b.parquet", b"x" * 99)
    said = run("feed", *ORDERS)
    assert said.stdout == ""
    assert "3 objects in the window, 2 to land" in said.stderr
    assert "1 file landed with 3 rows, 2 quarantined" in said.stderr
    assert "`lotus-lake quarantine list shop orders`" in said.stderr
    again = run("feed", *ORDERS)
    assert "0 files landed" in again.stderr
    assert "quarantine list" not in again.stderr
    with open_lake(feed.settings) as lake:
        assert feed.landed(lake) == feed.rows_of(feed.sent)


def test_feed_says_when_a_generation_is_not_whole(feed: Feed, run: Command) -> None:
    path = feed.settings.streams_dir / SOURCE / "orders.json"
    document = json.loads(path.read_text()) | {"destination_sync_mode": "overwrite"}
    path.write_text(json.dumps(document))
    feed.put("part_0.parquet")
    said = run("feed", *ORDERS)
    assert "0 files landed" in said.stderr
    assert "1 file of an incomplete generation" in said.stderr


def test_status_counts_the_files_of_each_stream(fed: Feed, run: Command) -> None:
    said = run("status", "--json")
    (found,) = json.loads(said.stdout)
    expected = {
        "stream": "shop/orders",
        "seen": 4,
        "landed": 2,
        "quarantined": 2,
        "missing": 0,
        "waiting": 0,
        "rows": 6,
        "cursor": fed.key("part_1.parquet", DAY + timedelta(days=1)),
    }
    assert {name: found[name] for name in expected} == expected
    assert told(said) == []
    table = run("status").stdout
    assert "2026-03-11/part_1.parquet" in table
    assert [word in table for word in ("shop/orders", "remarks", "cursor")] == [True] * 3


def test_a_stream_that_does_not_exist_is_refused_with_those_that_do(
    feed: Feed, run: Command
) -> None:
    for command in ("feed", "rewind", "reconcile", "quarantine retry"):
        with pytest.raises(StreamConfigError, match=r"unknown stream 'ordesr'.*\n.*mean orders\?"):
            run(*command.split(), "shop", "ordesr")


# reconcile


def test_reconcile_lands_what_is_late_and_asks_a_person_about_what_is_gone(
    fed: Feed, run: Command
) -> None:
    fed.put("late.parquet", day=DAY - timedelta(days=90))
    assert "0 to land" in run("feed", *ORDERS).stderr
    gone = fed.key("part_0.parquet")
    fed.client.delete_object(Bucket=fed.settings.bucket, Key=gone)

    said = run("reconcile", "--json", code=1)
    (found,) = json.loads(said.stdout)
    assert found["stream"] == "shop/orders"
    assert (found["late"], found["registered"], found["missing"], found["repaired"]) == (1, 1, 1, 0)
    (problem,) = told(said)
    assert problem.startswith("shop/orders: 1 landed files have lost their object")

    repair = re.search(r"`lotus-lake (reconcile shop orders --repair)`", problem)
    assert repair
    assert "──" in run(*repair[1].split()).stdout
    assert told(run("reconcile")) == []
    with open_lake(fed.settings) as lake:
        assert fed.landed(lake) == fed.rows_of(set(fed.sent) - {gone})


def test_a_stream_that_cannot_be_reconciled_does_not_stop_the_others(
    fed: Feed, run: Command
) -> None:
    other = Feed(fed.settings, write_stream(fed.settings.streams_dir, "refunds"), fed.client)
    other.put()
    with open_lake(fed.settings) as lake:
        lake.con.execute("ALTER TABLE lakehouse.staging.stg_shop__orders RENAME id TO old_id")
        lake.con.execute("ALTER TABLE lakehouse.staging.stg_shop__orders ADD COLUMN id VARCHAR")
    said = run("reconcile", "--json", code=1)
    assert [found["stream"] for found in json.loads(said.stdout)] == ["shop/refunds"]
    assert told(said)[0].startswith("shop/orders: ")
    with open_lake(fed.settings) as lake:
        assert other.landed(lake) == other.rows_of(other.sent)


# rewind


def test_a_rewind_that_is_only_asked_about_changes_nothing(fed: Feed, run: Command) -> None:
    before = state(fed.settings)
    planned = {"files": 2, "rows": 6, "retired_files": 0, "cursor_path": None, "models": []}
    for arguments, code, answer in (
        (["--dry-run"], 0, None),
        ([], 1, "n\n"),
        (["--to-snapshot", str(before[0]), "--yes"], 0, None),
    ):
        said = run("rewind", *ORDERS, "--json", *arguments, code=code, answer=answer)
        (plan,) = json.loads(said.stdout.removesuffix(answer or ""))  # what a terminal echoes
        if plan["files"]:
            assert {name: plan[name] for name in planned} == planned
            assert "would be listed and processed again" in said.stderr
        assert state(fed.settings) == before
        assert ("Rewind?" in said.stderr) == bool(answer)


def test_rewind_goes_back_to_a_day_and_nothing_doubles(fed: Feed, run: Command) -> None:
    day = f"{DAY + timedelta(days=1):%Y-%m-%d}"
    said = run("rewind", *ORDERS, "--to-date", day, "--feed-again", answer="y\n")
    assert "1 file (" in said.stderr
    assert "done; 1 file in the queue" in said.stderr
    (found,) = json.loads(run("status", "--json").stdout)
    assert (found["waiting"], found["cursor"]) == (1, fed.key("part_0.parquet"))
    run("feed", *ORDERS)
    with open_lake(fed.settings) as lake:
        assert fed.landed(lake) == fed.rows_of(fed.sent)


def test_points_to_go_back_to_exclude_each_other(fed: Feed, run: Command) -> None:
    before = state(fed.settings)
    with pytest.raises(SettingsError, match="cannot be combined"):
        run("rewind", *ORDERS, "--to-snapshot", "1", "--to-date", "2026-03-10", "--yes")
    assert run("rewind", *ORDERS, "--to-date", "yesterday", code=2).stdout == ""
    assert state(fed.settings) == before


# maintain


def test_a_dry_run_of_maintain_lists_what_the_real_one_deletes(
    fed: Feed, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(fed.settings.data_path, "copies", "old.parquet")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"seen by nothing")
    with open_lake(fed.settings) as lake:
        schedule_deletion(lake, [str(old)])
    assert str(old) not in run("maintain").stdout
    monkeypatch.setattr(maintenance, "file_days", lambda _: -5)
    before = state(fed.settings)

    dry = run("maintain", "--dry-run")
    assert dry.stdout.splitlines()[0] == str(old)
    assert "would have expired 0 snapshots and deleted 1 file" in dry.stderr
    assert old.exists()
    assert state(fed.settings) == before

    done = run("maintain")
    assert done.stdout.splitlines()[0] == str(old)
    assert "would" not in done.stderr
    assert not old.exists()


def test_maintain_tells_machines_what_it_tells_people(fed: Feed, run: Command) -> None:
    dry = json.loads(run("maintain", "--dry-run", "--json").stdout)
    assert (dry["dry_run"], dry["snapshots_expired"], dry["orphans"]["files"]) == (True, 0, [])
    done = run("maintain")
    told = json.loads(run("maintain", "--json").stdout)
    tables = {table["table"]: table for table in told["tables"]}
    landing = f"staging.{fed.stream.landing_table}"
    with open_lake(fed.settings) as lake:
        assert tables[landing]["rows"] == sum(fed.landed(lake).values()) > 0
    assert landing in done.stdout
    assert "meta.table_sizes" in tables
    assert told["totals"]["files"] == sum(table["files"] for table in told["tables"])


def test_maintain_says_what_the_budget_left(fed: Feed, run: Command) -> None:
    with open_lake(fed.settings) as lake:
        make_table(lake)
    assert "main.events: merge; 10 files" in run("maintain", "--dry-run").stderr
    assert "main.events: left for the next run" in run("maintain", "--budget-minutes", "0").stderr
    assert "main.events: merge; 1 file now, 10 before" in run("maintain").stderr


# quarantine


def test_quarantine_lists_why_and_since_when(fed: Feed, run: Command) -> None:
    said = run("quarantine", "list", "--json")
    assert told(said) == ["2 files in quarantine"]
    found = {file["key"]: file for file in json.loads(said.stdout)}
    assert set(found) == {fed.key("a&b.parquet"), fed.key("broken.parquet")}
    assert "not safe to register" in found[fed.key("a&b.parquet")]["error"]
    assert "No magic bytes" in found[fed.key("broken.parquet")]["error"]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:.*\+00:00", found[fed.key("broken.parquet")]["quarantined_at"]
    )
    table = run("quarantine", "list", *ORDERS).stdout
    assert fed.key("broken.parquet") in table
    with pytest.raises(StreamConfigError, match="unknown source 'klaviyo'"):
        run("quarantine", "list", "klaviyo")


def test_what_was_mended_is_retried_and_lands(fed: Feed, run: Command) -> None:
    for arguments, error in (
        ([fed.key("a&b.parquet")], "can never land"),
        ([fed.key("part_0.parquet")], "not in the quarantine"),
    ):
        before = state(fed.settings)
        with pytest.raises(PermanentError, match=error):
            run("quarantine", "retry", *ORDERS, *arguments)
        assert state(fed.settings) == before
    assert "1 file in the queue" in run("quarantine", "retry", *ORDERS).stderr
    said = run("feed", *ORDERS)
    assert "1 quarantined" in said.stderr
    fed.put("broken.parquet")
    assert "1 file landed" in run("feed", *ORDERS).stderr
    with open_lake(fed.settings) as lake:
        assert fed.landed(lake) == fed.rows_of(fed.sent)


def test_what_is_dropped_does_not_come_back(fed: Feed, run: Command) -> None:
    keys = [fed.key("a&b.parquet"), fed.key("broken.parquet")]
    assert run("quarantine", "drop", *ORDERS, code=2).stdout == ""  # never all of them by mistake
    said = run("quarantine", "drop", *ORDERS, *keys)
    assert (said.stdout, told(said)) == ("", ["2 files dropped"])
    assert told(run("quarantine", "list")) == ["0 files in quarantine"]
    assert "quarantined" not in run("feed", *ORDERS).stderr
    assert set(keys) < fed.objects()
    _, events = state(fed.settings)
    assert {events[key] for key in keys} == {"ignored"}
