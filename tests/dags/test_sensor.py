"""The sensor against a real S3 server: when it fires, what a look costs, how it waits and ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from math import ceil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from airflow.models.trigger import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferralError, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import TriggerEvent

from lotus_lake.airflow import bucket_trigger
from lotus_lake.airflow.bucket_trigger import BucketChangedTrigger
from lotus_lake.airflow.sensors import NewFilesSensor
from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import StreamFile, find_stream
from lotus_lake.errors import SchemaMismatchError, StorageUnavailableError
from lotus_lake.feeder.list import list_files
from lotus_lake.lake.connection import open_lake
from tests.feeds import DAY, SHAPE, SOURCE, Feed, some_rows, write_stream
from tests.proxy import Proxy
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE_KEYS = 1000
_numbers = itertools.count()
BUCKET = "sensors"
MANUAL, SCHEDULED = "manual", "scheduled"
KNOWN = "part_0.parquet"
# Objects in the listing's window besides one file that has landed, and objects before the window.
HISTORIES = {"orders": (0, 0), "long": (1100, 1100)}


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, client: S3Client
) -> dict[str, str]:
    """One lake for all tests: a sensor writes nothing into it."""
    folder = tmp_path_factory.mktemp(BUCKET)
    client.create_bucket(Bucket=BUCKET)
    return {
        "LAKE_PROJECT_DIR": str(folder),
        "LAKE_CATALOG": f"sqlite:{folder / 'catalog.sqlite'}",
        "LAKE_RAW_URI": f"s3://{BUCKET}/raw",
        "LAKE_STREAMS_DIR": str(folder / "streams"),
        "LAKE_THREADS": "1",
        **s3.environment(),
    }


@pytest.fixture(scope="module")
def feeds(environment: dict[str, str], s3: S3Server, client: S3Client) -> Mapping[str, Feed]:
    """Streams in which every file is known."""
    settings = Settings.from_env(environment)
    found = {
        name: Feed(settings, write_stream(settings.streams_dir, name), client) for name in HISTORIES
    }
    with open_lake(settings) as lake:
        for name, (in_window, before) in HISTORIES.items():
            feed = found[name]
            first_day = DAY - timedelta(days=feed.stream.feeder.lookback_days)
            _put_empty_objects(feed, s3, first_day, in_window)
            _put_empty_objects(feed, s3, first_day - timedelta(days=1), before)
            feed.put(KNOWN)
            done = feed.run(lake)
            assert done.total.registered == 1
            # An object without a byte is quarantined once it is listed, and known from then on.
            assert done.listing.quarantined == in_window + before
    return found


def _put_empty_objects(feed: Feed, s3: S3Server, day: date, count: int) -> None:
    keys = (feed.key(f"empty_{number}.parquet", day) for number in range(count))
    s3.put_many(feed.settings.bucket, keys, b"")


@pytest.fixture
def feed(feeds: Mapping[str, Feed]) -> Iterator[Feed]:
    """The stream with one file, which has landed; what a test adds goes away with it."""
    feed, known = feeds["orders"], feeds["orders"].objects()
    bodies = {key: _body(feed, key) for key in known}
    yield feed
    for key in feed.objects() - known:
        feed.client.delete_object(Bucket=BUCKET, Key=key)
    for key, body in bodies.items():
        if _body(feed, key) != body:
            feed.client.put_object(Bucket=BUCKET, Key=key, Body=body)


def _body(feed: Feed, key: str) -> bytes:
    return feed.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


@pytest.fixture(autouse=True)
def airflow_connection(deployed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow knows the lake; a server that is gone is not asked again and again."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture(autouse=True)
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that Airflow's server says are queued; here there is no server."""
    runs: list[str] = []

    def count(dag_id: str, *, states: list[str]) -> int:
        assert (dag_id, states) == ("shop__orders", ["queued"])
        return len(runs)

    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", staticmethod(count))
    return runs


def a_sensor(feed: Feed, **arguments: Any) -> NewFilesSensor:
    """The sensor of a stream, as its Dag has it."""
    prefix = layout_of(feed.settings, feed.stream).prefix
    return NewFilesSensor(
        task_id="wait_for_files",
        source=feed.stream.source,
        stream=feed.stream.name,
        bucket_key=f"s3://{feed.settings.bucket}/{prefix}*",
        **{"poke_interval": 0.05, "timeout": 600, **arguments},
    )


