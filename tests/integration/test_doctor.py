"""The doctor finds each known trap, says how to mend it, and leaves a healthy lake alone."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.doctor import examine
from lotus_lake.doctor.findings import Finding
from lotus_lake.feeder.list import list_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.data_files import schedule_deletion
from lotus_lake.lake.session import LAKE, META
from lotus_lake.project.manifest import ensure_manifest
from tests.announcing import make_queue
from tests.catalogs import on_postgres, on_sqlite
from tests.consuming import consume
from tests.feeds import Feed, write_stream
from tests.servers import run_announcing_s3

MODEL = "int_shop__orders"
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fed(make_feed: Callable[..., Feed], project: Path) -> Feed:
    """A lake in order: a stream with two landed files that its model has read."""
    feed = make_feed()
    shutil.copytree(project, feed.settings.project_dir, dirs_exist_ok=True)
    feed.put("part_0.parquet")
    feed.put("part_1.parquet")
    with open_lake(feed.settings) as lake:
        feed.run(lake)
        consume(feed, lake, MODEL)
    return feed


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a project with one stream, as `add-stream` writes them, parsed by dbt."""
    root = tmp_path_factory.mktemp("project")
    write_stream(root / "streams", "orders")
    for name in ("dbt_project.yml", "profiles.yml", "macros", "models/processed/processed.md"):
        source, target = PROJECT / "include" / "dbt" / name, root / "include" / "dbt" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    environment = {"LAKE_PROJECT_DIR": str(root), "LAKE_STREAMS_DIR": str(root / "streams")}
    for command in (["add-stream", "shop", "orders"], ["landing"]):
        result = CliRunner().invoke(app, command, env=environment)
        assert result.exit_code == 0, (result.output, result.exception)
    ensure_manifest(root)
    return root


