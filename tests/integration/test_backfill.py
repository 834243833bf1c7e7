"""Backfills and syncs: asked for once, and proven to have landed by the job's id in the rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from lotus_lake.cli import app
from lotus_lake.cli.airbyte_report import NOT_YET
from lotus_lake.config.settings import Settings
from lotus_lake.errors import AirbyteBusyError, AirbyteError, AirbyteNotFoundError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import landed_snapshot
from tests.airbyte_server import CONNECTION_ID, AirbyteServer, attempt, run_airbyte
from tests.catalogs import on_sqlite
from tests.feeds import FIELDS, SHAPE, SOURCE, Feed, some_rows

META_SHAPE = SHAPE | {
    "_airbyte_meta": pa.struct(
        {"sync_id": pa.int64(), "changes": pa.list_(pa.struct({"field": pa.string()}))}
    )
}
OTHER_ID = "33333333-0000-4000-8000-000000000002"


@pytest.fixture
def airbyte() -> Iterator[AirbyteServer]:
    with run_airbyte() as server:
        server.add_connection(SOURCE, ["orders", "customers"])
        yield server


@pytest.fixture(autouse=True)
def _variables(
    environment: dict[str, str], airbyte: AirbyteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (environment | airbyte.environment()).items():
        monkeypatch.setenv(name, value)


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments], input=answer)


def report_of(result: Result, code: int = 0) -> list[dict[str, Any]]:
    """What a command with --json prints; shows everything it said when it ended otherwise."""
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    documents: list[dict[str, Any]] = json.loads(result.stdout)
    return documents


def states(documents: list[dict[str, Any]]) -> dict[str, str]:
    return {row["stream"]: row["state"] for item in documents for row in item["streams"]}


def write_files(feed: Feed, job_id: int, rows: int, files: int = 1, name: str = "part") -> None:
    """Files of a job as Airbyte writes them: today's folder, and the job's id in each row."""
    for number in range(files):
        sent = [
            row | {"_airbyte_meta": {"sync_id": job_id, "changes": []}} for row in some_rows(rows)
        ]
        key = f"{job_id}_{name}_{number}.parquet"
        feed.put(key, sent, day=datetime.now(UTC).date(), shape=META_SHAPE)


def airbyte_sends(
    airbyte: AirbyteServer, rows: int, *feeds: Feed, land: bool = True, committed: int | None = None
) -> None:
    """Each job writes one file per stream, and succeeds; the feeder runs in between or does not."""

    def work(job: dict[str, Any]) -> None:
        for feed in feeds:
            write_files(feed, job["id"], rows)
            if land:
                feed.run_afresh()
        count = rows if committed is None else committed
        job["attempts"] = [attempt(**{feed.stream.name: count for feed in feeds})]
        job["statuses"] = ["running", "succeeded"]

    airbyte.on_job = work


def test_a_backfill_ends_when_everything_has_landed(
    airbyte: AirbyteServer, feed: Feed, lake: Lake
) -> None:
    feed.put(rows=4)
    feed.run(lake)
    airbyte_sends(airbyte, 7, feed)
    result = run("backfill", SOURCE, "orders", "--yes", "--wait", "--poll", "0.1", "--json")
    [document] = report_of(result)
    assert (document["kind"], document["status"]) == ("refresh", "succeeded")
    assert document["streams"] == [
        {
            "stream": "shop__orders",
            "committed": 7,
            "landed": 7,
            "waiting": 0,
            "quarantined": 0,
            "retired": 0,
            "state": "landed",
        }
    ]
    assert [call["refreshMode"] for call in airbyte.calls("/refresh")] == ["Merge"]
    assert len(feed.landed(lake)) == 11
    assert "the lake holds 4 rows in 1 file" in result.stderr
    assert f"job {document['job_id']}: running, attempt 1, 7 records" in result.stderr


@on_sqlite
def test_a_backfill_asks_first(airbyte: AirbyteServer, feed: Feed) -> None:
    result = run("backfill", SOURCE, "orders", answer="n\n")
    assert result.exit_code == 1
    assert f"Connection {CONNECTION_ID} ({SOURCE} to the lake)" in result.stderr
    assert "no file is deleted" in result.stderr
    assert "job" not in result.stdout
    assert airbyte.calls("/refresh") == []


@on_sqlite
def test_nobody_to_ask_is_no_consent(airbyte: AirbyteServer, feed: Feed) -> None:
    assert run("backfill", SOURCE, "orders", answer="").exit_code == 1
    assert airbyte.calls("/refresh") == []


def test_a_backfill_is_noted_in_the_lake(airbyte: AirbyteServer, feed: Feed, lake: Lake) -> None:
    result = run("backfill", SOURCE, "orders", answer="y\n")
    assert result.exit_code == 0
    [job_id] = airbyte.jobs
    assert result.stdout.endswith(f"job {job_id}: started\n")
    rows = lake.rows(f"SELECT source, stream, job_id, event FROM {META}.backfill_requests")
    assert rows == [(SOURCE, "orders", job_id, "requested")]


def test_files_that_were_not_fed_yet_are_waited_for(
    airbyte: AirbyteServer, feed: Feed, lake: Lake
) -> None:
    airbyte_sends(airbyte, 3, feed, land=False)
    result = run(
        "backfill", SOURCE, "orders", "-y", "--wait", "--timeout", "0.3", "--poll", "0.1", "--json"
    )
    [document] = report_of(result, NOT_YET)
    assert states([document]) == {"shop__orders": "waiting"}
    assert "1 file to be fed" in result.stderr
    feed.list_files(lake)
    [listed] = report_of(run("job", str(document["job_id"]), "--json"), NOT_YET)
    assert listed["streams"][0]["waiting"] == 1
    feed.run_afresh()
    assert states(report_of(run("job", str(document["job_id"]), "--json"))) == {
        "shop__orders": "landed"
    }


@on_sqlite
def test_rows_that_are_missing_are_an_error(airbyte: AirbyteServer, feed: Feed) -> None:
    airbyte_sends(airbyte, 3, feed, committed=5)
    result = run("backfill", SOURCE, "orders", "-y", "--wait", "--poll", "0.1", "--json")
    [document] = report_of(result, 1)
    assert states([document]) == {"shop__orders": "missing"}
    row = document["streams"][0]
    assert (row["committed"], row["landed"]) == (5, 3)


@on_sqlite
def test_rows_of_another_job_do_not_count(airbyte: AirbyteServer, feed: Feed) -> None:
    write_files(feed, 7, rows=5)
    airbyte_sends(airbyte, 0, feed, committed=5)
    result = run("backfill", SOURCE, "orders", "-y", "--wait", "--poll", "0.1", "--json")
    assert states(report_of(result, 1)) == {"shop__orders": "missing"}


@on_sqlite
def test_a_file_that_could_not_be_registered_is_an_error(
    airbyte: AirbyteServer, feed: Feed
) -> None:
    def work(job: dict[str, Any]) -> None:
        write_files(feed, job["id"], rows=2)
        feed.put_bytes("broken.parquet", b"PAR1 not really PAR1", day=datetime.now(UTC).date())
        feed.run_afresh()
        job |= {"attempts": [attempt(orders=2)], "statuses": ["succeeded"]}

    airbyte.on_job = work
    result = run("backfill", SOURCE, "orders", "-y", "--wait", "--poll", "0.1")
    assert result.exit_code == 1
    assert "quarantined" in result.stdout


@on_sqlite
def test_rows_that_a_failed_attempt_sent_already_are_no_error(
    airbyte: AirbyteServer, feed: Feed
) -> None:
    def work(job: dict[str, Any]) -> None:
        write_files(feed, job["id"], rows=4, name="first")
        write_files(feed, job["id"], rows=6, name="second")
        feed.run_afresh()
        tries = [attempt(0, "failed", orders=0), attempt(1, orders=6)]
        job |= {"attempts": tries, "statuses": ["running", "incomplete", "succeeded"]}

    airbyte.on_job = work
    result = run("backfill", SOURCE, "orders", "-y", "--wait", "--poll", "0.1", "--json")
    [document] = report_of(result)
    assert document["streams"][0]["landed"] == 10
    assert states([document]) == {"shop__orders": "landed"}


@on_sqlite
def test_a_job_that_failed_is_an_error_and_says_why(airbyte: AirbyteServer, feed: Feed) -> None:
    failure = {"failureOrigin": "source", "externalMessage": "the API key has expired"}

    def work(job: dict[str, Any]) -> None:
        tries = [attempt(0, "failed") | {"failureSummary": {"failures": [failure]}}]
        job |= {"attempts": tries, "statuses": ["failed"]}

    airbyte.on_job = work
    result = run("sync", SOURCE, "--wait", "--poll", "0.1")
    assert result.exit_code == 1
    assert "failed: source: the API key has expired" in result.stdout


@on_sqlite
def test_a_sync_reports_every_stream_of_its_source(
    airbyte: AirbyteServer, make_feed: Callable[..., Feed]
) -> None:
    feeds = make_feed("orders"), make_feed("customers")
    make_feed("not_sent")
    airbyte_sends(airbyte, 2, *feeds)
    [document] = report_of(run("sync", SOURCE, "--wait", "--poll", "0.1", "--json"))
    assert document["kind"] == "sync"
    assert states([document]) == {"shop__customers": "landed", "shop__orders": "landed"}
    assert airbyte.calls("/public/v1/jobs") == [{"connectionId": CONNECTION_ID, "jobType": "sync"}]


@on_sqlite
def test_a_sync_that_moved_nothing_has_landed(airbyte: AirbyteServer, feed: Feed) -> None:
    airbyte.on_job = lambda job: job.update(attempts=[attempt()], statuses=["succeeded"])
    [document] = report_of(run("sync", SOURCE, "--wait", "--poll", "0.1", "--json"))
    assert states([document]) == {"shop__orders": "landed"}


@on_sqlite
def test_without_statistics_nothing_is_claimed(airbyte: AirbyteServer, feed: Feed) -> None:
    airbyte.on_job = lambda job: job.update(statuses=["succeeded"])
    [document] = report_of(run("sync", SOURCE, "--wait", "--poll", "0.1", "--json"))
    assert states([document]) == {"shop__orders": "unproven"}


@on_sqlite
def test_a_job_that_runs_is_not_done(airbyte: AirbyteServer, feed: Feed) -> None:
    job = airbyte.add_job()
    [document] = report_of(run("job", str(job["id"]), "--json"), NOT_YET)
    assert document["status"] == "running"


@on_sqlite
def test_a_running_job_keeps_a_backfill_from_being_asked_for(
    airbyte: AirbyteServer, feed: Feed
) -> None:
    job = airbyte.add_job()
    result = run("backfill", SOURCE, "orders", "--yes")
    assert isinstance(result.exception, AirbyteBusyError)
    assert f"job {job['id']}" in str(result.exception)
    assert airbyte.noted_refreshes == []


@on_sqlite
def test_a_stream_whose_files_would_be_replaced_is_refused(
    airbyte: AirbyteServer, feed: Feed
) -> None:
    stream = airbyte.connections[CONNECTION_ID]["syncCatalog"]["streams"][0]
    stream["config"]["destinationSyncMode"] = "overwrite"
    result = run("backfill", SOURCE, "orders", "--yes")
    assert isinstance(result.exception, AirbyteError)
    assert "older files would be deleted" in str(result.exception)
    assert airbyte.calls("/refresh") == []


@on_sqlite
def test_a_stream_that_no_connection_sends_is_named(
    airbyte: AirbyteServer, make_feed: Callable[..., Feed]
) -> None:
    make_feed("returns")
    result = run("backfill", SOURCE, "returns", "--yes")
    assert isinstance(result.exception, AirbyteNotFoundError)
    assert "no connection sends shop/returns" in str(result.exception)


@on_sqlite
@pytest.mark.parametrize(
    "arguments", [(), (SOURCE,), (SOURCE, "--flagged"), (SOURCE, "orders", "--flagged")]
)
def test_a_backfill_wants_one_stream_or_the_flagged_ones(arguments: tuple[str, ...]) -> None:
    result = run("backfill", *arguments)
    assert result.exit_code == 2
    assert "name SOURCE and STREAM, or use --flagged" in result.stderr.replace("\n", " ")


@on_sqlite
def test_rows_that_were_retired_since_are_not_called_missing(
    airbyte: AirbyteServer, feed: Feed, lake: Lake
) -> None:
    past = datetime.now(UTC) - timedelta(days=30)
    job = airbyte.add_job(
        createdAt=int(past.timestamp()), attempts=[attempt(orders=3)], statuses=["succeeded"]
    )
    sent = [row | {"_airbyte_meta": {"sync_id": job["id"], "changes": []}} for row in some_rows(3)]
    feed.put("sent.parquet", sent, day=past.date(), shape=META_SHAPE)
    feed.run_afresh()
    assert states(report_of(run("job", str(job["id"]), "--json"))) == {"shop__orders": "landed"}
    later = [row | {"_airbyte_meta": {"sync_id": 7, "changes": []}} for row in some_rows(1)]
    feed.put("later.parquet", later, day=datetime.now(UTC).date(), shape=META_SHAPE)
    feed.run(lake)
    lake.con.execute(
        f"CREATE TABLE {META}.watermark_int_orders AS SELECT 0 AS snapshot_id_from, "
        f"{landed_snapshot(lake, feed.stream)} AS snapshot_id_to"
    )
    assert retire_files(lake, feed.stream, ["int_orders"], "run").files == 1
    [document] = report_of(run("job", str(max(airbyte.jobs)), "--json"))
    row = document["streams"][0]
    assert (row["landed"], row["retired"], row["state"]) == (0, 3, "unproven")


# The flag in the stream config


def set_flag(settings: Settings, name: str, value: bool, **fields: Any) -> None:
    path = settings.streams_dir / SOURCE / f"{name}.json"
    document = json.loads(path.read_text()) | {"backfill": value, **fields}
    path.write_text(json.dumps(document))


def run_flagged(airbyte: AirbyteServer) -> list[list[str]]:
    """Streams of each refresh that a run with --flagged asks for."""
    before = len(airbyte.calls("/refresh"))
    report_of(run("backfill", "--flagged", "--yes", "--json"))
    for job in airbyte.jobs.values():
        job["statuses"] = ["succeeded"]
    return [
        [stream["streamName"] for stream in call["streams"]]
        for call in airbyte.calls("/refresh")[before:]
    ]


def test_a_flag_is_answered_once_per_change(
    airbyte: AirbyteServer, feed: Feed, settings: Settings
) -> None:
    assert run_flagged(airbyte) == []
    set_flag(settings, "orders", True)
    assert run_flagged(airbyte) == [["orders"]]
    assert run_flagged(airbyte) == []
    set_flag(settings, "orders", False)
    assert run_flagged(airbyte) == []
    set_flag(settings, "orders", True)
    assert run_flagged(airbyte) == [["orders"]]
    set_flag(settings, "orders", True, fields=FIELDS | {"tags": {"type": "string"}})
    assert run_flagged(airbyte) == [["orders"]]
    set_flag(settings, "orders", True, feeder={"lookback_days": 3})
    assert run_flagged(airbyte) == []
    with open_lake(settings, read_only=True) as lake:
        events = lake.rows(f"SELECT event FROM {META}.backfill_requests ORDER BY requested_at")
    assert events == [("requested",), ("withdrawn",), ("requested",), ("requested",)]


@on_sqlite
def test_flagged_streams_of_a_connection_are_one_job(
    airbyte: AirbyteServer, make_feed: Callable[..., Feed], settings: Settings
) -> None:
    make_feed("orders")
    make_feed("customers")
    make_feed("returns")
    airbyte.add_connection(SOURCE, ["returns"], OTHER_ID)
    for name in ("orders", "customers", "returns"):
        set_flag(settings, name, True)
    assert run_flagged(airbyte) == [["customers", "orders"], ["returns"]]


@on_sqlite
def test_a_refused_backfill_stays_flagged(
    airbyte: AirbyteServer, feed: Feed, settings: Settings
) -> None:
    set_flag(settings, "orders", True)
    job = airbyte.add_job()
    assert isinstance(run("backfill", "--flagged", "-y").exception, AirbyteBusyError)
    job["statuses"] = ["succeeded"]
    assert run_flagged(airbyte) == [["orders"]]