def a_context(run_type: str = SCHEDULED, wait_seconds: int | None = None, last: Any = None) -> Any:
    """What the sensor reads of a run."""
    return {
        "dag_run": SimpleNamespace(run_type=run_type, dag_id="shop__orders"),
        "ti": SimpleNamespace(get_previous_dagrun=lambda: last),
        "params": {"wait_seconds": wait_seconds},
    }


def deferred(sensor: NewFilesSensor, **context: Any) -> TaskDeferred:
    """Let the sensor start to wait in the triggerer."""
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(a_context(**context))
    return caught.value


# What makes it fire.


def test_it_fires_before_anything_was_fed_once_there_is_a_file(
    environment: dict[str, str], client: S3Client
) -> None:
    settings = Settings.from_env(environment)
    feed = Feed(settings, write_stream(settings.streams_dir, "fresh"), client)
    assert a_sensor(feed).poke(a_context()) is False
    feed.put()
    assert a_sensor(feed).poke(a_context()) is True


def test_it_does_not_fire_when_every_file_is_known(feed: Feed) -> None:
    assert a_sensor(feed).poke(a_context()) is False


def test_it_fires_on_a_new_file(feed: Feed) -> None:
    feed.put("part_1.parquet")
    assert a_sensor(feed).poke(a_context()) is True


def test_it_fires_on_a_file_that_is_late_by_less_than_the_lookback(feed: Feed) -> None:
    feed.put("late.parquet", day=DAY - timedelta(days=feed.stream.feeder.lookback_days))
    assert a_sensor(feed).poke(a_context()) is True


def test_it_fires_on_a_known_key_with_other_content(feed: Feed) -> None:
    feed.put(KNOWN, 4)
    assert a_sensor(feed).poke(a_context()) is True


def test_it_fires_on_a_file_that_was_discovered_and_waits(
    environment: dict[str, str], client: S3Client, proxy: Proxy
) -> None:
    settings = Settings.from_env(environment)
    feed = Feed(settings, write_stream(settings.streams_dir, "waiting"), client)
    feed.put()
    with open_lake(settings) as lake:
        assert feed.list_files(lake).discovered == 1
    assert a_sensor(feed).look().work == "1 discovered files wait"
    assert proxy.listings == []  # the ledger knows


def test_it_fires_on_landed_rows_that_a_model_has_not_read(feed: Feed) -> None:
    assert a_sensor(feed, consumers=["int_shop__orders"]).poke(a_context()) is True


def test_models_rest_for_some_minutes_after_a_run_that_failed(feed: Feed) -> None:
    now = datetime.now(UTC)
    sensor = a_sensor(feed, consumers=["int_shop__orders"])
    for state, ended, rests in (
        ("failed", now - timedelta(minutes=4), True),
        ("failed", now - timedelta(minutes=6), False),
        ("success", now, False),
    ):
        last = SimpleNamespace(state=state, end_date=ended)
        assert sensor.poke(a_context(last=last)) is not rests
    failed = SimpleNamespace(state="failed", end_date=now)
    assert sensor.poke(a_context(MANUAL, last=failed)) is True  # a person asks
    waits = deferred(sensor, last=failed).trigger
    assert isinstance(waits, BucketChangedTrigger)
    assert waits.arguments["wake_at"] == now.timestamp() + 300
    feed.put("part_1.parquet")
    assert sensor.poke(a_context(last=failed)) is True  # new files are work at once


def test_files_of_streams_with_a_similar_name_are_none_of_its_business(
    feed: Feed, environment: dict[str, str], client: S3Client
) -> None:
    settings = Settings.from_env(environment)
    for name in ("orders_archive", "order"):
        Feed(settings, write_stream(settings.streams_dir, name), client).put()
    assert a_sensor(feed).poke(a_context()) is False


def test_the_trigger_sleeps_on_when_another_stream_of_its_folder_gets_a_file(
    environment: dict[str, str], client: S3Client, proxy: Proxy
) -> None:
    settings = Settings.from_env(environment)
    options = {"path_format": "flat/${STREAM_NAME}_${YEAR}_${MONTH}_${DAY}_"}
    feed = Feed(settings, write_stream(settings.streams_dir, "carts", options=options), client)
    trigger = deferred(a_sensor(feed)).trigger

    async def wait() -> Any:
        waiting = asyncio.create_task(first_event(trigger))
        feed.put_key("flat/carts_old_2026_03_10_0.parquet")
        seen = len(proxy.listings)
        while len(proxy.listings) < seen + 3:
            assert not waiting.done()
            await asyncio.sleep(0.01)
        feed.put_key("flat/carts_2026_03_10_0.parquet")
        return await waiting

    assert asyncio.run(wait()) == {"status": "changed"}
    assert a_sensor(feed).poke(a_context()) is True


