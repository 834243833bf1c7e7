"""What cannot work is refused: an error of ours that says what to do, and nothing half done."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.retries.standard import ExponentialBackoff
from pydantic import SecretStr

from lotus_lake import cli
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import CatalogAddress
from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogUnavailableError, SettingsError, StorageUnavailableError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.upkeep.expiry import upkeep
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import Feed
from tests.refusing import SECRETS, everything_lands, put_misfit, refused, unchanged
from tests.servers import PostgresServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOBODY = "127.0.0.1:9"
NO_HOST = "no-such-host.invalid"


# The catalog


@pytest.mark.parametrize("version", ["0.3", "99.0"])
def test_a_catalog_of_another_ducklake_is_refused_and_left_as_it_is(
    half_fed: Feed, postgres: PostgresServer, version: str
) -> None:
    def set_version(text: str) -> None:
        statement = f"UPDATE ducklake_metadata SET value = '{text}' WHERE key = 'version'"
        if half_fed.settings.catalog.kind == "postgres":
            postgres.execute(half_fed.settings.catalog.address, statement)
            return
        path = half_fed.settings.catalog.address
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    with unchanged(half_fed):
        set_version(version)
        for read_only in (False, True):
            with (
                refused(SettingsError, half_fed.settings.catalog.address, version, "1.0"),
                open_lake(half_fed.settings, read_only=read_only),
            ):
                pass
        set_version("1.0")
    everything_lands(half_fed)


@on_postgres
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": "9"}, ("port=9", "Connection refused")),
        ({"host": NO_HOST}, (NO_HOST, "could not translate host name")),
        ({"dbname": "data_version"}, ('database "data_version" does not exist',)),
        ({"user": "stranger"}, ('role "stranger" does not exist',)),
        ({"hots": "x"}, ('invalid connection option "hots"',)),
    ],
    ids=["nobody listens", "no such host", "no such database", "no such user", "no such option"],
)
def test_a_server_that_lets_nobody_in_is_named(
    settings: Settings, change: dict[str, str], words: tuple[str, ...]
) -> None:
    parts = dict(word.split("=") for word in settings.catalog.address.split())
    address = " ".join(f"{name}={value}" for name, value in (parts | change).items())
    elsewhere = dataclasses.replace(settings, catalog=CatalogAddress("postgres", address))
    for read_only in (False, True):
        with (
            refused(CatalogUnavailableError, f"postgres:{address}", "LAKE_CATALOG", *words),
            open_lake(elsewhere, read_only=read_only),
        ):
            pass


@on_postgres
def test_a_server_that_never_answers_is_given_up(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=lake user=postgres"
        frozen = dataclasses.replace(settings, catalog=CatalogAddress("postgres", address))
        with refused(CatalogUnavailableError, "timeout expired"), open_lake(frozen):
            pass


@on_postgres
def test_a_database_that_is_missing_can_be_made_and_then_everything_lands(
    make_feed: Callable[..., Feed], postgres: PostgresServer
) -> None:
    feed = make_feed()
    feed.put()
    address = CatalogAddress("postgres", postgres.dsn("made_later"))
    late = dataclasses.replace(feed.settings, catalog=address)
    with refused(CatalogUnavailableError, '"made_later" does not exist'), open_lake(late):
        pass
    postgres.create_database("made_later")
    everything_lands(feed, late)


@pytest.fixture
def with_password(settings: Settings, postgres: PostgresServer) -> Iterator[Settings]:
    """The same lake, for a user that has to give a password."""
    with postgres.role(settings.catalog.address, "careful", "pg-secret", "SUPERUSER") as address:
        yield dataclasses.replace(settings, catalog=CatalogAddress("postgres", address))


@on_postgres
def test_a_wrong_password_is_refused_and_not_repeated(
    feed: Feed, with_password: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.put()
    for password, said in (("not-the-secret", "authentication failed"), ("", "no password")):
        monkeypatch.setenv("PGPASSWORD", password)
        with (
            refused(CatalogUnavailableError, "user=careful", said, "PGPASSWORD"),
            open_lake(with_password),
        ):
            pass
    monkeypatch.setenv("PGPASSWORD", "pg-secret")
    everything_lands(feed, with_password)


@on_postgres
def test_a_wrong_password_of_a_connection_is_not_repeated_and_the_right_one_is_enough(
    feed: Feed, with_password: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.put()
    monkeypatch.delenv("PGPASSWORD", raising=False)
    for password, said in (("not-the-secret", "authentication failed"), ("", "no password")):
        with (
            refused(CatalogUnavailableError, said, "lake_catalog"),
            open_lake(_with(with_password, password)),
        ):
            pass
    everything_lands(feed, _with(with_password, "pg-secret"))


def _with(settings: Settings, password: str) -> Settings:
    catalog = dataclasses.replace(settings.catalog, password=SecretStr(password))
    return dataclasses.replace(settings, catalog=catalog)


USES: dict[str, Callable[[Lake, Feed], object]] = {
    "list": lambda lake, feed: feed.list_files(lake),
    "cursor": lambda lake, feed: read_state(lake, feed.stream, "run", []),
    "cleanup": lambda lake, feed: retire_files(lake, feed.stream, [], "run"),
    "maintain": lambda lake, _: upkeep(lake),
}


@on_postgres
@pytest.mark.parametrize("use", list(USES))
def test_a_server_that_goes_away_under_an_open_lake_is_named(
    half_fed: Feed, postgres: PostgresServer, use: str
) -> None:
    address = half_fed.settings.catalog.address
    database = address.split("dbname=")[1].split()[0]

    def let_in(answer: str) -> None:
        statement = f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {answer}'
        postgres.execute(postgres.dsn("postgres"), statement)

    with (
        unchanged(half_fed),
        refused(CatalogUnavailableError, address, "not currently accepting connections"),
        open_lake(half_fed.settings) as lake,
    ):
        let_in("false")
        try:
            postgres.execute(
                postgres.dsn("postgres"),
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                f"WHERE datname = '{database}'",
            )
            USES[use](lake, half_fed)
        finally:
            let_in("true")
    everything_lands(half_fed)


@on_sqlite
@pytest.mark.parametrize("variable", ["LAKE_CATALOG", "LAKE_DATA_PATH", "LAKE_TEMP_DIR"])
def test_a_folder_that_cannot_be_is_named(
    environment: dict[str, str], make_feed: Callable[..., Feed], tmp_path: Path, variable: str
) -> None:
    # Modes say nothing to root; a file cannot hold a folder for anybody.
    (tmp_path / "file").write_text("not a folder")
    kind = "sqlite:" if variable == "LAKE_CATALOG" else ""
    wrong = Settings.from_env({**environment, variable: f"{kind}{tmp_path}/file/lake/x"})
    with refused(SettingsError, variable, str(tmp_path / "file")), open_lake(wrong):
        pass
    feed = make_feed()
    feed.put()
    (tmp_path / "file").unlink()
    everything_lands(feed, wrong)


@on_sqlite
def test_a_folder_that_lets_no_file_be_made_is_named(settings: Settings) -> None:
    wrong = dataclasses.replace(settings, catalog=CatalogAddress("sqlite", "/proc/lake.sqlite"))
    with refused(SettingsError, "LAKE_CATALOG", "/proc"), open_lake(wrong):
        pass


@on_sqlite
def test_a_catalog_that_is_no_database_is_left_as_it_is(feed: Feed) -> None:
    feed.put()
    path, data = Path(feed.settings.catalog.address), "this is not a database" * 100
    path.write_text(data)
    for read_only in (False, True):
        with (
            refused(CatalogUnavailableError, str(path), "file is not a database", "LAKE_CATALOG"),
            open_lake(feed.settings, read_only=read_only),
        ):
            pass
    assert path.read_text() == data
    path.unlink()
    everything_lands(feed)


@on_sqlite
def test_a_catalog_that_nobody_has_made_yet_cannot_be_read(settings: Settings) -> None:
    with (
        refused(CatalogUnavailableError, settings.catalog.address, "first run of a stream"),
        open_lake(settings, read_only=True),
    ):
        pass
    assert not Path(settings.catalog.address).exists()


# The object store


@pytest.fixture
def no_pause_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore makes its five attempts at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


# What is wrong, and what listing and reading say about it.
WRONG_STORES = {
    "nobody listens": (
        {"AWS_ENDPOINT_URL": f"http://{NOBODY}"},
        (StorageUnavailableError, "Could not connect", NOBODY, "endpoint_url"),
        (StorageUnavailableError, "Could not connect", NOBODY, "endpoint"),
    ),
    "no such host": (
        {"AWS_ENDPOINT_URL": f"http://{NO_HOST}"},
        (StorageUnavailableError, "Could not connect", NO_HOST, "endpoint_url"),
        (StorageUnavailableError, "Could not resolve hostname", NO_HOST, "endpoint"),
    ),
    "no such bucket": (
        {"LAKE_RAW_URI": "s3://no-such-bucket/raw"},
        (StorageUnavailableError, "NoSuchBucket", "s3://no-such-bucket/raw/shop/orders/"),
        (StorageUnavailableError, "NoSuchBucket", "no-such-bucket/raw/shop/orders/"),
    ),
    "unknown key": (
        {"AWS_ACCESS_KEY_ID": "stranger"},
        (StorageUnavailableError, "InvalidAccessKeyId", "aws_default"),
        (StorageUnavailableError, "403", "InvalidAccessKeyId", "credentials"),
    ),
    "wrong secret": (
        {"AWS_SECRET_ACCESS_KEY": "not-the-secret"},
        (StorageUnavailableError, "SignatureDoesNotMatch", "aws_default"),
        (StorageUnavailableError, "403", "SignatureDoesNotMatch", "credentials"),
    ),
    "no secret": (
        {"AWS_SECRET_ACCESS_KEY": ""},
        (SettingsError, "AWS_SECRET_ACCESS_KEY"),
        (StorageUnavailableError, "credentials"),
    ),
    "no such endpoint": (
        {"AWS_ENDPOINT_URL": "not an address"},
        (SettingsError, "Invalid endpoint: not an address", "AWS_ENDPOINT_URL"),
        None,  # without a host DuckDB asks Amazon
    ),
}


@on_sqlite
@pytest.mark.parametrize("wrong", list(WRONG_STORES))
def test_a_store_that_does_not_answer_or_refuses_is_named(
    half_fed: Feed, environment: dict[str, str], wrong: str, no_pause_between_attempts: None
) -> None:
    change, listing, reading = WRONG_STORES[wrong]
    broken = Settings.from_env(environment | change)
    with unchanged(half_fed), open_lake(broken) as lake:
        with refused(*listing):
            Feed(broken, half_fed.stream, s3_client(broken.s3)).list_files(lake)
        if reading:
            (batch,) = plan_batches(lake, half_fed.stream)
            with refused(*reading):
                register_batch(lake, half_fed.stream, batch, "run")
    everything_lands(half_fed)


@on_sqlite
def test_a_profile_that_does_not_exist_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    settings = Settings.from_env({k: v for k, v in environment.items() if k not in names})
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with refused(SettingsError, "no-such-profile", "AWS_PROFILE"), open_lake(settings):
        pass
    with refused(SettingsError, "no-such-profile", "AWS_PROFILE"):
        s3_client(settings.s3)


@on_sqlite
def test_a_lake_whose_bucket_does_not_exist_blames_no_file(
    make_feed: Callable[..., Feed], environment: dict[str, str], client: S3Client
) -> None:
    settings = Settings.from_env(environment | {"LAKE_DATA_PATH": "s3://made-later/lake"})
    feed = dataclasses.replace(make_feed(), settings=settings)
    put_misfit(feed)
    with refused(StorageUnavailableError, "NoSuchBucket", "s3://made-later/", "LAKE_DATA_PATH"):
        feed.run_afresh()
    with open_lake(settings) as lake:
        assert feed.events(lake) == {}
        assert lake.tables("staging") == set()
    client.create_bucket(Bucket="made-later")
    everything_lands(feed)


# The command line


def command(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *arguments: str
) -> int | str | None:
    """Run `lotus-lake` as its entry point does; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["lotus-lake", *arguments])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code


