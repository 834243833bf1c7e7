"""TLS to catalog and store: the right authority is trusted, any other one refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import CatalogAddress, S3Access
from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogUnavailableError, StorageUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.repair.initialise import prepare
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import Feed
from tests.refusing import refused
from tests.servers import PostgresServer, S3Server
from tests.tls import Authority, make_authority, run_front


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the servers have their certificates of."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has signed nothing here."""
    return make_authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def secure_postgres(postgres: PostgresServer, authority: Authority) -> Iterator[int]:
    """Port of Postgres with TLS."""
    with run_front(authority, postgres.port, postgres=True) as port:
        yield port


@pytest.fixture
def secure_s3(s3: S3Server, authority: Authority) -> Iterator[str]:
    """Address of the store with TLS."""
    port = urlsplit(s3.access.endpoint_url).port
    assert port
    with run_front(authority, port) as front:
        yield f"https://127.0.0.1:{front}"


def connection(settings: Settings, port: int, authority: Authority, sslmode: str) -> Settings:
    """The same lake through a connection with TLS."""
    (database,) = (
        word.removeprefix("dbname=")
        for word in settings.catalog.address.split()
        if word.startswith("dbname=")
    )
    text = json.dumps(
        {
            "conn_type": "postgres",
            "host": "127.0.0.1",
            "port": port,
            "schema": database,
            "login": "postgres",
            "extra": {"sslmode": sslmode, "sslrootcert": str(authority.certificate)},
        }
    )
    return dataclasses.replace(settings, catalog=CatalogAddress.from_connection(text))


@on_postgres
def test_the_catalog_is_reached_by_tls_and_only_with_the_right_authority(
    feed: Feed, secure_postgres: int, authority: Authority, stranger: Authority
) -> None:
    feed.put()
    for sslmode in ("verify-full", "verify-ca"):
        wrong = connection(feed.settings, secure_postgres, stranger, sslmode)
        with refused(CatalogUnavailableError, "SSL error"), open_lake(wrong):
            pass
        # The server itself does not speak TLS: whoever insists on it goes away.
        plain = int(feed.settings.catalog.address.split("port=")[1].split()[0])
        open_server = connection(feed.settings, plain, authority, sslmode)
        with refused(CatalogUnavailableError, "does not support SSL"), open_lake(open_server):
            pass
    right = connection(feed.settings, secure_postgres, authority, "verify-full")
    there = Feed(right, feed.stream, feed.client, feed.sent)
    assert there.run_afresh().total.registered == 1
    words = f"host=127.0.0.1 port={secure_postgres} sslmode=verify-full "
    words += f"sslrootcert={authority.certificate} "
    words += " ".join(word for word in feed.settings.catalog.address.split()[2:])
    by_variable = CatalogAddress.parse(f"postgres:{words}")
    with open_lake(dataclasses.replace(right, catalog=by_variable), read_only=True) as lake:
        assert feed.landed(lake) == feed.rows_of(feed.objects())


@on_sqlite
def test_the_store_is_reached_by_tls_and_only_with_the_right_authority(
    feed: Feed, secure_s3: str, authority: Authority, stranger: Authority
) -> None:
    def reached(ca_bundle: str | None) -> Feed:
        access = dataclasses.replace(feed.settings.s3, endpoint_url=secure_s3, ca_bundle=ca_bundle)
        settings = dataclasses.replace(
            feed.settings, s3=access, data_path=f"s3://{feed.settings.bucket}/lake/"
        )
        return Feed(settings, feed.stream, s3_client(access), feed.sent)

    feed.put()
    trusting = reached(str(authority.certificate))
    with open_lake(trusting.settings) as lake:
        prepare(lake, feed.stream)  # without it DuckDB would be the first to write
    with refused(StorageUnavailableError, "CERTIFICATE_VERIFY_FAILED", "AWS_CA_BUNDLE"):
        reached(str(stranger.certificate)).run_afresh()
    assert trusting.run_afresh().total.registered == 1
    with open_lake(trusting.settings) as lake:
        assert feed.landed(lake) == feed.rows_of(feed.objects())
    for ca_bundle in (None, str(stranger.certificate)):
        with (
            refused(StorageUnavailableError, "is not trusted", "AWS_CA_BUNDLE"),
            open_lake(reached(ca_bundle).settings) as lake,
        ):
            feed.landed(lake)


def test_the_authority_is_read_from_variable_and_connection(
    secure_s3: str, authority: Authority
) -> None:
    extra = {"endpoint_url": secure_s3, "verify": str(authority.certificate)}
    text = json.dumps({"conn_type": "aws", "extra": extra})
    by_connection = S3Access.from_env({"AIRFLOW_CONN_AWS_DEFAULT": text})
    by_variable = S3Access.from_env(
        {"AWS_ENDPOINT_URL": secure_s3, "AWS_CA_BUNDLE": str(authority.certificate)}
    )
    assert by_connection == by_variable
    assert by_connection.ca_bundle == str(authority.certificate)
    assert by_connection.to_env()["AWS_CA_BUNDLE"] == str(authority.certificate)
