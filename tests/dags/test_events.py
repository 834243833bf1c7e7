"""Events of S3: real notifications, a real queue, and the part of the triggerer that runs triggers.

Latencies are printed: `pytest -s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.module_loading import import_string

from lotus_lake.airflow import bucket_events
from lotus_lake.airflow.bucket_events import BucketEventsTrigger
from lotus_lake.airflow.bucket_trigger import BucketChangedTrigger
from lotus_lake.airflow.sensors import NewFilesSensor
from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from tests.announcing import Queue, announce_objects, make_queue
from tests.dags.triggerer import FIRED, a_triggerer, until
from tests.feeds import Feed, write_stream
from tests.policies import POLICIES
from tests.proxy import Fault, Proxy, run_proxy
from tests.servers import S3Server, run_announcing_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.timeout(180)
_numbers = itertools.count()
HOUR = 3600.0


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """S3 that announces its objects."""
    with run_announcing_s3() as server:
        yield server


@pytest.fixture(scope="module")
def client(s3: S3Server) -> Iterator[S3Client]:
    with contextlib.closing(s3_client(s3.access)) as made:
        yield made


@pytest.fixture
def queue(s3: S3Server, client: S3Client, bucket: str) -> Queue:
    """The queue to which the bucket's events go; S3 has tested it."""
    made = make_queue(s3, f"events-{next(_numbers)}")
    announce_objects(bucket, client, made)
    return made