@on_sqlite
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"LAKE_DATA_PATH": "{LAKE_RAW_URI}/lake"}, "overlap"),
        ({"LAKE_CATALOG": f"postgres:host={NO_HOST} dbname=lake"}, NO_HOST),
        ({"LAKE_CATALOG": "sqlite:/dev/null/lake.sqlite"}, "LAKE_CATALOG"),
        ({"AWS_ENDPOINT_URL": f"http://{NOBODY}"}, NOBODY),
        ({"LAKE_RAW_URI": "s3://no-such-bucket/raw"}, "NoSuchBucket"),
        ({"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, "SignatureDoesNotMatch"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"LAKE_STREAMS_DIR": "/nowhere"}, "/nowhere"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_the_command_line_says_what_is_wrong_and_shows_no_traceback(
    feed: Feed,
    environment: dict[str, str],
    change: dict[str, str],
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    no_pause_between_attempts: None,
) -> None:
    feed.put()
    wrong = {name: value.format(**environment) for name, value in change.items()}
    assert command(monkeypatch, environment | wrong, "feed", "shop", "orders") == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert word in said.err
    assert "hint: " in said.err
    assert "Traceback" not in said.err
    assert [secret for secret in SECRETS if secret in said.err] == []
    assert command(monkeypatch, environment, "feed", "shop", "orders") in (0, None)
    everything_lands(feed)
