"""Calls to Airbyte: what is repeated, what is not, and what each error says."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airbyte.connections import find_connection, find_source_id, source_of, stream_of
from lotus_lake.airbyte.jobs import running_job
from lotus_lake.airbyte.transport import ATTEMPTS, message_of
from lotus_lake.cli import app
from lotus_lake.config.stream_config import StreamConfig
from lotus_lake.config.streams import Stream
from lotus_lake.errors import (
    AirbyteBusyError,
    AirbyteError,
    AirbyteNotFoundError,
    AirbyteUnavailableError,
)
from tests.airbyte_server import (
    CLIENT_SECRET,
    CONNECTION_ID,
    SOURCE_ID,
    WORKSPACE,
    AirbyteServer,
    Fault,
    attempt,
    run_airbyte,
)

OTHER_ID = "33333333-0000-4000-8000-000000000002"


@pytest.fixture
def airbyte() -> Iterator[AirbyteServer]:
    with run_airbyte() as server:
        server.add_connection("shopify", ["orders", "customers"])
        yield server


def client_of(airbyte: AirbyteServer, **variables: str) -> AirbyteClient:
    access = AirbyteAccess.from_env(airbyte.environment() | variables)
    return AirbyteClient(access, pause_seconds=0)


@pytest.fixture
def client(airbyte: AirbyteServer) -> AirbyteClient:
    return client_of(airbyte)


def a_stream(source: str, name: str, **words: str) -> Stream:
    """A stream as its config has it."""
    document = {"stream": name, "primary_key": [["id"]], "fields": {"id": {}}, **words}
    return Stream(source, name, StreamConfig.model_validate(document))


def by_id(method: Callable[[AirbyteClient, str], object]) -> Callable[[AirbyteClient], object]:
    return lambda client: method(client, CONNECTION_ID)


def first_job(client: AirbyteClient) -> object:
    return client.job(1)


def discover(client: AirbyteClient) -> object:
    return client.discover_schema(SOURCE_ID)


def refresh_all(client: AirbyteClient) -> object:
    return client.refresh(CONNECTION_ID, client.connection(CONNECTION_ID).streams)


# Log-in


def test_one_token_serves_many_calls(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    client.connections()
    client.connections()
    assert airbyte.token_count == 1
    assert len(airbyte.calls("/connections/list")) == 2


def test_an_expired_token_is_replaced(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    client.connections()
    airbyte.tokens.clear()
    assert client.connections()
    assert airbyte.token_count == 2


def test_a_call_that_changes_something_survives_an_expired_token_once(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    client.connections()
    airbyte.tokens.clear()
    job_id = client.start_sync(CONNECTION_ID)
    assert list(airbyte.jobs) == [job_id]


def test_a_wrong_secret_names_the_variables(airbyte: AirbyteServer) -> None:
    client = client_of(airbyte, AIRBYTE_CLIENT_SECRET="wrong-secret")
    with pytest.raises(AirbyteError, match="was not accepted") as caught:
        client.connections()
    assert "check AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET" in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
    assert len(airbyte.calls("/applications/token")) == 1


def test_a_wrong_token_names_its_variable(airbyte: AirbyteServer) -> None:
    client = client_of(airbyte, AIRBYTE_TOKEN="stale-token")
    with pytest.raises(AirbyteError, match="Unauthorized") as caught:
        client.connections()
    assert caught.value.hint == "check AIRBYTE_TOKEN"
    assert "stale-token" not in str(caught.value)


@pytest.mark.parametrize("character", ["\n", "\u00e4"])
def test_a_token_that_no_header_can_carry_is_not_repeated(
    airbyte: AirbyteServer, character: str
) -> None:
    client = client_of(airbyte, AIRBYTE_TOKEN=f"secret-token{character}")
    with pytest.raises(AirbyteError, match="an HTTP header cannot carry") as caught:
        client.connections()
    assert caught.value.hint == "check AIRBYTE_TOKEN"
    assert "secret-token" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_at_the_end_of_what_is_shown_is_not_cut_in_two(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    text = "x" * 495 + CLIENT_SECRET
    airbyte.faults.append(Fault("/connections/list", 500, ATTEMPTS, body={"message": text}))
    with pytest.raises(AirbyteUnavailableError) as caught:
        client.connections()
    assert f"{'x' * 495}***" in str(caught.value)
    assert CLIENT_SECRET[:5] not in str(caught.value)


def test_a_log_in_without_the_right_to_do_it_says_so(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.faults.append(Fault("/connections/refresh", 403))
    connection = client.connection(CONNECTION_ID)
    with pytest.raises(AirbyteError, match="the login lacks the right to do this"):
        client.refresh(CONNECTION_ID, connection.streams)


def test_a_secret_that_the_server_sends_back_is_not_shown(
    airbyte: AirbyteServer, client: AirbyteClient, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"cannot work with {CLIENT_SECRET} and token-1"
    airbyte.faults.append(Fault("/connections/list", 500, ATTEMPTS, body={"message": text}))
    with caplog.at_level(logging.DEBUG), pytest.raises(AirbyteUnavailableError) as caught:
        client.connections()
    assert "cannot work with *** and ***" in str(caught.value)
    assert "Retrying" in caplog.text
    for secret in (CLIENT_SECRET, "token-1"):
        assert secret not in caplog.text


# Answers that are none


@pytest.mark.parametrize("kind", [500, 502, 503, 504, 429, "half", "cut", "html", "list"])
def test_a_call_that_changes_nothing_is_repeated(
    airbyte: AirbyteServer, client: AirbyteClient, kind: int | str
) -> None:
    airbyte.faults.append(Fault("/connections/list", kind, ATTEMPTS - 1))
    assert [item.connection_id for item in client.connections()] == [CONNECTION_ID]
    assert len(airbyte.calls("/connections/list")) == ATTEMPTS


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (502, "502: see errorId 4b1d in the log of Airbyte's server"),
        ("half", "no answer: RemoteProtocolError: peer closed connection without sending complete"),
        ("cut", "no answer: RemoteProtocolError: Server disconnected without sending a response"),
        ("html", "not JSON: '<html>Please log in</html>'"),
        ("list", "not a JSON object"),
    ],
)
def test_repeating_ends_in_a_transient_error(
    airbyte: AirbyteServer, client: AirbyteClient, kind: int | str, text: str
) -> None:
    airbyte.faults.append(Fault("/connections/list", kind, ATTEMPTS))
    with pytest.raises(AirbyteUnavailableError, match=text):
        client.connections()
    assert len(airbyte.calls("/connections/list")) == ATTEMPTS


def test_a_server_that_keeps_silent_is_given_up(airbyte: AirbyteServer) -> None:
    airbyte.faults.append(Fault("/connections/list", "silence", ATTEMPTS))
    access = AirbyteAccess.from_env(airbyte.environment())
    client = AirbyteClient(access, read_seconds=0.2, pause_seconds=0)
    with pytest.raises(AirbyteUnavailableError, match="timed out") as caught:
        client.connections()
    assert "AIRBYTE_URL" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["slow head", "slow body"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    airbyte: AirbyteServer, kind: str
) -> None:
    airbyte.faults.append(Fault("/connections/list", kind, ATTEMPTS))
    access = AirbyteAccess.from_env(airbyte.environment())
    client = AirbyteClient(access, read_seconds=0.2, total_seconds=0.4, pause_seconds=0)
    with pytest.raises(AirbyteUnavailableError, match="the whole answer took too long"):
        client.connections()
    assert len(airbyte.calls("/connections/list")) == ATTEMPTS


def test_a_call_that_starts_something_is_not_repeated_after_a_timeout(
    airbyte: AirbyteServer,
) -> None:
    airbyte.faults.append(Fault("/public/v1/jobs", "slow body", done=True))
    access = AirbyteAccess.from_env(airbyte.environment())
    client = AirbyteClient(access, read_seconds=0.2, total_seconds=0.4, pause_seconds=0)
    with pytest.raises(AirbyteUnavailableError, match="timed out"):
        client.start_sync(CONNECTION_ID)
    assert len(airbyte.calls("/public/v1/jobs")) == len(airbyte.jobs) == 1


def test_a_server_that_is_not_there_is_named() -> None:
    with run_airbyte() as server:
        client = client_of(server)
    with pytest.raises(AirbyteUnavailableError, match="no answer: ConnectionRefusedError"):
        client.connections()


def test_a_call_that_starts_something_is_made_once(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.faults.append(Fault("/jobs", 502))
    with pytest.raises(AirbyteUnavailableError):
        client.start_sync(CONNECTION_ID)
    assert len(airbyte.calls("/public/v1/jobs")) == 1
    assert airbyte.jobs == {}


def test_a_redirect_is_not_followed(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    airbyte.faults.append(Fault("/connections/list", 302))
    with pytest.raises(AirbyteError, match="302") as caught:
        client.connections()
    assert "redirects" in str(caught.value.hint)
    assert airbyte.calls("/elsewhere") == []


@pytest.mark.parametrize(
    ("call", "path", "body"),
    [
        (AirbyteClient.connections, "/workspaces", {"data": [{"id": 1}]}),
        (AirbyteClient.connections, "/workspaces", {"data": 7}),
        (AirbyteClient.connections, "/connections/list", {"connections": [{"name": "x"}]}),
        (AirbyteClient.connections, "/connections/list", {"connections": ["x"]}),
        (by_id(AirbyteClient.connection), "/connections/get", {}),
        (by_id(AirbyteClient.jobs), "/jobs/list", {"jobs": [{"id": 1}]}),
        (by_id(AirbyteClient.jobs), "/jobs/list", {"jobs": [{"job": {"status": "running"}}]}),
        (first_job, "/jobs/get_without_logs", {}),
        (first_job, "/jobs/get_without_logs", {"job": {"id": 1, "createdAt": "yesterday"}}),
        (first_job, "/jobs/get_without_logs", {"job": {"id": 1}, "attempts": [{"attempt": []}]}),
        (by_id(AirbyteClient.start_sync), "/public/v1/jobs", {"id": 1}),
        (refresh_all, "/connections/refresh", {"job": {"status": "pending"}}),
        (discover, "/discover_schema", {"catalog": {"streams": [{"name": "orders"}]}}),
        (discover, "/discover_schema", {"catalog": [1]}),
    ],
)
def test_an_answer_of_another_form_is_a_transient_error(
    airbyte: AirbyteServer,
    client: AirbyteClient,
    call: Callable[[AirbyteClient], object],
    path: str,
    body: dict[str, object],
) -> None:
    airbyte.faults.append(Fault(path, 200, body=body))
    with pytest.raises(AirbyteUnavailableError, match="has an unexpected format"):
        call(client)


# Refusals


def test_an_unknown_connection_is_named_with_those_there_are(client: AirbyteClient) -> None:
    with pytest.raises(AirbyteNotFoundError, match=f"no connection {OTHER_ID}") as caught:
        client.connection(OTHER_ID)
    assert caught.value.hint == f"known connections: {CONNECTION_ID} (shopify to the lake)"


def test_an_unknown_workspace_is_named(airbyte: AirbyteServer) -> None:
    with pytest.raises(AirbyteNotFoundError, match="workspaceId w"):
        client_of(airbyte, AIRBYTE_WORKSPACE_ID="w").connections()


def test_a_workspace_in_the_settings_is_the_only_one_looked_at(airbyte: AirbyteServer) -> None:
    assert client_of(airbyte, AIRBYTE_WORKSPACE_ID=WORKSPACE).connections()
    assert airbyte.calls("/workspaces") == []


def test_a_sync_beside_a_running_job_is_refused(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.add_job()
    with pytest.raises(AirbyteBusyError, match="409: A sync is already running for"):
        client.start_sync(CONNECTION_ID)


def test_the_servers_words_are_repeated_for_what_it_cannot_do(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    body = {
        "message": "The received object did not pass validation",
        "validationErrors": [
            {"propertyPath": "streams[0]", "message": "unknown", "invalidValue": "x"}
        ],
    }
    airbyte.faults.append(Fault("/jobs/list", 422, body=body))
    with pytest.raises(AirbyteError, match=r"422: The received .*; streams\[0\]: unknown"):
        client.jobs(CONNECTION_ID)
    assert len(airbyte.calls("/jobs/list")) == 1


def test_an_unknown_job_is_named(client: AirbyteClient) -> None:
    with pytest.raises(AirbyteNotFoundError, match="there is no job 4711"):
        client.job(4711)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('{"message": "no", "exceptionStack": ["at io.airbyte"]}', "no"),
        ('{"title": "t", "detail": "d", "data": {"message": "m"}}', "m; d; t"),
        ('{"errorId": "7"}', "see errorId 7 in the log of Airbyte's server"),
        ("{}", "no explanation"),
        ("", "no explanation"),
        ("Bad Gateway", "Bad Gateway"),
        ("[1]", "[1]"),
    ],
)
def test_every_form_of_an_error_is_read(answer: str, text: str) -> None:
    assert message_of(answer) == text


def test_a_refresh_of_no_stream_would_refresh_all_and_is_refused(client: AirbyteClient) -> None:
    with pytest.raises(ValueError, match="would refresh the whole"):
        client.refresh(CONNECTION_ID, [])


# Discovery


def test_discovery_gives_a_catalog_as_a_connector_prints_it(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    schema = {"type": "object", "properties": {"id": {"type": ["null", "integer"]}}}
    stream = {
        "name": "orders",
        "jsonSchema": schema,
        "supportedSyncModes": ["full_refresh", "incremental"],
        "sourceDefinedPrimaryKey": [["id"]],
        "defaultCursorField": ["updated_at"],
        "isResumable": True,
    }
    airbyte.discovered = {"catalog": {"streams": [{"stream": stream, "config": {}}]}, "jobInfo": {}}
    assert client.discover_schema(SOURCE_ID) == {
        "streams": [
            {
                "name": "orders",
                "json_schema": schema,
                "supported_sync_modes": ["full_refresh", "incremental"],
                "default_cursor_field": ["updated_at"],
                "source_defined_primary_key": [["id"]],
            }
        ]
    }
    assert airbyte.calls("/discover_schema") == [{"sourceId": SOURCE_ID, "disable_cache": True}]


def test_a_failed_discovery_says_why(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    reason = {"externalMessage": "the API key is wrong", "internalMessage": "401"}
    airbyte.discovered = {"jobInfo": {"succeeded": False, "failureReason": reason}}
    with pytest.raises(AirbyteError, match=f"source {SOURCE_ID} failed: the API key is wrong"):
        client.discover_schema(SOURCE_ID)


def test_discovery_of_an_unknown_source_names_those_there_are(client: AirbyteClient) -> None:
    with pytest.raises(AirbyteNotFoundError, match="no source nowhere") as caught:
        client.discover_schema("nowhere")
    assert caught.value.hint == f"known sources: {SOURCE_ID} (shopify)"


@pytest.mark.parametrize("field", ["name", "sourceType"])
def test_a_source_is_found_by_its_name_or_connector(
    airbyte: AirbyteServer, client: AirbyteClient, field: str
) -> None:
    airbyte.add_connection("elsewhere", ["events"], OTHER_ID, "source-2")
    airbyte.sources["source-2"][field] = "Klaviyo"
    assert find_source_id(client, "klaviyo") == "source-2"
    assert find_source_id(client, "shopify") == SOURCE_ID


def test_a_source_that_cannot_be_told_is_asked_for(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    with pytest.raises(AirbyteNotFoundError, match="no source is called mail") as caught:
        find_source_id(client, "mail")
    assert f"there are: {SOURCE_ID} (shopify)" in str(caught.value.hint)
    airbyte.add_connection("shopify", ["events"], OTHER_ID, "source-2")
    with pytest.raises(AirbyteError, match="2 sources are called shopify") as caught:
        find_source_id(client, "shopify")
    assert "--source-id" in str(caught.value.hint)


def test_a_long_list_is_read_to_its_end(airbyte: AirbyteServer, client: AirbyteClient) -> None:
    for number in range(250):
        airbyte.add_connection(f"source{number}", [], f"connection-{number}", f"source-{number}")
    assert len(client.sources()) == 251
    assert len(airbyte.calls("/public/v1/sources")) == 3


# Which connection


def test_the_connection_with_the_sources_namespace_is_found(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.add_connection("klaviyo", ["events"], OTHER_ID, "source-2")
    assert (
        find_connection(client, "klaviyo", [a_stream("klaviyo", "events")]).connection_id
        == OTHER_ID
    )
    assert find_connection(client, "shopify").connection_id == CONNECTION_ID


@pytest.mark.parametrize("definition", ["destination", "source"])
def test_without_a_namespace_the_sources_name_decides(
    airbyte: AirbyteServer, client: AirbyteClient, definition: str
) -> None:
    airbyte.add_connection(
        "My Klaviyo", ["events"], OTHER_ID, "source-2", namespaceDefinition=definition
    )
    airbyte.sources["source-2"]["sourceName"] = "Klaviyo"
    found = find_connection(client, "klaviyo", [a_stream("klaviyo", "events")])
    assert found.connection_id == OTHER_ID
    assert source_of(client, found, ["klaviyo", "shopify"]) == "klaviyo"


def test_a_connection_that_writes_elsewhere_is_not_taken_for_its_name(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.connections[CONNECTION_ID]["namespaceFormat"] = "elsewhere"
    with pytest.raises(AirbyteNotFoundError, match="no connection sends shopify/orders"):
        find_connection(client, "shopify", [a_stream("shopify", "orders")])


def test_several_connections_are_listed_and_one_can_be_chosen(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.add_connection("shopify", ["orders"], OTHER_ID)
    with pytest.raises(AirbyteError, match="2 connections send shopify/orders") as caught:
        find_connection(client, "shopify", [a_stream("shopify", "orders")])
    assert "--connection-id" in str(caught.value.hint)
    assert (
        find_connection(client, "shopify", [a_stream("shopify", "orders")], OTHER_ID).connection_id
        == OTHER_ID
    )
    assert (
        find_connection(client, "shopify", [a_stream("shopify", "customers")]).connection_id
        == CONNECTION_ID
    )


def test_a_stream_that_is_not_selected_is_not_sent(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    streams = airbyte.connections[CONNECTION_ID]["syncCatalog"]["streams"]
    streams[0]["config"]["selected"] = False
    with pytest.raises(AirbyteNotFoundError) as caught:
        stream_of(client.connection(CONNECTION_ID), a_stream("shopify", "orders"))
    assert caught.value.hint == "it sends: customers"


def test_a_prefix_belongs_to_the_name_that_files_are_written_under(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.connections[CONNECTION_ID]["prefix"] = "raw_"
    connection = client.connection(CONNECTION_ID)
    assert stream_of(connection, a_stream("shopify", "raw_orders")).name == "orders"
    assert connection.stream(a_stream("shopify", "orders")) is None


@pytest.mark.parametrize("name", ["Order Refunds", "Order_Refunds"])
def test_a_stream_has_the_name_that_airbyte_or_its_keys_have(
    airbyte: AirbyteServer, client: AirbyteClient, name: str
) -> None:
    airbyte.add_connection("shopify", ["Order Refunds"], OTHER_ID)
    wanted = a_stream("shopify", "order_refunds", stream_name=name)
    assert stream_of(client.connection(OTHER_ID), wanted).name == "Order Refunds"


def test_of_streams_with_one_name_the_namespace_decides(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.connections[CONNECTION_ID]["namespaceDefinition"] = "source"
    streams = airbyte.connections[CONNECTION_ID]["syncCatalog"]["streams"]
    streams[0]["stream"] = {"name": "orders", "namespace": "public"}
    streams[1]["stream"] = {"name": "orders", "namespace": "Old Shop"}
    connection = client.connection(CONNECTION_ID)
    for namespace in ("public", "Old Shop"):
        sent = stream_of(connection, a_stream("shopify", "orders", namespace=namespace))
        assert sent.namespace == namespace
    assert connection.stream(a_stream("shopify", "orders", namespace="")) is None


def test_a_connection_of_an_unknown_source_is_said_to_be_one(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    with pytest.raises(AirbyteNotFoundError, match="sends 'shopify', which has no stream configs"):
        source_of(client, client.connection(CONNECTION_ID), ["klaviyo"])


# The barrier


@pytest.mark.parametrize(
    ("status", "writes"),
    [
        ("pending", False),
        ("queued", False),
        ("running", True),
        ("incomplete", True),
        ("failed", False),
        ("succeeded", False),
        ("cancelled", False),
    ],
)
def test_the_barrier_knows_whether_more_files_may_come(
    airbyte: AirbyteServer, client: AirbyteClient, status: str, writes: bool
) -> None:
    job = airbyte.add_job(statuses=[status])
    airbyte.add_job(OTHER_ID)
    found = running_job(client, CONNECTION_ID)
    assert (found.job_id if found else None) == (job["id"] if writes else None)


def test_a_running_clear_counts_for_the_barrier(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    airbyte.add_job(configType="clear")
    found = running_job(client, CONNECTION_ID)
    assert found is not None
    assert found.kind == "clear"


# Statistics


def test_committed_records_are_the_sum_over_the_attempts(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    tries = [attempt(0, "failed", orders=10), attempt(1, orders=5, customers=2)]
    job = airbyte.add_job(attempts=tries, statuses=["succeeded"])
    found = client.job(job["id"])
    assert found.committed == {"orders": 15, "customers": 2}
    assert (len(found.attempts), found.emitted) == (2, 17)


def test_airbytes_own_totals_come_before_the_sum(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    total = [{"streamName": "orders", "recordsCommitted": 5}]
    job = airbyte.add_job(attempts=[attempt(orders=10)], streamAggregatedStats=total)
    assert client.job(job["id"]).committed == {"orders": 5}


def test_a_job_without_statistics_has_none_rather_than_zero(
    airbyte: AirbyteServer, client: AirbyteClient
) -> None:
    job = airbyte.add_job(attempts=[{"id": 0, "status": "running"}])
    assert client.job(job["id"]).committed is None
    empty = airbyte.add_job(attempts=[attempt()])
    assert client.job(empty["id"]).committed == {}


def test_discover_asks_the_server_and_writes_what_it_says(
    airbyte: AirbyteServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**airbyte.environment(), "LAKE_PROJECT_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    stream = {
        "name": "products",
        "jsonSchema": {"type": "object", "properties": {"id": {"type": "integer"}}},
        "supportedSyncModes": ["full_refresh"],
        "sourceDefinedPrimaryKey": [["id"]],
    }
    airbyte.discovered = {"catalog": {"streams": [{"stream": stream, "config": {}}]}, "jobInfo": {}}
    result = CliRunner().invoke(app, ["discover", "shopify", "--from-airbyte"])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "include/sources/shopify/products.json").read_text())
    assert written["json_schema"]["properties"] == {"id": {"type": "integer"}}
    assert written["source_defined_primary_key"] == [["id"]]
    assert airbyte.calls("/discover_schema") == [{"sourceId": SOURCE_ID, "disable_cache": True}]