@pytest.fixture(autouse=True)
def with_events(deployed: dict[str, str], queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow knows the lake and the queue; no run is queued."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("LAKE_EVENTS_QUEUE", queue.url)
    monkeypatch.setattr(bucket_events, "_OFFERED_AGAIN_SECONDS", 0)
    monkeypatch.setattr(bucket_events, "_PACE_SECONDS", 0.05)
    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", staticmethod(lambda *_, **__: 0))


@pytest.fixture
def make(environment: dict[str, str], client: S3Client) -> Any:
    """Make a stream of which a file has landed: `make("orders")`."""
    settings = Settings.from_env(environment)

    def made(name: str, **options: Any) -> Feed:
        feed = Feed(settings, write_stream(settings.streams_dir, name, options=options), client)
        with open_lake(settings) as lake:
            feed.run(lake)
        return feed

    return made


def wait_for_files(feed: Feed, **arguments: Any) -> TaskDeferred:
    """Let the sensor of a scheduled run look, and begin to wait in the triggerer."""
    sensor = NewFilesSensor(
        task_id="wait_for_files",
        source=feed.stream.source,
        stream=feed.stream.name,
        bucket_key=f"s3://{feed.settings.bucket}/{layout_of(feed.settings, feed.stream).prefix}*",
        **{"poke_interval": HOUR, "timeout": 2 * HOUR, **arguments},
    )
    context: Any = {
        "dag_run": SimpleNamespace(run_type="scheduled", dag_id=feed.stream.id),
        "ti": SimpleNamespace(get_previous_dagrun=lambda: None),
        "params": {"wait_seconds": None},
    }
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(context)
    return caught.value


def a_trigger(feed: Feed, **arguments: Any) -> BucketEventsTrigger:
    """The trigger as the triggerer gets it: from its serialized form."""
    path, said = wait_for_files(feed).trigger.serialize()
    trigger = import_string(path)(**{**said, **arguments})
    assert isinstance(trigger, BucketEventsTrigger)
    return trigger


CHANGED = {"status": "changed"}


def test_without_the_setting_nothing_is_different(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAKE_EVENTS_QUEUE")
    assert type(wait_for_files(make("orders")).trigger) is BucketChangedTrigger


def test_a_trigger_is_made_of_plain_values_and_no_secret(make: Any, s3: S3Server) -> None:
    trigger = a_trigger(make("orders"))
    path, arguments = trigger.serialize()
    assert import_string(path)(**arguments).serialize() == (path, arguments)
    assert {type(value) for value in arguments.values()} <= {str, int, float, bool, type(None)}
    secret = s3.access.secret_access_key
    assert secret is not None
    assert secret.get_secret_value() not in repr(arguments)


def test_a_put_wakes_its_stream_alone_and_lands(make: Any, proxy: Proxy, queue: Queue) -> None:
    feeds = [make(name) for name in ("orders", "order", "orders_archive")]

    async def put_and_wait() -> float:
        async with a_triggerer() as triggerer:
            first, *others = [triggerer.start(a_trigger(feed)) for feed in feeds]
            await until(lambda: len(proxy.listings) == 3 * 2)
            began = time.monotonic()
            await asyncio.to_thread(feeds[0].put, "a b+c (Łódź).parquet")
            assert await triggerer.event(first) == CHANGED
            seconds = time.monotonic() - began
            await until(lambda: queue.counts() == (0, 0))
            assert not any(triggerer.tasks[number].done() for number in others)
            assert len(proxy.listings) == 3 * 2 + 1  # no other stream has looked
            return seconds

    print(f"\nfrom the put to the event: {asyncio.run(put_and_wait()):.2f} s")
    with open_lake(feeds[0].settings) as lake:
        assert feeds[0].run(lake).total.registered == 1
        assert feeds[0].landed(lake) == feeds[0].rows_of(feeds[0].sent)


def test_a_message_is_deleted_after_the_event_is_stored_and_not_before(
    make: Any, proxy: Proxy, queue: Queue
) -> None:
    orders, others = make("orders"), make("others")

    async def put_and_store() -> None:
        async with a_triggerer(stores=False) as triggerer:
            number = triggerer.start(a_trigger(orders))
            triggerer.start(a_trigger(others))
            await until(lambda: len(proxy.listings) == 4)
            await until(lambda: queue.counts() == (0, 0))  # S3's test event
            await asyncio.to_thread(orders.put)
            await until(lambda: triggerer.runner.events)
            await asyncio.sleep(1)  # as long as it would take to delete it
            assert queue.counts() == (0, 1)
            triggerer.store()
            assert triggerer.stored == {number: CHANGED}
            await until(lambda: queue.counts() == (0, 0))

    asyncio.run(put_and_store())


@pytest.mark.parametrize("way", ["SNS", "EventBridge"])
def test_a_message_that_came_through_another_service_wakes_too(
    make: Any, proxy: Proxy, queue: Queue, client: S3Client, way: str
) -> None:
    feed = make("orders")
    bucket = feed.settings.bucket
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})

    async def put_and_tell() -> Any:
        async with a_triggerer() as triggerer:
            number = triggerer.start(a_trigger(feed))
            await until(lambda: len(proxy.listings) == 2)
            key = await asyncio.to_thread(feed.put, "a b.parquet")
            told: dict[str, Any] = {"detail": {"bucket": {"name": bucket}, "object": {"key": key}}}
            if way == "SNS":
                said = {
                    "s3": {"bucket": {"name": bucket}, "object": {"key": key.replace(" ", "+")}}
                }
                told = {"Type": "Notification", "Message": json.dumps({"Records": [said]})}
            queue.send(told)
            return await triggerer.event(number)

    assert asyncio.run(put_and_tell()) == CHANGED


def test_streams_of_which_one_lies_in_the_other_s_folder_both_wake(make: Any, proxy: Proxy) -> None:
    outer = make("orders", path_format="${NAMESPACE}/${STREAM_NAME}/")
    inner = make("old", path_format="shop/orders/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_")
    flat = [
        make(name, path_format="flat/${STREAM_NAME}_${YEAR}_${MONTH}_${DAY}_")
        for name in ("carts", "carts_old")
    ]

    async def put_and_wait() -> None:
        async with a_triggerer() as triggerer:
            numbers = [triggerer.start(a_trigger(feed)) for feed in (outer, inner, *flat)]
            await until(lambda: len(proxy.listings) == 2 * len(numbers))
            await asyncio.to_thread(inner.put_key, "shop/orders/old/2026_03_10_0.parquet")
            for number in numbers[:2]:
                assert await triggerer.event(number) == CHANGED
            await asyncio.to_thread(flat[1].put_key, "flat/carts_old_2026_03_10_0.parquet")
            assert await triggerer.event(numbers[3]) == CHANGED
            assert not triggerer.tasks[numbers[2]].done()
            assert len(proxy.listings) == 2 * len(numbers) + 3

    asyncio.run(put_and_wait())


