"""Keys of a role: boto3's chain finds them, and they are renewed under an open lake."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from lotus_lake.bucket import credentials
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import S3Access
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from tests.catalogs import on_sqlite
from tests.feeds import Feed
from tests.proxy import Proxy, run_proxy
from tests.refusing import refused
from tests.servers import ROLE_KEYS, S3Server

TOKEN = "authorization-of-the-container"
IDENTITY = "identity-of-the-pod"
PATIENCE_SECONDS = 60.0
# boto3 tries to renew keys that live shorter than 15 minutes, and insists below 10.
LIFE = timedelta(minutes=12)

pytestmark = on_sqlite


class KeyServer(ThreadingHTTPServer):
    """Hands out keys, as the agent of a container and as STS.

    Attributes:
        key: The access key that it gives now.
        refused: Requests that did not say who they are.
        has_page: Whether it refuses with a page, as a proxy does.
    """

    daemon_threads = True

    def __init__(self, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret, self.key, self.refused = secret, ROLE_KEYS[0], 0
        self.has_page = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        """The agent of a container."""
        if self.headers.get("Authorization") != TOKEN:
            self._refuse()
            return
        keys = {
            "AccessKeyId": self.server.key,
            "SecretAccessKey": self.server.secret,
            "Token": "token-of-a-session",
            "Expiration": _expiration(),
        }
        self._answer("application/json", json.dumps(keys))

    def do_POST(self) -> None:
        """STS, asked to assume a role with a web identity."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if f"WebIdentityToken={IDENTITY}" not in body or "AssumeRoleWithWebIdentity" not in body:
            self._refuse()
            return
        keys = (
            f"<AccessKeyId>{self.server.key}</AccessKeyId>"
            f"<SecretAccessKey>{self.server.secret}</SecretAccessKey>"
            f"<SessionToken>token-of-a-session</SessionToken><Expiration>{_expiration()}"
            "</Expiration>"
        )
        self._answer(
            "text/xml",
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            f"{keys}</Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>",
        )

    def _refuse(self) -> None:
        self.server.refused += 1
        if self.server.has_page:
            self.send_error(403)
            return
        text = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _expiration() -> str:
    return f"{datetime.now(UTC) + LIFE:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def key_server(s3: S3Server) -> Iterator[KeyServer]:
    """That server, running."""
    assert s3.access.secret_access_key
    with KeyServer(s3.access.secret_access_key.get_secret_value()) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """The store, which lets in the keys of now only."""
    assert s3.access.endpoint_url
    with run_proxy(s3.access.endpoint_url) as running:
        running.keys = {ROLE_KEYS[0]}
        yield running


@pytest.fixture(params=["container", "web identity"])
def role(
    request: pytest.FixtureRequest,
    key_server: KeyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that has a role and no keys."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps what it has found
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if request.param == "container":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{key_server.url}/keys")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN)
        return
    identity = tmp_path / "identity"
    identity.write_text(IDENTITY)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(identity))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/lake")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", key_server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def with_role(settings: Settings, proxy: Proxy, role: None) -> Settings:
    """The lake as it is reached with the role; its own files are in the store, too."""
    access = S3Access.from_env({**os.environ, "AWS_ENDPOINT_URL": proxy.url})
    assert access == S3Access(endpoint_url=proxy.url)
    return dataclasses.replace(settings, s3=access, data_path=f"s3://{settings.bucket}/lake/")


def until(reads: Callable[[], bool]) -> None:
    """Wait for something that takes a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reads():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def key_of(lake: Lake) -> str:
    """The access key that DuckDB has now."""
    # In another transaction: the open one lists what was there when it began.
    with lake.con.cursor() as cursor:
        cursor.execute("SELECT secret_string FROM duckdb_secrets() WHERE name = 'lotus_lake_s3'")
        (text,) = cursor.fetchone() or ("",)
    return dict(pair.split("=", 1) for pair in text.split(";"))["key_id"]


def test_a_role_is_enough_and_its_keys_are_renewed_under_an_open_lake(
    make_feed: Callable[..., Feed],
    with_role: Settings,
    key_server: KeyServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "RENEWAL_SECONDS", 0.1)
    made = make_feed()
    feed = Feed(with_role, made.stream, s3_client(with_role.s3), made.sent)
    made.put("part_0.parquet")
    with open_lake(with_role) as lake:
        assert feed.run(lake).total.registered == 1
        assert key_of(lake) == ROLE_KEYS[0]
        made.put("part_1.parquet")
        lake.con.execute("BEGIN")
        assert sum(feed.landed(lake).values()) == 3
        # The first keys expire in the middle of a transaction.
        key_server.key, proxy.keys = ROLE_KEYS[1], {ROLE_KEYS[1]}
        until(lambda: key_of(lake) == ROLE_KEYS[1])
        lake.con.execute("CREATE TABLE lakehouse.main.numbers AS FROM range(1000)")
        lake.con.execute("COMMIT")
        assert feed.run(lake).total.registered == 1
        assert feed.landed(lake) == feed.rows_of(feed.objects())
    assert key_server.refused == 0
    assert not [thread for thread in threading.enumerate() if "_renew" in thread.name]


def test_keys_that_stay_need_no_renewal(feed: Feed) -> None:
    before = threading.active_count()
    with open_lake(feed.settings):
        assert threading.active_count() == before


@pytest.mark.parametrize("has_page", [False, True])
@pytest.mark.parametrize("role", ["web identity"], indirect=True)
def test_a_role_that_sts_refuses_is_a_wrong_setting(
    with_role: Settings, key_server: KeyServer, tmp_path: Path, has_page: bool
) -> None:
    key_server.has_page = has_page
    (tmp_path / "identity").write_text("somebody else")
    with refused(SettingsError, "the S3 access cannot be used"), open_lake(with_role):
        pass
    assert key_server.refused


@pytest.mark.parametrize("has_page", [False, True])
@pytest.mark.parametrize("role", ["web identity"], indirect=True)
def test_renewal_survives_an_sts_that_refuses_for_a_while(
    has_page: bool,
    with_role: Settings,
    key_server: KeyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "RENEWAL_SECONDS", 0.1)
    key_server.has_page = has_page
    # Keys that live shorter than 10 minutes have to be renewed: a refusal is an error then.
    monkeypatch.setattr(sys.modules[__name__], "LIFE", timedelta(minutes=9))
    with open_lake(with_role) as lake:
        assert key_of(lake) == ROLE_KEYS[0]
        (tmp_path / "identity").write_text("somebody else")
        before = key_server.refused
        until(lambda: key_server.refused > before + 1)
        (tmp_path / "identity").write_text(IDENTITY)
        key_server.key = ROLE_KEYS[1]
        until(lambda: key_of(lake) == ROLE_KEYS[1])
