"""Jobs are started exactly once, whatever becomes of the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lotus_lake.airbyte import jobs
from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.answers import Connection
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.landed import StreamCheck
from lotus_lake.airbyte.transport import ATTEMPTS
from lotus_lake.errors import AirbyteBusyError, AirbyteError, AirbyteUnavailableError
from tests.airbyte_server import CONNECTION_ID, AirbyteServer, Fault, attempt, run_airbyte


@pytest.fixture
def airbyte() -> Iterator[AirbyteServer]:
    with run_airbyte() as server:
        server.add_connection("shopify", ["orders", "customers"])
        yield server


@pytest.fixture
def client(airbyte: AirbyteServer) -> AirbyteClient:
    access = AirbyteAccess.from_env(airbyte.environment())
    return AirbyteClient(access, read_seconds=2, pause_seconds=0)


@pytest.fixture
def connection(client: AirbyteClient) -> Connection:
    return client.connection(CONNECTION_ID)


def refresh(client: AirbyteClient, connection: Connection) -> int:
    streams = connection.streams[:1]
    return jobs.start(
        client,
        connection,
        "refresh",
        lambda: client.refresh(connection.connection_id, streams),
        streams=[stream.name for stream in streams],
        look_seconds=0,
    )


def sync(client: AirbyteClient, connection: Connection) -> int:
    return jobs.start(
        client,
        connection,
        "sync",
        lambda: client.start_sync(connection.connection_id),
        look_seconds=0,
    )


def test_a_refresh_keeps_records_and_names_its_streams(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    stream = airbyte.connections[CONNECTION_ID]["syncCatalog"]["streams"][0]["stream"]
    stream["namespace"] = "store"
    job_id = refresh(client, client.connection(CONNECTION_ID))
    assert airbyte.calls("/refresh") == [
        {
            "connectionId": CONNECTION_ID,
            "refreshMode": "Merge",
            "streams": [{"streamName": "orders", "streamNamespace": "store"}],
        }
    ]
    assert client.job(job_id).streams == {"orders"}


@pytest.mark.parametrize("status", ["pending", "queued", "running", "incomplete"])
@pytest.mark.parametrize("start", [refresh, sync])
def test_an_open_job_is_named_and_nothing_is_asked(
    airbyte: AirbyteServer,
    client: AirbyteClient,
    connection: Connection,
    status: str,
    start: Callable[..., int],
) -> None:
    job = airbyte.add_job(statuses=[status])
    with pytest.raises(AirbyteBusyError, match=rf"job {job['id']} \(sync, {status}\)") as caught:
        start(client, connection)
    assert f"lotus-lake job {job['id']} --wait" in str(caught.value.hint)
    assert airbyte.calls("/refresh") == airbyte.calls("/public/v1/jobs") == []


@pytest.mark.parametrize("kind", ["half", "cut", "html", 502, "silence"])
@pytest.mark.parametrize(("start", "path"), [(refresh, "/refresh"), (sync, "/public/v1/jobs")])
def test_a_job_whose_answer_was_lost_is_found(
    airbyte: AirbyteServer,
    client: AirbyteClient,
    connection: Connection,
    kind: int | str,
    start: Callable[..., int],
    path: str,
) -> None:
    airbyte.add_job(statuses=["succeeded"])
    airbyte.faults.append(Fault(path, kind, done=True))
    job_id = start(client, connection)
    assert job_id == max(airbyte.jobs)
    assert len(airbyte.jobs) == 2
    assert len(airbyte.calls(path)) == 1


@pytest.mark.parametrize(("start", "path"), [(refresh, "/refresh"), (sync, "/public/v1/jobs")])
def test_a_call_that_did_not_arrive_is_an_error(
    airbyte: AirbyteServer,
    client: AirbyteClient,
    connection: Connection,
    start: Callable[..., int],
    path: str,
) -> None:
    airbyte.add_job(statuses=["succeeded"])
    airbyte.faults.append(Fault(path, 503))
    with pytest.raises(AirbyteUnavailableError, match="503"):
        start(client, connection)
    assert len(airbyte.jobs) == 1


def test_a_sync_that_overtook_us_is_named(
    airbyte: AirbyteServer, client: AirbyteClient, connection: Connection
) -> None:
    def start_late() -> int:
        airbyte.add_job()
        return client.start_sync(CONNECTION_ID)

    with pytest.raises(AirbyteBusyError, match="job 101"):
        jobs.start(client, connection, "sync", start_late)


def test_a_refresh_that_was_only_noted_is_no_success(
    airbyte: AirbyteServer, client: AirbyteClient, connection: Connection
) -> None:
    def start_late() -> int | None:
        airbyte.add_job()
        return client.refresh(CONNECTION_ID, connection.streams)

    with pytest.raises(AirbyteError, match="started no refresh") as caught:
        jobs.start(client, connection, "refresh", start_late)
    assert "next sync will be this refresh" in str(caught.value.hint)
    assert len(airbyte.noted_refreshes) == 1


def test_a_job_is_followed_to_its_end(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    statuses = ["pending", "running", "incomplete", "running", "succeeded"]
    job = airbyte.add_job(statuses=list(statuses))
    seen = [
        found.status
        for found in jobs.follow(client, job["id"], timeout_seconds=60, poll_seconds=0.01)
    ]
    assert seen == statuses


def test_a_job_that_takes_too_long_is_left_alone(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    job = airbyte.add_job()
    seen = list(jobs.follow(client, job["id"], timeout_seconds=0.05, poll_seconds=0.02))
    assert len(seen) >= 2
    assert not seen[-1].is_over


def test_following_survives_a_server_that_restarts(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    job = airbyte.add_job(statuses=["running", "succeeded"])
    airbyte.faults.append(Fault("/get_without_logs", "cut", 3 * ATTEMPTS))
    seen = list(jobs.follow(client, job["id"], timeout_seconds=60, poll_seconds=0.01))
    assert seen[-1].status == "succeeded"


def test_a_server_that_stays_away_is_an_error_in_the_end(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    job = airbyte.add_job()
    airbyte.faults.append(Fault("/get_without_logs", 503, 1000))
    with pytest.raises(AirbyteUnavailableError, match="503"):
        list(jobs.follow(client, job["id"], timeout_seconds=0.1, poll_seconds=0.02))


def test_a_refresh_of_other_streams_is_not_taken_for_ours(
    airbyte: AirbyteServer, client: AirbyteClient, connection: Connection
) -> None:
    def lose_the_answer() -> int | None:
        other = {"streamsToRefresh": [{"name": "customers"}]}
        airbyte.add_job(configType="refresh", refreshConfig=other)
        raise AirbyteUnavailableError("no answer")

    with pytest.raises(AirbyteUnavailableError, match="no answer"):
        jobs.start(
            client, connection, "refresh", lose_the_answer, streams=["orders"], look_seconds=0
        )


def test_a_job_that_appears_late_is_found(
    airbyte: AirbyteServer, client: AirbyteClient, connection: Connection
) -> None:
    def lose_the_answer() -> int | None:
        timer = threading.Timer(0.2, airbyte.add_job)
        timer.start()
        raise AirbyteUnavailableError("no answer")

    assert jobs.start(client, connection, "sync", lose_the_answer, look_seconds=0.2) == 101


def test_the_reason_of_a_failure_is_known(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    failure = {"failureOrigin": "source", "externalMessage": "the API key has expired"}
    tries = [attempt(0, "failed", orders=3) | {"failureSummary": {"failures": [failure]}}]
    job = airbyte.add_job(statuses=["failed"], attempts=tries)
    found = client.job(job["id"])
    assert (found.status, found.failure) == ("failed", "source: the API key has expired")


@pytest.mark.parametrize(
    ("numbers", "state"),
    [
        # committed, landed, waiting, quarantined, retired
        ((5, 5, 0, 0, 0), "landed"),
        ((5, 9, 0, 0, 0), "landed"),
        ((5, 9, 1, 0, 0), "waiting"),
        ((5, 9, 1, 1, 0), "quarantined"),
        ((5, 4, 0, 0, 0), "missing"),
        ((5, 4, 0, 0, 1), "unproven"),
        ((5, 5, 0, 0, 1), "landed"),
        ((None, 5, 0, 0, 0), "unproven"),
        ((None, 5, 1, 0, 0), "waiting"),
    ],
)
def test_what_the_numbers_mean(numbers: tuple[Any, ...], state: str) -> None:
    assert StreamCheck("shop__orders", *numbers).state == state