# Streams whose full refreshes replace each other.


@pytest.fixture
def refreshed(environment: dict[str, str], client: S3Client) -> Feed:
    """Such a stream, whose first generation of two files has landed."""
    settings = Settings.from_env(environment)
    name = f"refreshed_{next(_numbers)}"
    path = settings.streams_dir / SOURCE / f"{name}.json"
    write_stream(settings.streams_dir, name, options={"settle_seconds": 0})
    document = json.loads(path.read_text()) | {"destination_sync_mode": "overwrite"}
    path.write_text(json.dumps(document))
    feed = Feed(settings, StreamFile(path).load(), client)
    for key in ("part_0.parquet", "part_1.parquet"):
        put_of_generation(feed, key, 1)
    with open_lake(settings) as lake:
        assert feed.run(lake).total.copied == 2
    return feed


def put_of_generation(feed: Feed, name: str, generation: int) -> str:
    """Put a file of a generation."""
    rows = [{**row, "_airbyte_generation_id": generation} for row in some_rows(2)]
    return feed.put(name, rows, shape={**SHAPE, "_airbyte_generation_id": pa.int64()})


def settle_for(feed: Feed, seconds: float) -> None:
    """Change how long a generation has to settle."""
    path = feed.settings.streams_dir / SOURCE / f"{feed.stream.name}.json"
    document = json.loads(path.read_text())
    document["feeder"]["settle_seconds"] = seconds
    path.write_text(json.dumps(document))


def list_new(feed: Feed) -> int:
    """Task `list`; returns how many files it discovered."""
    stream = find_stream(feed.settings.streams_dir, SOURCE, feed.stream.name)
    with open_lake(feed.settings) as lake:
        return list_files(lake, stream, feed.client, "run").discovered


def test_a_generation_that_has_landed_is_no_work(refreshed: Feed) -> None:
    look = a_sensor(refreshed).look()
    assert (look.work, look.wake_at) == (None, None)


def test_it_fires_when_files_of_the_next_generation_appear(refreshed: Feed) -> None:
    put_of_generation(refreshed, "part_2.parquet", 2)
    assert "part_2.parquet" in str(a_sensor(refreshed).look().work)


def test_it_waits_while_older_objects_are_there_and_fires_when_they_vanish(
    refreshed: Feed, proxy: Proxy
) -> None:
    put_of_generation(refreshed, "part_2.parquet", 2)
    assert list_new(refreshed) == 1
    waiting = deferred(a_sensor(refreshed))
    assert waiting.trigger.arguments["wake_at"] is None  # nothing but the bucket can change it
    with pytest.raises(TaskDeferred) as again:  # no busy loop: it waits for the same again
        resume(a_sensor(refreshed), waiting, {"event": {"status": "changed"}})
    assert again.value.trigger.serialize() == waiting.trigger.serialize()
    assert len(proxy.listings) == 2

    for name in ("part_0.parquet", "part_1.parquet"):
        refreshed.client.delete_object(Bucket=BUCKET, Key=refreshed.key(name))
    assert asyncio.run(first_event(waiting.trigger)) == {"status": "changed"}
    assert resume(a_sensor(refreshed), waiting, {"event": {"status": "changed"}}) is None
    assert list_new(refreshed) == 0
    assert a_sensor(refreshed).look().work == "a whole generation waits"


def test_it_waits_until_a_generation_has_settled(refreshed: Feed, proxy: Proxy) -> None:
    settle_for(refreshed, 3600)
    put_of_generation(refreshed, "part_2.parquet", 2)
    for name in ("part_0.parquet", "part_1.parquet"):
        refreshed.client.delete_object(Bucket=BUCKET, Key=refreshed.key(name))
    assert list_new(refreshed) == 1
    waiting = deferred(a_sensor(refreshed))
    wake_at = waiting.trigger.arguments["wake_at"]
    assert 3500 < wake_at - time.time() <= 3600

    path, arguments = waiting.trigger.serialize()
    early = import_string(path)(**{**arguments, "wake_at": time.time() - 1})
    asked = len(proxy.listings)
    assert asyncio.run(first_event(early)) == {"status": "changed"}
    assert len(proxy.listings) == asked  # it was the clock, not the bucket

    settle_for(refreshed, 0)
    assert resume(a_sensor(refreshed), waiting, {"event": {"status": "changed"}}) is None


