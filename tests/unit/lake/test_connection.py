"""Statements that open the lake, as text and as DuckDB reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import SecretStr

from lotus_lake.bucket.credentials import secret_statement
from lotus_lake.config.connections import S3Access
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import attach_statement
from lotus_lake.lake.extensions import load_extensions
from lotus_lake.lake.session import is_conflict
from tests.unsigned import connect_signed

PATIENCE = (
    "connect_timeout=10 keepalives_idle=60 keepalives_interval=10 keepalives_count=6 "
    "tcp_user_timeout=120000"
)
HOSTILE = "it's \"a\" \\ secret'); DROP SCHEMA main; --"


def settings(project: Path, **variables: str) -> Settings:
    return Settings.from_env({"LAKE_PROJECT_DIR": str(project), **variables})


def test_a_sqlite_catalog_is_attached_with_a_write_ahead_log(tmp_path: Path) -> None:
    read = settings(tmp_path, LAKE_CATALOG="sqlite:/lake/c.sqlite", LAKE_DATA_PATH="/lake/data")
    assert attach_statement(read) == (
        "ATTACH 'ducklake:sqlite:/lake/c.sqlite' AS lakehouse "
        "(DATA_PATH '/lake/data/', META_JOURNAL_MODE 'WAL')"
    )


def test_a_postgres_catalog_is_attached_without_one(tmp_path: Path) -> None:
    read = settings(
        tmp_path, LAKE_CATALOG="postgres:host=db dbname=lake", LAKE_DATA_PATH="s3://bucket/lake"
    )
    assert attach_statement(read, read_only=True) == (
        f"ATTACH 'ducklake:postgres:host=db dbname=lake {PATIENCE}' AS lakehouse "
        "(DATA_PATH 's3://bucket/lake/', READ_ONLY)"
    )


def test_quotes_in_an_address_are_doubled(tmp_path: Path) -> None:
    read = settings(
        tmp_path, LAKE_CATALOG="postgres:options='-c x=y' dbname=a", LAKE_DATA_PATH="/o'lake"
    )
    assert attach_statement(read) == (
        f"ATTACH 'ducklake:postgres:options=''-c x=y'' dbname=a {PATIENCE}' AS lakehouse "
        "(DATA_PATH '/o''lake/')"
    )


def test_an_address_may_have_time_limits_of_its_own(tmp_path: Path) -> None:
    own = PATIENCE.replace("=10 ", "=3 ", 1)
    read = settings(tmp_path, LAKE_CATALOG=f"postgres:host=db {own}")
    assert f"'ducklake:postgres:host=db {own}'" in attach_statement(read)
    uri = settings(tmp_path, LAKE_CATALOG="postgres:postgresql://db/lake?sslmode=require")
    limits = PATIENCE.replace(" ", "&")
    assert f"'ducklake:postgres:postgresql://db/lake?sslmode=require&{limits}'" in attach_statement(
        uri
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_extensions_are_signed(kind: str) -> None:
    with connect_signed(":memory:") as connection:
        load_extensions(connection, kind)
        assert connection.execute(
            "SELECT count(*) FROM duckdb_extensions() WHERE loaded AND extension_name IN "
            f"('httpfs', 'ducklake', '{kind}_scanner')"
        ).fetchone() == (3,)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"allow_unredacted_secrets": True}) as connection:
        load_extensions(connection, "sqlite")
        yield connection


def stored_secret(con: duckdb.DuckDBPyConnection, statement: str | None) -> dict[str, Any]:
    assert statement is not None
    con.execute(statement)
    row = con.execute("FROM duckdb_secrets(redact := false)").fetchone()
    assert row is not None
    columns = [column[0] for column in con.description]
    pairs = dict(zip(columns, row, strict=True))["secret_string"].split(";")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_the_secret_of_an_endpoint_uses_path_addresses(con: duckdb.DuckDBPyConnection) -> None:
    access = S3Access("http://127.0.0.1:9000/", "eu-north-1", "key", SecretStr("secret"))
    statement = secret_statement(access)
    assert statement == (
        "CREATE OR REPLACE SECRET lotus_lake_s3 (TYPE s3, KEY_ID 'key', SECRET 'secret', "
        "SESSION_TOKEN '', REGION 'eu-north-1', ENDPOINT '127.0.0.1:9000', USE_SSL false, "
        "URL_STYLE 'path')"
    )
    assert stored_secret(con, statement)["endpoint"] == "127.0.0.1:9000"


def test_an_https_endpoint_uses_tls() -> None:
    access = S3Access("https://store.example", "us-east-1", "key", SecretStr("secret"))
    assert "ENDPOINT 'store.example', USE_SSL true" in str(secret_statement(access))


def test_without_an_endpoint_it_is_amazon() -> None:
    access = S3Access(access_key_id="key", secret_access_key=SecretStr("s"))
    assert secret_statement(access) == (
        "CREATE OR REPLACE SECRET lotus_lake_s3 "
        "(TYPE s3, KEY_ID 'key', SECRET 's', SESSION_TOKEN '', REGION 'us-east-1')"
    )


def test_a_hostile_secret_stays_a_value(con: duckdb.DuckDBPyConnection) -> None:
    value = HOSTILE.replace(";", ",")  # DuckDB lists a secret's fields between semicolons
    access = S3Access(None, "us-east-1", "key", SecretStr(value), SecretStr("it's a token"))
    stored = stored_secret(con, secret_statement(access))
    assert stored["secret"] == value
    assert stored["session_token"] == "it's a token"


def test_what_a_key_lacks_is_not_taken_from_another_one(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of another key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another key")
    stored = stored_secret(con, secret_statement(S3Access(access_key_id="key")))
    assert (stored["secret"], stored["session_token"]) == ("", "")


def test_without_keys_those_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-chain")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    assert secret_statement(S3Access()) == (
        "CREATE OR REPLACE SECRET lotus_lake_s3 (TYPE s3, KEY_ID 'of-the-chain', SECRET 'hidden', "
        "SESSION_TOKEN '', REGION 'us-east-1')"
    )


def test_without_any_keys_there_is_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert secret_statement(S3Access()) is None


@pytest.mark.parametrize(
    "text",
    [
        "TransactionContext Error: Failed to commit: Failed to commit DuckLake transaction.\n"
        "Failed to flush changes into DuckLake: database is locked",
        'Transaction conflict - attempting to insert into table with index "7" - but another '
        "transaction has deleted inlined data from it",
        "Exceeded the maximum retry count of 20 set by the ducklake_max_retry_count setting",
    ],
)
def test_a_conflict_is_told_by_its_text(text: str) -> None:
    assert is_conflict(duckdb.TransactionException(text))


@pytest.mark.parametrize(
    "text",
    [
        "IO Error: Failed to add data files to DuckLake: No files found that match the pattern",
        "Catalog Error: Table with name orders does not exist",
        "Current transaction is aborted (please ROLLBACK)",
    ],
)
def test_other_errors_are_no_conflicts(text: str) -> None:
    assert not is_conflict(duckdb.Error(text))