# What a message cannot do.


def test_a_forged_message_costs_one_listing_of_the_stream_that_it_names(
    make: Any, proxy: Proxy, queue: Queue
) -> None:
    feed, other = make("orders"), make("others")
    bucket = feed.settings.bucket

    async def forge_and_put() -> Any:
        async with a_triggerer() as triggerer:
            number = triggerer.start(a_trigger(feed))
            triggerer.start(a_trigger(other))
            await until(lambda: len(proxy.listings) == 4)
            queue.announce(bucket, feed.key("nothing.parquet"), feed.key("nothing.parquet"))
            await until(lambda: len(proxy.listings) == 5)
            queue.announce("another-bucket", feed.key("part_9.parquet"))
            queue.announce(bucket, "raw/no/stream/of/ours.parquet", *map(str, range(2000)))
            await until(lambda: queue.counts() == (0, 0))
            assert (len(proxy.listings), triggerer.stored) == (5, {})
            await asyncio.to_thread(feed.put)
            return await triggerer.event(number)

    assert asyncio.run(forge_and_put()) == CHANGED
    assert len(proxy.listings) == 6


MALFORMED = {
    "text": "hello",
    "list": "[]",
    "deep": "[" * 100_000,
    "long": '{"Records": "' + "x" * 262_144 + '"}',
    "other": '{"Records": [{"s3": {"object": {"key": "raw/"}}}]}',
    "sizes": '{"Records": [{"s3": {"bucket": {"name": 1}, "object": {"key": ["a"]}}}]}',
}