def test_a_generation_with_a_file_in_quarantine_is_waited_for_without_end(
    refreshed: Feed,
) -> None:
    refreshed.put_bytes("part_2.parquet", b"x" * 99)
    put_of_generation(refreshed, "part_3.parquet", 2)
    assert list_new(refreshed) == 2
    for name in ("part_0.parquet", "part_1.parquet"):
        refreshed.client.delete_object(Bucket=BUCKET, Key=refreshed.key(name))
    assert list_new(refreshed) == 0
    assert a_sensor(refreshed).look().work == "a whole generation waits"
    with open_lake(refreshed.settings) as lake, pytest.raises(SchemaMismatchError):
        refreshed.run(lake)
    look = a_sensor(refreshed).look()  # a person has to look at it; the bucket may change too
    assert (look.work, look.wake_at) == (None, None)


# What a look costs.


@pytest.mark.parametrize("name", list(HISTORIES))
def test_a_look_that_finds_nothing_costs_one_request_per_thousand_keys_of_the_window(
    feeds: Mapping[str, Feed], name: str, proxy: Proxy
) -> None:
    in_window, before = HISTORIES[name]
    keys = 1 + in_window
    assert len(feeds[name].objects()) == keys + before
    assert a_sensor(feeds[name]).poke(a_context()) is False
    assert 1 <= len(proxy.listings) <= ceil(keys / PAGE_KEYS)


def test_nothing_is_listed_when_known_work_waits(feed: Feed, proxy: Proxy) -> None:
    assert a_sensor(feed, consumers=["int_shop__orders"]).poke(a_context()) is True
    assert proxy.listings == []


def test_a_key_is_one_string_from_the_dag_to_the_request(feed: Feed, proxy: Proxy) -> None:
    """Deferred, the sensor that this one extends once looked for each character of its key."""
    sensor = a_sensor(feed)
    trigger = deferred(sensor).trigger
    prefix = layout_of(feed.settings, feed.stream).prefix
    assert sensor.bucket_key == f"s3://{feed.settings.bucket}/{prefix}*"
    assert trigger.arguments["prefix"] == prefix
    feed.put("part_1.parquet")
    asyncio.run(first_event(trigger))
    assert len(proxy.listings) == 2  # the sensor's and the trigger's
    assert {listing["prefix"] for listing in proxy.listings} == {prefix}
    assert {listing["start-after"] for listing in proxy.listings} == {
        trigger.arguments["start_after"]
    }


# How it waits.


def test_a_run_started_by_hand_looks_once_and_is_skipped(feed: Feed, proxy: Proxy) -> None:
    with pytest.raises(AirflowSkipException, match="no new files"):
        a_sensor(feed).execute(a_context(MANUAL))
    assert len(proxy.listings) == 1


def test_a_run_started_by_hand_goes_on_when_there_is_work(feed: Feed) -> None:
    feed.put("part_1.parquet")
    assert a_sensor(feed).execute(a_context(MANUAL)) is None


def test_a_scheduled_run_waits_for_the_timeout_of_the_stream(feed: Feed) -> None:
    waiting = deferred(a_sensor(feed, timeout=600))
    assert timedelta(seconds=590) < waiting.timeout <= timedelta(seconds=600)
    assert waiting.method_name == "execute_complete"


@pytest.mark.parametrize("run_type", [MANUAL, SCHEDULED])
def test_wait_seconds_says_how_long_to_wait(feed: Feed, run_type: str) -> None:
    waiting = deferred(a_sensor(feed, timeout=600), run_type=run_type, wait_seconds=1200)
    assert timedelta(seconds=1190) < waiting.timeout <= timedelta(seconds=1200)


def test_wait_seconds_zero_makes_a_scheduled_run_look_once(feed: Feed) -> None:
    with pytest.raises(AirflowSkipException):
        a_sensor(feed).execute(a_context(SCHEDULED, wait_seconds=0))


def test_a_scheduled_run_does_not_wait_when_there_is_work(feed: Feed) -> None:
    feed.put("part_1.parquet")
    assert a_sensor(feed).execute(a_context()) is None


def test_it_goes_on_when_the_change_of_the_bucket_is_work(feed: Feed) -> None:
    waiting, sensor = deferred(a_sensor(feed)), a_sensor(feed)
    feed.put("part_1.parquet")
    resume(sensor, waiting, {"event": {"status": "changed"}})


