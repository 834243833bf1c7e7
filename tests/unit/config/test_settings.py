"""The configuration contract, variable by variable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from lotus_lake.config.connections import CatalogAddress, S3Access, embedded_s3
from lotus_lake.config.project_dir import find_project_dir
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError

SECRET = "hunter2/+ä:@"
TOKEN = "token-of-an-hour"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path


def read(project: Path, **variables: str) -> Settings:
    return Settings.from_env({"LAKE_PROJECT_DIR": str(project), **variables})


def connection(**fields: Any) -> str:
    return json.dumps({"conn_type": "aws", "login": "key", "password": SECRET, **fields})


def test_the_defaults_lie_under_the_project(project: Path) -> None:
    settings = read(project)
    assert settings.catalog == CatalogAddress("sqlite", str(project / ".lake/catalog.sqlite"))
    assert settings.data_path == f"{project}/.lake/data/"
    assert settings.raw_uri == "s3://landing/raw"
    assert settings.streams_dir == project / "include/streams"
    assert settings.sources_dir == project / "include/sources"
    assert settings.s3 == S3Access()
    assert (settings.memory_limit, settings.threads) == ("2GiB", 2)
    assert settings.temp_dir == project / ".lake/tmp"
    assert settings.poke_interval_seconds == 60
    assert (settings.events_queue, settings.events_poll_seconds) == (None, 7200)
    assert settings.task_timeout_seconds == 3600
    assert settings.backup_days == 2


def test_every_variable_is_heard(project: Path) -> None:
    settings = read(
        project,
        LAKE_CATALOG="postgres:host=db dbname=lake user=lake",
        LAKE_DATA_PATH="s3://bucket/lake",
        LAKE_RAW_URI="s3://bucket/raw/",
        LAKE_STREAMS_DIR="/etc/streams",
        LAKE_MEMORY_LIMIT="500MB",
        LAKE_THREADS="7",
        LAKE_TEMP_DIR="/var/tmp/lake",
        LAKE_POKE_INTERVAL_SECONDS="2.5",
        LAKE_EVENTS_QUEUE="https://sqs.eu-central-1.amazonaws.com/123456789012/lake-events",
        LAKE_EVENTS_POLL_SECONDS="900",
        LAKE_BACKUP_DAYS="14",
    )
    assert settings.catalog == CatalogAddress("postgres", "host=db dbname=lake user=lake")
    assert (settings.data_path, settings.raw_uri) == ("s3://bucket/lake/", "s3://bucket/raw")
    assert settings.streams_dir == Path("/etc/streams")
    assert (settings.memory_limit, settings.threads) == ("500MB", 7)
    assert settings.temp_dir == Path("/var/tmp/lake")
    assert settings.poke_interval_seconds == 2.5
    assert settings.events_queue == (
        "https://sqs.eu-central-1.amazonaws.com/123456789012/lake-events"
    )
    assert settings.events_poll_seconds == 900
    assert settings.backup_days == 14


def test_an_empty_variable_counts_as_not_set(project: Path) -> None:
    names = [
        "LAKE_CATALOG", "LAKE_DATA_PATH", "LAKE_RAW_URI", "LAKE_STREAMS_DIR", "LAKE_MEMORY_LIMIT",
        "LAKE_THREADS", "LAKE_TEMP_DIR", "LAKE_POKE_INTERVAL_SECONDS", "LAKE_BACKUP_DAYS",
        "LAKE_EVENTS_QUEUE", "LAKE_EVENTS_POLL_SECONDS", "AIRFLOW_CONN_AWS_DEFAULT",
        "AIRFLOW_CONN_LAKE_CATALOG",
    ]  # fmt: skip
    assert read(project, **dict.fromkeys(names, "")) == read(project)


def test_the_project_is_where_the_library_lies_unless_told(project: Path) -> None:
    assert find_project_dir({"LAKE_PROJECT_DIR": str(project)}) == project
    assert (find_project_dir({}) / "plugins" / "lotus_lake" / "config" / "project_dir.py").exists()


def test_the_project_has_one_spelling(project: Path) -> None:
    # dbt, started in include/dbt, comes to the library by ../../plugins.
    assert read(project / "include" / "dbt" / ".." / "..") == read(project)


@pytest.mark.parametrize(
    ("raw_uri", "bucket", "prefix"),
    [
        ("s3://bucket/raw", "bucket", "raw/"),
        ("s3://bucket/a/b/raw//", "bucket", "a/b/raw/"),
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
    ],
)
def test_the_raw_prefix_ends_in_one_slash(
    project: Path, raw_uri: str, bucket: str, prefix: str
) -> None:
    settings = read(project, LAKE_RAW_URI=raw_uri, LAKE_DATA_PATH="/lake")
    assert (settings.bucket, settings.raw_prefix) == (bucket, prefix)
    assert settings.uri(f"{prefix}a") == f"s3://{bucket}/{prefix}a"


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("LAKE_CATALOG", "sqlite:relative.sqlite", "sqlite:/absolute/file.sqlite"),
        ("LAKE_CATALOG", "sqlite:", "sqlite:/absolute/file.sqlite"),
        ("LAKE_CATALOG", "postgres:", "postgres:host=..."),
        ("LAKE_CATALOG", "postgres: ", "postgres:host=..."),
        ("LAKE_CATALOG", "mysql:host=db", "postgres:host=..."),
        ("LAKE_CATALOG", "/lake/catalog.sqlite", "sqlite:/absolute/file.sqlite"),
        ("LAKE_DATA_PATH", "data", "/absolute/folder"),
        ("LAKE_DATA_PATH", "gs://bucket/lake", "s3://bucket/lake/"),
        ("LAKE_RAW_URI", "/raw", "s3://bucket/prefix"),
        ("LAKE_RAW_URI", "s3:///raw", "s3://bucket/prefix"),
        ("LAKE_RAW_URI", "https://bucket/raw", "s3://bucket/prefix"),
        ("LAKE_MEMORY_LIMIT", "much", "such as 2GiB"),
        ("LAKE_MEMORY_LIMIT", "80%", "such as 2GiB"),
        ("LAKE_THREADS", "0", "1 to 256"),
        ("LAKE_THREADS", "257", "1 to 256"),
        ("LAKE_THREADS", "two", "1 to 256"),
        ("LAKE_THREADS", "²", "1 to 256"),
        ("LAKE_BACKUP_DAYS", "0", "1 to 366"),
        ("LAKE_BACKUP_DAYS", "367", "1 to 366"),
        ("LAKE_BACKUP_DAYS", "a week", "1 to 366"),
        ("LAKE_POKE_INTERVAL_SECONDS", "0", "1 to 86400 seconds"),
        ("LAKE_POKE_INTERVAL_SECONDS", "86401", "1 to 86400 seconds"),
        ("LAKE_POKE_INTERVAL_SECONDS", "nan", "1 to 86400 seconds"),
        ("LAKE_POKE_INTERVAL_SECONDS", "soon", "1 to 86400 seconds"),
        ("LAKE_EVENTS_QUEUE", "lake-events", "https://sqs."),
        ("LAKE_EVENTS_QUEUE", "arn:aws:sqs:eu-central-1:123456789012:lake-events", "https://sqs."),
        ("LAKE_EVENTS_QUEUE", "https://sqs.eu-central-1.amazonaws.com/", "https://sqs."),
        ("LAKE_EVENTS_POLL_SECONDS", "never", "1 to 86400 seconds"),
    ],
)
def test_a_wrong_value_is_named_with_a_hint(
    project: Path, variable: str, value: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(project, **{variable: value})
    assert f"{variable}={value!r}" in str(caught.value)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("raw_uri", "data_path"),
    [
        ("s3://bucket/raw", "s3://bucket/raw"),
        ("s3://bucket/raw", "s3://bucket/raw/lake/"),
        ("s3://bucket/raw", "s3://bucket"),
        ("s3://bucket/raw", "s3://bucket/"),
        ("s3://bucket/a/raw", "s3://bucket/a"),
        ("s3://bucket", "s3://bucket/lake"),
        ("s3://bucket//raw", "s3://bucket/raw/lake"),
        ("S3://bucket/raw", "s3://bucket"),
        ("s3://bucket/raw?x=1", "s3://bucket/raw/lake"),
        ("s3://bucket/raw#x", "s3://bucket/raw/lake"),
    ],
)
def test_a_data_path_that_overlaps_the_raw_prefix_is_refused(
    project: Path, raw_uri: str, data_path: str
) -> None:
    with pytest.raises(SettingsError, match="overlap") as caught:
        read(project, LAKE_RAW_URI=raw_uri, LAKE_DATA_PATH=data_path)
    assert "side by side" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("raw_uri", "data_path"),
    [
        ("s3://bucket/raw", "s3://bucket/lake"),
        ("s3://bucket/raw", "s3://bucket/raw-lake"),
        ("s3://bucket/raw-files", "s3://bucket/raw"),
        ("s3://bucket/raw", "s3://other/raw"),
        ("s3://bucket", "/lake"),
    ],
)
def test_neighbours_are_no_overlap(project: Path, raw_uri: str, data_path: str) -> None:
    assert read(project, LAKE_RAW_URI=raw_uri, LAKE_DATA_PATH=data_path).raw_uri == raw_uri


# Access to S3

EXTRA = {"endpoint_url": "http://127.0.0.1:9000", "region_name": "eu-north-1"}
FULL = S3Access.from_connection(connection(extra={**EXTRA, "aws_session_token": TOKEN}))


def uri_connection(extra: Mapping[str, Any]) -> str:
    return f"aws://key:{quote(SECRET, safe='')}@/?{urlencode(extra)}"


@pytest.mark.parametrize(
    "text",
    [
        connection(extra=EXTRA),
        connection(extra=json.dumps(EXTRA)),
        "  " + connection(extra=EXTRA),
        uri_connection(EXTRA),
        uri_connection({"__extra__": json.dumps(EXTRA)}),
        connection(
            extra={
                "region_name": "eu-north-1",
                "endpoint_url": "http://elsewhere",
                "service_config": {"s3": {"endpoint_url": EXTRA["endpoint_url"]}},
            }
        ),
    ],
    ids=["json", "json in json", "json after blanks", "uri", "uri with json", "endpoint of s3"],
)
def test_every_form_of_an_airflow_connection_is_read(text: str) -> None:
    access = S3Access.from_connection(text)
    assert access.endpoint_url == "http://127.0.0.1:9000"
    assert (access.region, access.access_key_id) == ("eu-north-1", "key")
    assert access.secret_access_key is not None
    assert access.secret_access_key.get_secret_value() == SECRET
    assert access.session_token is None


@pytest.mark.parametrize("text", ["aws://", '{"conn_type": "aws"}', "aws:///"])
def test_a_connection_without_keys_leaves_them_to_the_chain(text: str) -> None:
    assert S3Access.from_connection(text) == S3Access()


@pytest.mark.parametrize(
    "text",
    [
        f"key:{SECRET}",
        f'{{"password": "{SECRET}"',
        connection(extra=f"no json {SECRET}"),
        connection(extra=[SECRET]),
        connection(extra=json.dumps(SECRET)),
        connection(extra={"service_config": SECRET}),
        connection(extra={"service_config": {"s3": SECRET}}),
        f"aws://key:{SECRET}@host:port/?__extra__={SECRET}",
        uri_connection({"__extra__": json.dumps([SECRET])}),
        f"aws://[key:{SECRET}",
    ],
)
def test_a_malformed_connection_is_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        S3Access.from_connection(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "conn_type" in str(caught.value.hint)


def test_the_connection_comes_before_the_variables(project: Path) -> None:
    settings = read(
        project,
        AIRFLOW_CONN_AWS_DEFAULT=connection(extra=EXTRA),
        AWS_ACCESS_KEY_ID="other",
        AWS_ENDPOINT_URL="http://other",
    )
    assert settings.s3.access_key_id == "key"
    assert settings.s3.endpoint_url == EXTRA["endpoint_url"]


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        ({"AWS_ENDPOINT_URL": "http://a"}, "endpoint_url", "http://a"),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"},
            "endpoint_url",
            "http://b",
        ),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "region", "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}, "region", "eu-west-2"),
        ({"AWS_ACCESS_KEY_ID": "key"}, "access_key_id", "key"),
    ],
)
def test_the_standard_variables_are_heard(
    project: Path, variables: dict[str, str], field: str, value: str
) -> None:
    assert getattr(read(project, **variables).s3, field) == value


def test_an_access_given_by_the_caller_comes_first(project: Path) -> None:
    env = {"LAKE_PROJECT_DIR": str(project), "AWS_ACCESS_KEY_ID": "other"}
    assert Settings.from_env(env, s3=FULL).s3 is FULL


def test_the_variables_for_a_child_process_give_the_same_access(project: Path) -> None:
    assert read(project, **FULL.to_env()).s3 == FULL
    assert S3Access().to_env() == {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}


def test_the_embedded_store_is_used_only_when_nothing_else_is_configured(project: Path) -> None:
    assert embedded_s3({"LAKE_PROJECT_DIR": str(project)}) == {}
    (project / ".lake").mkdir()
    (project / ".lake/s3.json").write_text(json.dumps(FULL.to_env()))
    assert read(project).s3 == FULL
    assert read(project, AWS_PROFILE="work").s3 == S3Access()
    # A deployment with a role of its machine has no other variable.
    assert read(project, LAKE_RAW_URI="s3://landing/raw").s3 == S3Access()
    assert read(project, AIRFLOW_CONN_AWS_DEFAULT="aws://").s3 == S3Access()


# The connection to the catalog


def catalog(**fields: Any) -> str:
    return json.dumps(
        {"conn_type": "postgres", "host": "db", "schema": "lake", "login": "feeder", **fields}
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (catalog(), "host=db dbname=lake user=feeder"),
        (
            catalog(port=5433, extra={"sslmode": "verify-full", "sslrootcert": "/etc/my ca.pem"}),
            "host=db port=5433 dbname=lake user=feeder sslmode=verify-full "
            "sslrootcert='/etc/my ca.pem'",
        ),
        (
            "postgresql://feeder@db:5433/lake?sslmode=require",
            "host=db port=5433 dbname=lake user=feeder sslmode=require",
        ),
        (catalog(login="o'neill\\"), "host=db dbname=lake user='o\\'neill\\\\'"),
        (catalog(schema="", login=None), "host=db"),
    ],
)
def test_the_connection_names_the_catalog_in_words_of_libpq(
    project: Path, text: str, address: str
) -> None:
    settings = read(project, AIRFLOW_CONN_LAKE_CATALOG=text)
    assert settings.catalog == CatalogAddress("postgres", address)


def test_the_password_of_the_connection_stays_out_of_the_address(project: Path) -> None:
    for text in (
        catalog(password=SECRET),
        f"postgres://feeder:{quote(SECRET, safe='')}@db/lake",
    ):
        found = read(project, AIRFLOW_CONN_LAKE_CATALOG=text).catalog
        assert found.password is not None
        assert found.password.get_secret_value() == SECRET
        assert SECRET not in f"{found.address} {found!r} {found}"
        assert found.to_env() == {
            "LAKE_CATALOG": "postgres:host=db dbname=lake user=feeder",
            "PGPASSWORD": SECRET,
        }


def test_the_variable_comes_before_the_connection(project: Path) -> None:
    settings = read(
        project, LAKE_CATALOG="sqlite:/lake.sqlite", AIRFLOW_CONN_LAKE_CATALOG="nonsense"
    )
    assert settings.catalog == CatalogAddress("sqlite", "/lake.sqlite")
    assert settings.catalog.to_env() == {"LAKE_CATALOG": "sqlite:/lake.sqlite"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"feeder:{SECRET}@db", "neither JSON nor a URI"),
        (f'{{"password": "{SECRET}"', "neither JSON nor a URI"),
        (json.dumps([SECRET]), "neither JSON nor a URI"),
        (catalog(conn_type="mysql", password=SECRET), "of type 'mysql', not postgres"),
        (catalog(host="", password=SECRET), "names no host"),
        (catalog(extra={"ssl_mode": "verify-full"}), "says ssl_mode in its extra"),
        (catalog(extra={"password": SECRET}), "says password in its extra"),
        (catalog(extra=[SECRET]), "neither JSON nor a URI"),
        (catalog(extra=json.dumps(SECRET)), "neither JSON nor a URI"),
    ],
)
def test_a_connection_that_names_no_catalog_is_refused_and_not_repeated(
    project: Path, text: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        read(project, AIRFLOW_CONN_LAKE_CATALOG=text)
    assert caught.value.hint
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("verify", [False, "false", "False"])
def test_a_connection_that_trusts_anybody_is_refused(project: Path, verify: object) -> None:
    with pytest.raises(SettingsError, match="accept any server as the store") as caught:
        read(project, AIRFLOW_CONN_AWS_DEFAULT=connection(extra={"verify": verify}))
    assert "AWS_CA_BUNDLE" in str(caught.value.hint)


@pytest.mark.parametrize("verify", [None, True, "", "/ca.pem"])
def test_the_authority_of_the_connection_comes_before_the_variable(
    project: Path, verify: object
) -> None:
    text = connection(extra={"verify": verify})
    settings = read(project, AIRFLOW_CONN_AWS_DEFAULT=text, AWS_CA_BUNDLE="/other.pem")
    assert settings.s3.ca_bundle == ("/ca.pem" if verify == "/ca.pem" else "/other.pem")


# Secrets stay secret


def test_no_text_of_the_settings_shows_a_secret(project: Path) -> None:
    settings = read(
        project, AIRFLOW_CONN_AWS_DEFAULT=connection(extra={"aws_session_token": TOKEN})
    )
    for text in (repr(settings), str(settings), f"{settings.s3}", repr(settings.s3)):
        assert "SecretStr" in text
        assert "hunter2" not in text
        assert TOKEN not in text


@pytest.mark.parametrize(
    "catalog",
    [
        "postgres:host=db password=hunter2 user=lake",
        "postgres:host=db password = 'hunter2'",
        "postgres:host=db sslpassword=hunter2",
        "postgres:postgresql://lake:hunter2@db/lake",
        "postgres:postgres://lake@db/lake?password=hunter2",
        "postgresql://lake:hunter2@db/lake",
        "postgres://lake:hunter2@db/lake",
        "host=db password=hunter2",
        "postgres:host=db PASSWORD=hunter2",
        "postgres:postgresql://db/lake?pass%77ord=hunter2",
        "postgres:postgresql://lake:hun%40ter2:hunter2@db/lake",
    ],
)
def test_a_password_in_the_catalog_is_refused_and_not_repeated(project: Path, catalog: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(project, LAKE_CATALOG=catalog)
    assert "hunter2" not in str(caught.value)
    assert "PGPASSWORD" in str(caught.value.hint)


def test_a_catalog_of_no_known_form_is_not_repeated(project: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(project, LAKE_CATALOG="hunter2@db.example.com")
    assert "hunter2" not in str(caught.value)
    assert "sqlite:/absolute" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "http://key:hunter2@store:9000"),
        ("AWS_ENDPOINT_URL_S3", "https://hunter2@store"),
        ("LAKE_RAW_URI", "s3://key:hunter2@bucket/raw"),
        ("LAKE_DATA_PATH", "s3://key:hunter2@bucket/lake"),
        ("AIRFLOW_CONN_AWS_DEFAULT", connection(extra={"endpoint_url": "http://a:hunter2@s3"})),
    ],
)
def test_a_key_in_an_address_is_refused_and_not_repeated(
    project: Path, name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(project, **{name: value})
    assert "hunter2" not in str(caught.value)
    assert "AWS_SECRET_ACCESS_KEY" in str(caught.value.hint)
