"""Where Airbyte is, from variables and from an Airflow connection."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from lotus_lake.airbyte.access import CONNECTION, AirbyteAccess, api_roots
from lotus_lake.errors import SettingsError

SECRET = "hunter2/+ä:@"
URL = {"AIRBYTE_URL": "https://airbyte.example.com"}


def connection(**fields: Any) -> dict[str, str]:
    document = {"conn_type": "airbyte", "host": "https://airbyte.example.com", **fields}
    return {CONNECTION: json.dumps(document)}


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "http://localhost:8000/",
        "http://localhost:8000/api/v1",
        "http://localhost:8000/api/public/v1/",
        " http://localhost:8000/v1 ",
    ],
)
def test_any_address_of_a_server_gives_both_apis(url: str) -> None:
    assert api_roots(url, "AIRBYTE_URL") == (
        "http://localhost:8000/api/v1",
        "http://localhost:8000/api/public/v1",
    )


def test_a_server_may_live_below_a_path() -> None:
    assert api_roots("https://example.com/airbyte/api/v1", "x") == (
        "https://example.com/airbyte/api/v1",
        "https://example.com/airbyte/api/public/v1",
    )


def test_airbyte_cloud_has_an_address_per_api() -> None:
    access = AirbyteAccess.from_env({"AIRBYTE_URL": "https://api.airbyte.com/v1"})
    assert access.config_api == "https://cloud.airbyte.com/api/v1"
    assert access.public_api == access.token_api == "https://api.airbyte.com/v1"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host",
        "https://",
        "/api/v1",
        "airbyte",
        "http://h:99999",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="AIRBYTE_URL is not the address of a server"):
        AirbyteAccess.from_env({"AIRBYTE_URL": url})


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        AirbyteAccess.from_env({"AIRBYTE_URL": "https://airbyte:hunter2@example.com"})
    assert "hunter2" not in str(caught.value)
    assert "AIRBYTE_PASSWORD" in str(caught.value.hint)


def test_nothing_set_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="neither AIRBYTE_URL nor AIRFLOW_CONN"):
        AirbyteAccess.from_env({})


@pytest.mark.parametrize(
    ("variables", "kind", "names"),
    [
        ({"AIRBYTE_TOKEN": "t"}, "token", "AIRBYTE_TOKEN"),
        (
            {"AIRBYTE_CLIENT_ID": "c", "AIRBYTE_CLIENT_SECRET": "s"},
            "application",
            "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET",
        ),
        (
            {"AIRBYTE_USERNAME": "u", "AIRBYTE_PASSWORD": "p"},
            "basic",
            "AIRBYTE_USERNAME and AIRBYTE_PASSWORD",
        ),
        ({}, "none", "none is set"),
    ],
)
def test_every_log_in_is_known_by_its_variables(
    variables: dict[str, str], kind: str, names: str
) -> None:
    access = AirbyteAccess.from_env(URL | variables)
    assert access.kind == kind
    assert names in access.variables


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ("AIRBYTE_CLIENT_ID", "AIRBYTE_CLIENT_SECRET"),
        ("AIRBYTE_CLIENT_SECRET", "AIRBYTE_CLIENT_ID"),
        ("AIRBYTE_USERNAME", "AIRBYTE_PASSWORD"),
        ("AIRBYTE_PASSWORD", "AIRBYTE_USERNAME"),
    ],
)
def test_half_a_log_in_is_refused(there: str, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"{there} is set, but {missing} is not") as caught:
        AirbyteAccess.from_env(URL | {there: SECRET})
    assert "hunter2" not in str(caught.value)


def test_an_airflow_connection_in_json_is_read() -> None:
    env = connection(login="id", password=SECRET) | {"AIRBYTE_WORKSPACE_ID": "w"}
    access = AirbyteAccess.from_env(env | {"AIRBYTE_URL": "http://other"})
    assert access.public_api == "https://airbyte.example.com/api/public/v1"
    assert (access.client_id, access.workspace_id) == ("id", "w")
    assert access.client_secret is not None
    assert access.client_secret.get_secret_value() == SECRET
    assert CONNECTION in access.variables


def test_an_airflow_connection_as_a_uri_is_read() -> None:
    host = quote("http://localhost:8000/api/public/v1/", safe="")
    access = AirbyteAccess.from_env({CONNECTION: f"airbyte://id:{quote(SECRET, safe='')}@{host}"})
    assert access.config_api == "http://localhost:8000/api/v1"
    assert access.client_secret is not None
    assert access.client_secret.get_secret_value() == SECRET


def test_a_connection_with_a_bare_host_and_a_port_is_read() -> None:
    access = AirbyteAccess.from_env(connection(host="localhost", port=8000))
    assert access.config_api == "http://localhost:8000/api/v1"


@pytest.mark.parametrize(
    "text", [SECRET, f'{{"password": "{SECRET}"', f'{{"host": "h", "extra": ["{SECRET}"]}}']
)
def test_a_malformed_connection_is_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        AirbyteAccess.from_env({CONNECTION: text})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_text_of_the_access_shows_a_secret() -> None:
    access = AirbyteAccess.from_env(
        URL
        | {"AIRBYTE_CLIENT_ID": "id", "AIRBYTE_CLIENT_SECRET": SECRET, "AIRBYTE_TOKEN": SECRET}
        | {"AIRBYTE_USERNAME": "u", "AIRBYTE_PASSWORD": SECRET}
    )
    assert "hunter2" not in f"{access!r} {access}"