def test_it_waits_on_until_its_first_deadline_when_the_change_is_no_work(feed: Feed) -> None:
    waiting, sensor = deferred(a_sensor(feed)), a_sensor(feed)
    with pytest.raises(TaskDeferred) as caught:
        resume(sensor, waiting, {"event": {"status": "changed"}})
    assert caught.value.kwargs == waiting.kwargs
    assert caught.value.timeout < waiting.timeout


# How it ends without a file.


def resume(sensor: NewFilesSensor, waiting: TaskDeferred, event: dict[str, Any]) -> Any:
    """Go on as Airflow does when the trigger has fired."""
    return sensor.resume_execution(
        waiting.method_name, {**(waiting.kwargs or {}), **event}, a_context()
    )


def test_a_deferred_wait_that_times_out_is_skipped(feed: Feed) -> None:
    kwargs = {"error": TriggerFailureReason.TRIGGER_TIMEOUT}
    with pytest.raises(AirflowSkipException, match="no new files"):
        a_sensor(feed).resume_execution(TRIGGER_FAIL_REPR, kwargs, a_context())


def test_a_change_that_is_no_work_after_the_deadline_is_skipped(feed: Feed) -> None:
    with pytest.raises(AirflowSkipException, match="no new files"):
        a_sensor(feed).resume_execution(
            "execute_complete", {"event": {"status": "changed"}, "deadline": 1.0}, a_context()
        )


def test_a_wait_in_the_worker_that_times_out_is_skipped(feed: Feed, proxy: Proxy) -> None:
    sensor = a_sensor(feed, deferrable=False, mode="poke", timeout=0.001)
    with pytest.raises(AirflowSkipException, match="timed out"):
        sensor.execute(a_context())
    assert len(proxy.listings) == 1


# What ends early.