def test_messages_that_cannot_be_read_are_logged_and_removed_and_stop_nothing(
    make: Any, proxy: Proxy, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    feed = make("orders")

    async def send_and_put() -> Any:
        async with a_triggerer() as triggerer:
            number = triggerer.start(a_trigger(feed))
            await until(lambda: len(proxy.listings) == 2)
            for body in MALFORMED.values():
                queue.send(body)
            await until(lambda: queue.counts() == (0, 0))
            await asyncio.to_thread(feed.put)
            return await triggerer.event(number)

    assert asyncio.run(send_and_put()) == CHANGED
    said = [record.getMessage() for record in caplog.records if "could not be read" in record.msg]
    assert len(said) == 1  # at a calm rate
    assert "could not be read, the last of them: " in said[0]


# A queue that does not work.


@contextlib.contextmanager
def a_broken_queue(queue: Queue, fault: str) -> Iterator[tuple[str, Any]]:
    """The URL of a queue that does not work, and how it is mended."""
    url = urlsplit(queue.url)
    origin = f"{url.scheme}://{url.netloc}"
    if fault == "missing":
        name = f"late-{next(_numbers)}"

        def create() -> None:
            queue.client.create_queue(QueueName=name)

        yield queue.url.rpartition("/")[0] + f"/{name}", create
        return
    with run_proxy(origin) as proxy:
        plans = {"forbidden": Fault.REFUSED, "down": Fault.RESET, "slow": Fault.SILENT}
        proxy.plan = lambda *_: plans[fault]

        def mend() -> None:
            proxy.plan = lambda *_: None

        yield f"{proxy.url}{url.path}", mend


@pytest.mark.parametrize("fault", ["missing", "forbidden", "down", "slow"])
def test_while_the_queue_does_not_work_the_bucket_is_polled_and_the_log_says_why_once(
    make: Any,
    proxy: Proxy,
    queue: Queue,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(bucket_events, "_RETRY_SECONDS", 1)
    monkeypatch.setattr(bucket_events, "_ANSWER_SECONDS", 2 if fault == "slow" else 30)
    monkeypatch.setattr(bucket_events, "_LONG_POLL_SECONDS", 0)
    monkeypatch.setattr(bucket_events, "_SIGN_OF_LIFE_SECONDS", 0.2)
    monkeypatch.setattr(bucket_events, "_SILENCE_SECONDS", 5)
    feed = make("orders")

    def logged(text: str) -> list[str]:
        return [r.getMessage() for r in caplog.records if text in r.getMessage()]

    async def poll_and_mend() -> None:
        with a_broken_queue(queue, fault) as (url, mend):
            async with a_triggerer() as triggerer:
                number = triggerer.start(a_trigger(feed, queue_url=url, poke_interval=1))
                await until(lambda: len(proxy.listings) >= 4)
                await until(lambda: logged("cannot be read"))
                assert not triggerer.tasks[number].done()
                mend()
                await until(lambda: logged("are read again"))
                await asyncio.sleep(0.5)
                polled = len(proxy.listings)
                await asyncio.sleep(1)
                assert len(proxy.listings) == polled  # the queue answers: no need to
                await asyncio.to_thread(feed.put)  # of which nothing tells this queue
                monkeypatch.setattr(bucket_events, "_SILENCE_SECONDS", 0)
                assert await triggerer.event(number) == CHANGED

    asyncio.run(poll_and_mend())
    assert len(logged("cannot be read")) == 1
    assert "LAKE_EVENTS_QUEUE" in logged("cannot be read")[0]


def test_a_reader_that_fails_leaves_the_stream_with_its_poll(
    make: Any, monkeypatch: pytest.MonkeyPatch, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    feed = make("orders")

    async def fail_and_put() -> Any:
        async with a_triggerer() as triggerer:
            monkeypatch.setattr(bucket_events, "Hints", None)  # an error of ours
            monkeypatch.setattr(bucket_events.QueueReader, "get_advance_lane", None)
            monkeypatch.setattr(bucket_events.QueueReader, "_log_change", None)
            number = triggerer.start(a_trigger(feed, poke_interval=0.1))
            await until(lambda: "the bucket is polled" in caplog.text)
            await asyncio.to_thread(feed.put)
            return await triggerer.event(number)

    assert asyncio.run(fail_and_put()) == CHANGED


# Where an event can fall between.


def test_an_event_that_comes_before_its_trigger_is_in_the_first_listing(
    make: Any, proxy: Proxy, queue: Queue
) -> None:
    """Between the look of a run and its trigger, or while the triggerer is restarted."""
    orders, others = make("orders"), make("others")

    async def put_between() -> Any:
        late = a_trigger(orders)
        async with a_triggerer() as triggerer:
            triggerer.start(a_trigger(others))
            await asyncio.to_thread(orders.put)
            await until(lambda: queue.counts() == (0, 0))  # nobody waits for it
            return await triggerer.event(triggerer.start(late))

    assert asyncio.run(put_between()) == CHANGED


def test_an_event_of_a_stream_that_waits_in_another_triggerer_gets_there(
    make: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_events, "_OFFERS", 100)
    # The request of a reader that has ended may still take a message.
    monkeypatch.setattr(bucket_events, "_LONG_POLL_SECONDS", 1)
    here, there = make("orders"), make("others")

    async def put_for_both() -> None:
        async with a_triggerer() as one, a_triggerer() as two:
            for number in range(3):
                seen = len(proxy.listings)
                first, second = one.start(a_trigger(here)), two.start(a_trigger(there))
                await until(lambda seen=seen: len(proxy.listings) >= seen + 4)
                began = time.monotonic()
                for feed in (here, there):
                    await asyncio.to_thread(feed.put, f"part_{number}.parquet")
                assert await one.event(first) == CHANGED
                assert await two.event(second) == CHANGED
                print(f"\nboth after {time.monotonic() - began:.1f} s")
                for feed in (here, there):
                    with open_lake(feed.settings) as lake:
                        assert feed.run(lake).total.registered == 1

    asyncio.run(put_for_both())


def test_a_listing_covers_the_events_that_came_before_it(
    make: Any, proxy: Proxy, queue: Queue
) -> None:
    feed = make("orders")
    for number in range(30):
        queue.announce(feed.settings.bucket, feed.key(f"part_{number}.parquet"))

    async def start() -> None:
        async with a_triggerer() as triggerer:
            triggerer.start(a_trigger(feed))
            await until(lambda: queue.counts() == (0, 0))

    asyncio.run(start())
    assert len(proxy.listings) <= 3  # the sensor, the start, and one for what came meanwhile


def test_a_triggerer_that_is_killed_before_it_has_stored_an_event_loses_and_doubles_nothing(
    make: Any, queue: Queue, proxy: Proxy
) -> None:
    feed = make("orders")
    path, arguments = a_trigger(feed).serialize()
    command = [sys.executable, "-m", "tests.dags.triggerer", path, json.dumps(arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as triggerer:
        try:
            assert triggerer.stdout is not None
            while len(proxy.listings) < 2:
                time.sleep(0.05)
            feed.put()
            assert FIRED in iter(triggerer.stdout.readline, "")
            assert queue.counts() != (0, 0)
        finally:
            triggerer.kill()
    while queue.counts()[0] == 0:  # it comes back
        time.sleep(0.1)

    async def start_again() -> Any:
        async with a_triggerer() as triggerer:
            triggerer.start(a_trigger(make("others")))
            event = await triggerer.event(triggerer.start(import_string(path)(**arguments)))
            await until(lambda: queue.counts() == (0, 0))
            return event

    assert asyncio.run(start_again()) == CHANGED
    with open_lake(feed.settings) as lake:
        assert [feed.run(lake).total.registered for _ in range(2)] == [1, 0]
        assert feed.landed(lake) == feed.rows_of(feed.sent)


# The clock.


def test_a_wait_that_ends_by_the_clock_does_not_wait_for_the_long_poll(make: Any) -> None:
    feed = make("orders")

    async def wait() -> Any:
        async with a_triggerer() as triggerer:
            trigger = a_trigger(feed, wake_at=time.time() + 1, poke_interval=0.5)
            return await triggerer.event(triggerer.start(trigger))

    assert asyncio.run(wait()) == CHANGED


def test_the_poll_is_the_floor_and_tells_of_changes_without_events(
    make: Any, client: S3Client, caplog: pytest.LogCaptureFixture, proxy: Proxy
) -> None:
    feed = make("orders")
    client.put_bucket_notification_configuration(
        Bucket=feed.settings.bucket, NotificationConfiguration={}
    )

    async def put_untold() -> Any:
        async with a_triggerer() as triggerer:
            number = triggerer.start(a_trigger(feed, poke_interval=0.1, poll_seconds=0.5))
            await until(lambda: len(proxy.listings) == 4)
            await asyncio.to_thread(feed.put)
            return await triggerer.event(number)

    assert asyncio.run(put_untold()) == CHANGED
    assert "a change that no notification has told of" in caplog.text


# Rights.


def test_the_reader_uses_exactly_the_rights_of_its_policy(
    make: Any, queue: Queue, proxy: Proxy
) -> None:
    policy = json.loads((POLICIES / "sqs-events.json").read_text())
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    feed = make("orders")
    url = urlsplit(queue.url)

    async def read(at: str) -> None:
        async with a_triggerer() as triggerer:
            triggerer.start(a_trigger(feed, queue_url=f"{at}{url.path}"))
            await until(lambda: queue.counts() == (0, 0))
            queue.announce(feed.settings.bucket, "raw/of/no/stream.parquet")
            await until(lambda: queue.counts() == (0, 0))

    with run_proxy(f"{url.scheme}://{url.netloc}") as sqs:
        asyncio.run(read(sqs.url))
    # SQS asks for the right of the single call, and the doctor alone asks for the attributes.
    used = {f"sqs:{target.removesuffix('Batch')}" for target in sqs.targets}
    assert used | {"sqs:GetQueueAttributes"} == granted