class Store(ThreadingHTTPServer):
    """A store with an empty bucket, which tells what a test wants it to.

    Attributes:
        status: What every request is answered with.
        date: What time it is; the true time when empty.
        rules: Its lifecycle configuration.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.date, self.rules = 200, "", b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        body = self.server.rules if "lifecycle" in self.path else b"<ListBucketResult/>"
        if self.server.status == 403:
            body = b"<Error><Code>AccessDenied</Code></Error>"
        self.send_response_only(self.server.status)
        self.send_header("Date", self.server.date or self.date_time_string())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[Store]:
    """That store, running."""
    with Store() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def problems(environment: Mapping[str, str]) -> dict[str, Finding]:
    """What the doctor finds, by the name of the check."""
    findings = examine(environment)
    assert len(findings) == len({finding.check for finding in findings}) > 20
    return {finding.check: finding for finding in findings if finding.state == "problem"}


def the_problem(environment: Mapping[str, str], check: str) -> Finding:
    """The one problem that there is; the lake is in order but for it."""
    found = problems(environment)
    assert list(found) == [check], found
    assert found[check].hint
    return found[check]


def write(feed: Feed, *statements: str) -> None:
    """Change the lake by hand, as nobody should."""
    with open_lake(feed.settings) as lake:
        for statement in statements:
            lake.con.execute(statement)


def query(environment: Mapping[str, str], hint: str | None) -> None:
    """Do what a hint says, when it is an SQL statement for the command line."""
    assert hint is not None
    command = hint.removeprefix('lotus-lake query --write "')
    assert command != hint
    result = CliRunner().invoke(
        app, ["query", "--write", command.partition('"')[0]], env=dict(environment)
    )
    assert result.exit_code == 0, result.exception


def test_a_healthy_lake_gives_no_problem(fed: Feed, environment: dict[str, str]) -> None:
    assert CliRunner().invoke(app, ["init"], env=environment).exit_code == 0
    assert problems(environment) == {}
    result = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
    assert result.exit_code == 0
    assert {found["state"] for found in json.loads(result.stdout)} == {"ok", "skipped"}
    assert not list(Path(fed.settings.data_path).rglob("*doctor*"))


@on_sqlite
def test_a_lake_that_is_not_there_yet_gives_no_problem(
    make_feed: Callable[..., Feed], environment: dict[str, str], project: Path
) -> None:
    feed = make_feed()
    shutil.copytree(project, feed.settings.project_dir, dirs_exist_ok=True)
    assert problems(environment) == {}
    assert not Path(feed.settings.catalog.address).exists()


@on_sqlite
def test_the_command_shows_problems_with_hints_and_fails(
    fed: Feed, environment: dict[str, str]
) -> None:
    result = CliRunner().invoke(
        app, ["doctor"], env={**environment, "LAKE_MEMORY_LIMIT": "900TB", "COLUMNS": "200"}
    )
    assert result.exit_code == 1
    assert "memory limit fits the machine" in result.stdout
    assert "hint: LAKE_MEMORY_LIMIT=" in result.stderr


# What is installed and set.


@on_sqlite
def test_versions_that_are_not_the_pinned_ones(fed: Feed, environment: dict[str, str]) -> None:
    pyproject = fed.settings.project_dir / "pyproject.toml"
    pyproject.write_text(
        '[project]\nrequires-python = ">=3.11"\n'
        'dependencies = ["duckdb>=99", "typer>=0.1", "no-such-package>=1"]\n'
    )
    found = the_problem(environment, "installed versions are the pinned ones")
    assert "duckdb is 1." in found.text
    assert "no-such-package is missing" in found.text
    assert "typer" not in found.text
    assert found.hint == "pip install -r requirements.txt"
    pyproject.write_text('[project]\nrequires-python = "<3"\ndependencies = []\n')
    assert "use Python <3" in str(the_problem(environment, "python is supported").hint)


@on_sqlite
@pytest.mark.parametrize("data_path", ["raw/lake", "", "raw"])
def test_a_data_path_that_overlaps_the_raw_prefix(
    fed: Feed, environment: dict[str, str], data_path: str
) -> None:
    path = f"s3://{fed.settings.bucket}/{data_path}"
    found = the_problem({**environment, "LAKE_DATA_PATH": path}, "settings are valid")
    assert "overlap" in found.text
    assert "side by side" in str(found.hint)


@on_sqlite
def test_a_memory_limit_that_the_machine_has_not(fed: Feed, environment: dict[str, str]) -> None:
    found = problems({**environment, "LAKE_MEMORY_LIMIT": "900TB"})
    assert set(found) == {"memory limit fits the machine", "temp dir has room"}
    assert "LAKE_MEMORY_LIMIT=" in str(found["memory limit fits the machine"].hint)
    assert "LAKE_TEMP_DIR" in str(found["temp dir has room"].hint)


@on_sqlite
def test_project_files_that_validate_refuses(fed: Feed, environment: dict[str, str]) -> None:
    folder = fed.settings.streams_dir / "Shop"
    folder.mkdir()
    original = (fed.settings.streams_dir / "shop" / "orders.json").read_text()
    (folder / "orders.json").write_text(original)
    found = the_problem(environment, "project files fit together")
    assert re.match(r"\d problems, such as include/.*Shop", found.text)
    assert "`lotus-lake validate` lists them all" in str(found.hint)
    (folder / "orders.json").unlink()
    (folder / "lines.json").write_text(original)
    found = the_problem(environment, "project files fit together")
    assert "the file is named 'lines'" in found.text
    (folder / "lines.json").unlink()
    elsewhere = {**environment, "LAKE_STREAMS_DIR": "/nope"}
    assert "no such folder" in the_problem(elsewhere, "project files fit together").text


@on_sqlite
def test_a_dbt_manifest_that_nobody_can_make(
    fed: Feed, environment: dict[str, str], tmp_path: Path
) -> None:
    (fed.settings.project_dir / "include" / "dbt" / "dbt_project.yml").unlink()
    found = problems(environment)["dbt manifest is current"]
    assert "contains no dbt project" in found.text
    assert "dbt parse" in str(found.hint)


# The store.


@on_sqlite
def test_credentials_that_are_wrong(fed: Feed, environment: dict[str, str]) -> None:
    found = the_problem({**environment, "AWS_SECRET_ACCESS_KEY": "wrong"}, "bucket is listed")
    assert "the keys are wrong" in str(found.hint)
    assert "wrong" not in found.text


@on_sqlite
def test_a_profile_that_does_not_exist_leaves_the_other_checks(
    fed: Feed, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    assert "no-such-profile" in the_problem(environment, "bucket is listed").text
    assert "AWS_PROFILE" in str(the_problem(environment, "bucket is listed").hint)
    without_keys = {
        name: value
        for name, value in environment.items()
        if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    findings = {found.check: found.state for found in examine(without_keys)}
    assert findings["bucket is listed"] == "problem"
    assert findings["nothing is in quarantine"] == "ok"
    assert findings["models read what has landed"] == "ok"


@on_sqlite
def test_a_bucket_that_is_not_there(fed: Feed, environment: dict[str, str]) -> None:
    found = problems({**environment, "LAKE_RAW_URI": "s3://no-such-bucket/raw"})
    assert "create the bucket" in str(found["bucket is listed"].hint)


@on_sqlite
def test_a_bucket_that_refuses(fed: Feed, environment: dict[str, str], store: Store) -> None:
    store.status = 403
    found = the_problem({**environment, "AWS_ENDPOINT_URL": store.url}, "bucket is listed")
    assert "s3:ListBucket" in str(found.hint)


@on_sqlite
def test_a_data_path_that_cannot_be_written(fed: Feed, environment: dict[str, str]) -> None:
    elsewhere = {**environment, "LAKE_DATA_PATH": "s3://no-such-bucket/lake/"}
    found = problems(elsewhere)["data path can be written"]
    assert "s3:PutObject" in str(found.hint)


@on_sqlite
def test_a_clock_that_is_wrong(fed: Feed, environment: dict[str, str], store: Store) -> None:
    store.date = format_datetime(datetime.now(UTC) + timedelta(minutes=7), usegmt=True)
    found = the_problem(
        {**environment, "AWS_ENDPOINT_URL": store.url}, "clock agrees with the store"
    )
    assert "7 minutes behind the store" in found.text
    assert "synchronise the clock" in str(found.hint)


LIFECYCLE = b"""<LifecycleConfiguration><Rule><ID>tidy</ID><Status>Enabled</Status>
<Filter><Prefix>%s</Prefix></Filter><Expiration><Days>%d</Days></Expiration></Rule>
</LifecycleConfiguration>"""


@on_sqlite
def test_a_lifecycle_rule_that_deletes_too_early(
    fed: Feed, environment: dict[str, str], store: Store
) -> None:
    asked = {**environment, "AWS_ENDPOINT_URL": store.url}
    days = fed.stream.feeder.retention_days
    for prefix, after in ((b"raw/", days), (b"", 1), (b"raw/shop/", 3)):
        store.rules = LIFECYCLE % (prefix, after)
        found = the_problem(asked, "no rule takes raw objects too early")
        assert f"tidy after {after} days" in found.text
        assert "remove the rules" in str(found.hint)
    for prefix, after in ((b"raw/", days + 1), (b"lake/", 1)):
        store.rules = LIFECYCLE % (prefix, after)
        assert problems(asked) == {}


@on_sqlite
def test_a_queue_of_notifications_that_does_not_answer_or_that_nobody_reads(
    fed: Feed, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_lake.doctor.store._MANY_MESSAGES", 1)
    with run_announcing_s3() as server:
        queue = make_queue(server, "lake-events")
        asked = {**environment, "LAKE_EVENTS_QUEUE": queue.url}
        queue.send("one")
        assert problems(asked) == {}
        queue.send("two")
        assert "2 messages wait" in the_problem(asked, "events can be read").text
        queue.client.delete_queue(QueueUrl=queue.url)
        gone = the_problem(asked, "events can be read")
        assert "NonExistentQueue" in gone.text
        assert "sqs-events.json" in str(gone.hint)


# The catalog.


@on_sqlite
def test_a_sqlite_catalog_without_a_write_ahead_log(fed: Feed, environment: dict[str, str]) -> None:
    with closing(sqlite3.connect(fed.settings.catalog.address)) as con:
        assert con.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    found = problems(environment)["sqlite journal is wal"]
    query(environment, found.hint)
    assert problems(environment) == {}


@on_sqlite
def test_a_write_lock_that_nobody_gives_back(fed: Feed, environment: dict[str, str]) -> None:
    path = Path(f"{fed.settings.catalog.address}.lock")
    check = "nobody sits on the write lock"
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path.write_text("process 4194305: a task that died\n")  # above every id of a process
        found = the_problem(environment, check)
        assert "a task that died, which is gone" in found.text
        assert f"fuser {path}" in str(found.hint)
        path.write_text(f"process {os.getpid()}: a task at work\n")
        assert problems(environment) == {}
        hour_ago = datetime.now(UTC).timestamp() - 3600
        os.utime(path, (hour_ago, hour_ago))
        assert "held for 60 minutes" in the_problem(environment, check).text
    assert problems(environment) == {}


@on_sqlite
def test_a_catalog_of_another_ducklake(fed: Feed, environment: dict[str, str]) -> None:
    with closing(sqlite3.connect(fed.settings.catalog.address)) as con:
        con.execute("UPDATE ducklake_metadata SET value = '0.1' WHERE key = 'version'")
        con.commit()
    found = the_problem(environment, "catalog opens")
    assert "needs another DuckLake" in found.text
    assert "lotus-lake upgrade --rehearse" in str(found.hint)


@on_sqlite
def test_a_catalog_of_another_data_path(
    fed: Feed, environment: dict[str, str], tmp_path: Path
) -> None:
    found = the_problem({**environment, "LAKE_DATA_PATH": str(tmp_path / "no")}, "catalog opens")
    assert "set LAKE_DATA_PATH" in str(found.hint)


@on_postgres
def test_a_postgres_catalog_without_the_index(fed: Feed, environment: dict[str, str]) -> None:
    found = the_problem(environment, "lake has what init creates")
    assert "index on ducklake_file_column_stats" in found.text
    assert "`lotus-lake init`" in str(found.hint)
    assert CliRunner().invoke(app, ["init"], env=environment).exit_code == 0
    assert problems(environment) == {}


@on_sqlite
def test_a_server_that_is_gone(fed: Feed, environment: dict[str, str]) -> None:
    gone = "postgres:host=127.0.0.1 port=9 dbname=lake user=lake"
    found = the_problem({**environment, "LAKE_CATALOG": gone}, "catalog opens")
    assert "PGPASSWORD" in str(found.hint)


# Inside the lake.


@on_sqlite
def test_a_landing_table_that_would_be_compacted(fed: Feed, environment: dict[str, str]) -> None:
    write(
        fed,
        f"CALL {LAKE}.set_option('auto_compact', true, schema => 'staging', "
        f"table_name => '{fed.stream.landing_table}')",
    )
    found = the_problem(environment, "lake has what init creates")
    assert "option auto_compact" in found.text
    assert "`lotus-lake init`" in str(found.hint)
    assert CliRunner().invoke(app, ["init"], env=environment).exit_code == 0
    assert problems(environment) == {}


@on_sqlite
def test_a_landing_table_that_is_partitioned(fed: Feed, environment: dict[str, str]) -> None:
    write(fed, f"ALTER TABLE {LAKE}.staging.{fed.stream.landing_table} SET PARTITIONED BY (year)")
    found = the_problem(environment, "landing tables are not partitioned")
    query(environment, found.hint)
    assert problems(environment) == {}


def schedule(feed: Feed, key: str) -> None:
    with open_lake(feed.settings) as lake:
        schedule_deletion(lake, [feed.settings.uri(key)])


@on_sqlite
def test_a_raw_object_that_is_to_be_deleted_and_was_not_retired(
    fed: Feed, environment: dict[str, str]
) -> None:
    schedule(fed, fed.key("part_0.parquet"))
    found = the_problem(environment, "nothing is deleted that was not retired")
    assert fed.key("part_0.parquet") in found.text
    assert "lotus-lake maintain" in str(found.hint)
    result = CliRunner().invoke(app, ["maintain"], env=environment)
    assert result.exit_code == 0, result.exception
    assert problems(environment) == {}


@on_sqlite
def test_a_registered_file_whose_object_is_gone(fed: Feed, environment: dict[str, str]) -> None:
    key = fed.key("part_0.parquet")
    fed.client.delete_object(Bucket=fed.settings.bucket, Key=key)
    with open_lake(fed.settings) as lake:
        list_files(lake, fed.stream, fed.client, "whole", whole=True)
    found = the_problem(environment, "registered files are there")
    assert key in found.text
    command = "lotus-lake reconcile shop orders --repair"
    assert command in str(found.hint)
    CliRunner().invoke(app, command.split()[1:], env=environment)
    assert problems(environment) == {}


@on_sqlite
def test_a_file_in_quarantine(fed: Feed, environment: dict[str, str]) -> None:
    key = fed.put_bytes("broken.parquet", b"x" * 99)
    fed.run_afresh()
    found = the_problem(environment, "nothing is in quarantine")
    assert key in found.text
    assert "lotus-lake quarantine list" in str(found.hint)


def make_older(feed: Feed) -> None:
    """Everything happened a day and an hour earlier; the rows have new snapshots, all read."""
    write(feed, f"UPDATE {META}.file_events SET recorded_at = recorded_at - INTERVAL 25 HOUR")
    with open_lake(feed.settings) as lake:
        consume(feed, lake, MODEL)


@on_sqlite
def test_a_file_that_waits_for_long(fed: Feed, environment: dict[str, str]) -> None:
    fed.put("part_2.parquet")
    with open_lake(fed.settings) as lake:
        fed.list_files(lake)
    assert problems(environment) == {}
    make_older(fed)
    found = the_problem(environment, "nothing waits for long")
    assert "shop/orders (1 files" in found.text
    assert "lotus-lake feed" in str(found.hint)


@on_sqlite
def test_a_model_that_stopped_reading(fed: Feed, environment: dict[str, str]) -> None:
    write(fed, f"UPDATE {META}.watermark_{MODEL} SET snapshot_id_to = 0")
    assert problems(environment) == {}  # it may be at work
    make_older(fed)
    assert problems(environment) == {}  # it has read everything
    write(fed, f"DROP TABLE {META}.watermark_{MODEL}")
    found = the_problem(environment, "models read what has landed")
    assert f"{MODEL} (2 files of shop/orders, it never ran)" in found.text


@on_sqlite
def test_files_that_belong_to_nothing(fed: Feed, environment: dict[str, str]) -> None:
    orphan = Path(fed.settings.data_path, "copies", "shop", f"{uuid4().hex}.parquet")
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"x" * 1234)
    assert problems(environment) == {}  # its transaction may be at work
    week_ago = datetime.now(UTC).timestamp() - 7 * 86400
    os.utime(orphan, (week_ago, week_ago))
    found = the_problem(environment, "every data file is referred to")
    assert "1 files" in found.text
    assert "(1 kB)" in found.text
    assert "`lotus-lake maintain`" in str(found.hint)
    result = CliRunner().invoke(app, ["maintain", "--orphan-share", "1"], env=environment)
    assert result.exit_code == 0, result.exception
    assert problems(environment) == {}