def test_a_wait_gives_way_to_a_run_that_is_queued(
    feed: Feed, queued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger looks for one more often than it lists."""
    monkeypatch.setattr(bucket_trigger, "_QUEUE_SECONDS", 0.05)
    trigger = deferred(a_sensor(feed)).trigger
    trigger.arguments["poke_interval"] = 600

    async def wait_and_queue() -> Any:
        waiting = asyncio.create_task(first_event(trigger))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        queued.append("manual")
        return await waiting

    event = asyncio.run(wait_and_queue())

    with pytest.raises(AirflowSkipException, match="another run of the Dag is queued"):
        resume(a_sensor(feed), deferred(a_sensor(feed)), {"event": event})


def test_how_often_airflow_is_asked_does_not_depend_on_how_often_the_bucket_is(
    feed: Feed, queued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_trigger, "_QUEUE_SECONDS", 600)
    trigger = deferred(a_sensor(feed)).trigger
    assert trigger.arguments["dag_id"]
    trigger.arguments["poke_interval"] = 0.01
    queued.append("manual")  # nobody asks for it in this time

    async def wait_and_put() -> Any:
        waiting = asyncio.create_task(first_event(trigger))
        await asyncio.sleep(0.2)
        feed.put("part_1.parquet")
        return await waiting

    assert asyncio.run(wait_and_put()) == {"status": "changed"}


def test_runs_that_wait_ask_for_queued_ones_five_times_a_second_however_many_they_are() -> None:
    assert [bucket_trigger.question_seconds(count) for count in (1, 100, 1000)] == [20, 20, 200]


def test_a_wait_in_the_worker_gives_way_too_unless_there_is_work(
    feed: Feed, queued: list[str]
) -> None:
    queued.append("manual")
    sensor = a_sensor(feed, deferrable=False, mode="poke")
    with pytest.raises(AirflowSkipException, match="another run of the Dag is queued"):
        sensor.execute(a_context())
    feed.put("part_1.parquet")
    sensor.execute(a_context())


def test_a_run_that_a_person_lets_wait_gives_way_to_none(feed: Feed, queued: list[str]) -> None:
    waiting = deferred(a_sensor(feed), run_type=MANUAL, wait_seconds=60)
    assert waiting.trigger.arguments["dag_id"] is None


# What is red.


def test_a_listing_that_is_refused_fails_the_look(feed: Feed, proxy: Proxy) -> None:
    proxy.refusing = True
    for sensor in (a_sensor(feed), a_sensor(feed, deferrable=False, mode="poke")):
        for run_type in (MANUAL, SCHEDULED):
            with pytest.raises(
                StorageUnavailableError, match=r"listing s3://.* failed: .*AccessDenied"
            ):
                sensor.execute(a_context(run_type))


def test_a_listing_that_the_trigger_could_not_make_fails_the_task(feed: Feed) -> None:
    waiting = deferred(a_sensor(feed))
    with pytest.raises(StorageUnavailableError, match="as the trigger said"):
        resume(
            a_sensor(feed),
            waiting,
            {"event": {"status": "error", "message": "failed, as the trigger said"}},
        )


def test_a_trigger_that_dies_fails_the_task(feed: Feed) -> None:
    kwargs = {"error": TriggerFailureReason.TRIGGER_FAILURE, "traceback": ["Traceback: killed"]}
    with pytest.raises(TaskDeferralError):
        a_sensor(feed).resume_execution(TRIGGER_FAIL_REPR, kwargs, a_context())


def test_a_network_that_fails_after_the_trigger_fired_fails_the_task(
    feed: Feed, proxy: Proxy
) -> None:
    waiting = deferred(a_sensor(feed))
    proxy.refusing = True
    with pytest.raises(StorageUnavailableError):
        resume(a_sensor(feed), waiting, {"event": {"status": "changed"}})


# The trigger.


async def first_event(trigger: BucketChangedTrigger) -> Any:
    """What the trigger fires with."""
    event = await anext(aiter(trigger.run()))
    assert isinstance(event, TriggerEvent)
    return event.payload


@pytest.fixture
def trigger(feed: Feed) -> Iterator[BucketChangedTrigger]:
    """The trigger of an idle stream, as the triggerer gets it: from its serialized form."""
    made = deferred(a_sensor(feed)).trigger
    path, arguments = made.serialize()
    rebuilt = import_string(path)(**arguments)
    assert isinstance(rebuilt, BucketChangedTrigger)
    assert rebuilt.serialize() == (path, arguments)
    return rebuilt


def test_a_trigger_is_made_of_plain_values_and_no_secret(
    trigger: BucketChangedTrigger, s3: S3Server
) -> None:
    _, arguments = trigger.serialize()
    assert {type(value) for value in arguments.values()} <= {str, int, float, bool, type(None)}
    assert arguments["fingerprint"]
    secret = s3.access.secret_access_key
    assert secret is not None
    assert secret.get_secret_value() not in repr(arguments)


def test_the_trigger_fires_when_a_file_appears(
    trigger: BucketChangedTrigger, feed: Feed, proxy: Proxy
) -> None:
    async def wait_and_put() -> Any:
        waiting = asyncio.create_task(first_event(trigger))
        asked_before = len(proxy.listings)
        while len(proxy.listings) < asked_before + 2:
            await asyncio.sleep(0.02)
        assert not waiting.done()
        await asyncio.to_thread(feed.put, "part_1.parquet")
        return await waiting

    assert asyncio.run(wait_and_put()) == {"status": "changed"}


def test_the_trigger_fires_on_a_file_that_came_before_it_started(
    trigger: BucketChangedTrigger, feed: Feed
) -> None:
    feed.put("part_1.parquet")
    assert asyncio.run(first_event(trigger)) == {"status": "changed"}


def test_the_trigger_opens_a_client_for_many_looks_and_another_when_its_time_is_over(
    trigger: BucketChangedTrigger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[S3Hook] = []
    open_client = S3Hook.get_async_conn

    async def counted(hook: S3Hook) -> Any:
        opened.append(hook)
        return await open_client(hook)

    monkeypatch.setattr(S3Hook, "get_async_conn", counted)

    async def look(times: int) -> int:
        waiting, before = asyncio.create_task(first_event(trigger)), len(proxy.listings)
        while len(proxy.listings) < before + times:
            await asyncio.sleep(0.02)
        proxy.refusing = True
        assert (await waiting)["status"] == "error"
        proxy.refusing = False
        return len(opened)

    assert asyncio.run(look(5)) == 1
    opened.clear()
    monkeypatch.setattr(bucket_trigger, "_CLIENT_SECONDS", 0.01)
    assert asyncio.run(look(3)) >= 3


def test_the_trigger_says_that_it_could_not_list(
    trigger: BucketChangedTrigger, proxy: Proxy
) -> None:
    proxy.refusing = True
    event = asyncio.run(first_event(trigger))
    assert event["status"] == "error"
    assert "AccessDenied" in event["message"]


def test_the_trigger_says_that_the_server_is_gone(
    trigger: BucketChangedTrigger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    gone = connection.replace(proxy.url, "http://127.0.0.1:9")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", gone)
    event = asyncio.run(first_event(trigger))
    assert event["status"] == "error"
    assert "http://127.0.0.1:9" in event["message"]
