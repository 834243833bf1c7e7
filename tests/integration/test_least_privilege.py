"""What `deploy/policies` grants is enough for those who feed and those who read, and no more."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from typer.testing import CliRunner

from lotus_lake.bucket.objects import s3_client
from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.project.manifest import built_models
from lotus_lake.repair.promotion import open_promotion, promote
from lotus_lake.upkeep.expiry import upkeep
from lotus_lake.upkeep.orphans import schedule_orphans
from tests.catalogs import on_postgres
from tests.consuming import age, consume, write_manifest
from tests.feeds import DAY, Feed
from tests.policies import POLICIES, Policy
from tests.proxy import run_proxy
from tests.refusing import put_misfit
from tests.servers import PostgresServer, S3Server, postgres_program

MODEL = "int_shop__orders"
OLD_DAY = DAY - timedelta(days=60)

pytestmark = on_postgres


@dataclass(frozen=True, slots=True)
class Role:
    """One who comes with the rights of a role: in Postgres, and at the store."""

    environment: dict[str, str]
    policy: Policy

    @property
    def settings(self) -> Settings:
        """The lake as this role reaches it."""
        return Settings.from_env(self.environment)

    def run(self, *words: str, codes: Sequence[int] = (0,)) -> Any:
        """What a command prints, as JSON."""
        result = CliRunner().invoke(app, [*words, "--json"], env=self.environment)
        assert result.exit_code in codes, (result.output, result.exception)
        return json.loads(result.stdout)


@pytest.fixture
def roles(
    environment: dict[str, str], postgres: PostgresServer, s3: S3Server
) -> Iterator[Mapping[str, Role]]:
    """The feeder and the reader of the test's lake, all of which is in the store.

    Who works on branches has the feeder's role in Postgres, and other rights at the store.
    """
    dsn = environment["LAKE_CATALOG"].removeprefix("postgres:")
    bucket = environment["LAKE_RAW_URI"].removeprefix("s3://").partition("/")[0]
    postgres.execute(dsn, (POLICIES / "postgres-roles.sql").read_text())
    assert s3.access.endpoint_url
    try:
        with contextlib.ExitStack() as stack:
            made = {}
            for name in ("feeder", "reader", "branch"):
                proxy = stack.enter_context(run_proxy(s3.access.endpoint_url))
                policy = Policy.load(f"s3-{name}.json", bucket)
                user = "reader" if name == "reader" else "feeder"
                proxy.allows = policy.allows
                variables = {
                    **environment,
                    "LAKE_CATALOG": "postgres:" + dsn.replace("user=postgres", f"user=lake_{user}"),
                    "LAKE_DATA_PATH": f"s3://{bucket}/lake",
                    "AWS_ENDPOINT_URL": proxy.url,
                }
                made[name] = Role(variables, policy)
            yield made
    finally:
        postgres.disconnect_all(dsn)
        postgres.execute(dsn, "REASSIGN OWNED BY lake_feeder TO postgres")
        for name in ("lake_feeder", "lake_reader"):
            postgres.execute(dsn, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def fed(make_feed: Callable[..., Feed], roles: Mapping[str, Role]) -> Feed:
    """A lake that the feeder has fed: landed files, a copy, one that is retired, and a model."""
    made, feeder = make_feed(retention_days=30), roles["feeder"]
    assert {row["state"] for row in feeder.run("init")} == {"made"}
    settings = feeder.settings
    feed = Feed(settings, made.stream, s3_client(settings.s3), made.sent)
    write_manifest(settings, (MODEL, "shop__orders"))
    (settings.project_dir / "include" / "dbt" / "dbt_project.yml").write_text("name: lotus_lake\n")
    # The files are Airbyte's.
    made.put("old.parquet", day=OLD_DAY)
    made.put("new.parquet", rows=5)
    put_misfit(made)
    with open_lake(settings) as lake:
        total = feed.run(lake).total
        assert (total.registered, total.copied, total.quarantined) == (2, 1, 0)
        lake.con.execute(
            f"CREATE TABLE {LAKE}.main.{MODEL} AS "
            f"SELECT id, count(*) AS versions FROM {LAKE}.staging.stg_shop__orders GROUP BY id"
        )
        lake.con.execute(
            f"CREATE VIEW {LAKE}.main.every_order AS FROM {LAKE}.main.{MODEL} WHERE versions > 1"
        )
        consume(feed, lake, MODEL)
        assert retire_files(lake, feed.stream, [MODEL], "run").files == 1
        age(lake, timedelta(days=10))
        assert upkeep(lake).snapshots_expired > 0
        age(lake, timedelta(days=10))
        consume(feed, lake, MODEL)  # there is a snapshot that can expire
    return feed


def contents(lake: Lake) -> dict[str, Any]:
    """All that a reader sees of the lake."""
    return {
        "landing": lake.rows("FROM lakehouse.staging.stg_shop__orders ORDER BY ALL"),
        "model": lake.rows(f"FROM {LAKE}.main.{MODEL} ORDER BY ALL"),
        "view": lake.rows(f"FROM {LAKE}.main.every_order ORDER BY ALL"),
        "files": lake.rows("FROM lakehouse.meta.feeder_files ORDER BY ALL"),
        "cursors": lake.rows("FROM lakehouse.meta.feeder_cursors"),
        "snapshots": lake.rows(f"SELECT snapshot_id FROM {LAKE}.snapshots() ORDER BY ALL"),
    }


def objects(feed: Feed, s3: S3Server) -> set[str]:
    """Everything in the bucket."""
    pages = s3_client(s3.access).get_paginator("list_objects_v2")
    return {
        item["Key"]
        for page in pages.paginate(Bucket=feed.settings.bucket)
        for item in page.get("Contents", ())
    }


def test_the_feeder_can_do_its_work_and_needs_every_right_that_it_has(
    fed: Feed, roles: Mapping[str, Role]
) -> None:
    feeder = roles["feeder"]
    with open_lake(fed.settings) as lake:
        deleted = upkeep(lake).files_deleted
    assert f"s3://{fed.settings.bucket}/{fed.key('old.parquet', OLD_DAY)}" in deleted
    assert fed.key("old.parquet", OLD_DAY) not in fed.objects()
    # The folder of the test is no project: that is a problem for the doctor.
    found = {row["check"]: row["state"] for row in feeder.run("doctor", codes=(0, 1))}
    assert found["data path can be written"] == "ok"
    assert found["every data file is referred to"] == "ok"
    feeder.run("reconcile", fed.stream.source, fed.stream.name)
    feeder.run("plan")
    assert feeder.policy.denied == []
    assert set(feeder.policy.used) == feeder.policy.actions


def test_a_branch_is_made_used_and_dropped_without_a_right_to_change_the_lakes_files(
    fed: Feed,
    roles: Mapping[str, Role],
    s3: S3Server,
    environment: dict[str, str],
    postgres: PostgresServer,
) -> None:
    person, before = roles["branch"], objects(fed, s3)
    refused = CliRunner().invoke(app, ["branch", "new_sales"], env=person.environment)
    assert "GRANT CREATE ON DATABASE" in str(getattr(refused.exception, "hint", refused.exception))
    dsn = environment["LAKE_CATALOG"].removeprefix("postgres:")
    postgres.execute(
        dsn,
        "DO $$ BEGIN EXECUTE format("
        "'GRANT CREATE ON DATABASE %I TO lake_feeder', current_database()); END $$",
    )
    for words in (["branch", "new_sales"], ["branch"]):
        done = CliRunner().invoke(app, words, env=person.environment)
        assert done.exit_code == 0, done.output
    settings = Settings.from_env(person.environment | {"LAKE_BRANCH": "new_sales"})
    with open_lake(fed.settings) as lake, open_lake(settings) as branch:
        found, expected = contents(branch), contents(lake)
        assert {name: found[name] for name in ("landing", "model", "view", "files")} == {
            name: expected[name] for name in ("landing", "model", "view", "files")
        }
    with open_lake(settings) as branch:
        branch.con.execute(f"CREATE OR REPLACE TABLE {LAKE}.main.{MODEL} AS FROM range(1000)")
    with (
        open_lake(Settings.from_env(person.environment)) as lake,
        pytest.raises(duckdb.Error, match="403"),
    ):
        lake.con.execute(f"CREATE TABLE {LAKE}.main.not_mine AS FROM range(1000)")
    assert person.policy.denied
    person.policy.denied.clear()
    assert len(objects(fed, s3) - before) == 1
    feeder = roles["feeder"]
    with (
        open_lake(feeder.settings) as lake,
        open_promotion(lake, "new_sales", built_models(fed.settings.project_dir)) as (judge, _),
    ):
        promote(judge, [MODEL], "run", may_be_behind=True)
    assert feeder.policy.denied == []
    done = CliRunner().invoke(
        app, ["branch", "new_sales", "--drop", "--yes"], env=person.environment
    )
    assert done.exit_code == 0, done.output
    # The lake has a file of its own.
    assert len(objects(fed, s3) - before) == 1
    with open_lake(fed.settings) as lake:
        assert lake.value(f"SELECT count(DISTINCT range) FROM {LAKE}.main.{MODEL}") == 1000
    assert person.policy.denied == []
    assert set(person.policy.used) == person.policy.actions


def test_all_of_upkeep_needs_no_other_rights(
    fed: Feed, roles: Mapping[str, Role], s3: S3Server
) -> None:
    feeder, root = roles["feeder"], fed.settings.uri("")
    with open_lake(fed.settings) as lake:
        lake.con.execute(f"CREATE TABLE {LAKE}.main.grown (number BIGINT)")
        for start in range(0, 9000, 1000):  # files
            lake.con.execute(f"INSERT INTO {LAKE}.main.grown FROM range({start}, {start + 1000})")
        for start in range(9000, 9100, 5):  # rows in the catalog
            lake.con.execute(f"INSERT INTO {LAKE}.main.grown FROM range({start}, {start + 5})")
        lake.con.execute(f"DELETE FROM {LAKE}.main.grown WHERE number < 500")
        orphan = f"lake/main/grown/ducklake-{uuid4()}.parquet"
        fed.client.put_object(Bucket=fed.settings.bucket, Key=orphan, Body=b"left behind")
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert schedule_orphans(lake, tomorrow).files == (root + orphan,)
    deleted: list[str] = []
    for _ in range(3):
        report = feeder.run("maintain")
        if not deleted:
            (work,) = (
                work for work in report["compaction"]["tables"] if work["table"] == "main.grown"
            )
            assert set(work["steps"]) == {"flush", "rewrite", "merge"}
        deleted += report["files_deleted"]
        with open_lake(fed.settings) as lake:
            age(lake, timedelta(days=10))
    gone = {address.removeprefix(root) for address in deleted}
    assert orphan in gone
    assert len({key for key in gone if key.startswith("lake/main/grown/")}) > 9
    assert fed.key("old.parquet", OLD_DAY) in gone
    assert objects(fed, s3).isdisjoint(gone)
    with open_lake(roles["reader"].settings, read_only=True) as lake:
        assert lake.rows(f"SELECT count(*), sum(number) FROM {LAKE}.main.grown") == [
            (8600, sum(range(500, 9100)))
        ]
    assert feeder.policy.denied == []


def test_the_feeder_can_touch_nothing_but_the_two_prefixes(
    fed: Feed, roles: Mapping[str, Role]
) -> None:
    client, bucket = fed.client, fed.settings.bucket
    refused: list[Callable[[], object]] = [
        lambda: client.put_object(Bucket=bucket, Key=fed.key("forged.parquet"), Body=b""),
        lambda: client.put_object(Bucket=bucket, Key="other/a", Body=b""),
        lambda: client.get_object(Bucket=bucket, Key="other/a"),
        lambda: client.list_objects_v2(Bucket=bucket, Prefix="other/"),
        lambda: client.list_objects_v2(Bucket=bucket),
    ]
    for call in refused:
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            call()


def test_the_reader_sees_all_that_the_feeder_sees(fed: Feed, roles: Mapping[str, Role]) -> None:
    reader = roles["reader"]
    with open_lake(fed.settings) as lake:
        expected = contents(lake)
    with open_lake(reader.settings, read_only=True) as lake:
        assert contents(lake) == expected
    assert len(expected["landing"]) == 8
    (status,) = reader.run("status")
    assert (status["landed"], status["copied"], status["rows"]) == (3, 1, 11)
    assert len(reader.run("files")) == 3
    assert reader.run("query", f"SELECT count(*) AS n FROM main.{MODEL}") == [{"n": 5}]
    assert reader.policy.denied == []
    assert set(reader.policy.used) == reader.policy.actions


def test_a_dump_by_the_feeder_is_restored_with_the_rights_of_all(
    fed: Feed, roles: Mapping[str, Role], postgres: PostgresServer, tmp_path: Path
) -> None:
    catalog, dump = fed.settings.catalog.address, str(tmp_path / "lake.dump")
    with open_lake(fed.settings) as lake:
        before = contents(lake)
    postgres_program("pg_dump", "--format=custom", f"--file={dump}", catalog)
    superuser = catalog.replace("user=lake_feeder", "user=postgres")
    postgres.lose_database(superuser)
    postgres_program("pg_restore", "--exit-on-error", f"--dbname={superuser}", dump)
    with open_lake(roles["reader"].settings, read_only=True) as lake:
        assert contents(lake) == before
    with open_lake(fed.settings) as lake:
        lake.con.execute(f"CREATE TABLE {LAKE}.main.later AS SELECT 1 AS number")
    with open_lake(roles["reader"].settings, read_only=True) as lake:
        assert lake.value(f"SELECT number FROM {LAKE}.main.later") == 1
        with pytest.raises((duckdb.Error, LotusLakeError), match=REFUSED):
            lake.con.execute(ACTS["drop"])


REFUSED = "(?i)read-?only|permission denied|must be owner|403"
ACTS = {
    "insert": "INSERT INTO lakehouse.main.int_shop__orders VALUES (9, 9)",
    "insert much": "INSERT INTO lakehouse.main.int_shop__orders SELECT i, i FROM range(5000) r(i)",
    "update": "UPDATE lakehouse.main.int_shop__orders SET versions = 0",
    "delete": "DELETE FROM lakehouse.staging.stg_shop__orders",
    "create": "CREATE TABLE lakehouse.main.mine AS SELECT 1 AS a",
    "drop": "DROP TABLE lakehouse.main.int_shop__orders",
    "alter": "ALTER TABLE lakehouse.staging.stg_shop__orders DROP COLUMN amount",
    "option": "CALL lakehouse.set_option('auto_compact', true)",
    "expire": "CALL ducklake_expire_snapshots('lakehouse', older_than => now())",
    "clean up": "CALL ducklake_cleanup_old_files('lakehouse', cleanup_all => true)",
    "orphans": "CALL ducklake_delete_orphaned_files('lakehouse', cleanup_all => true)",
    "metadata": "DELETE FROM __ducklake_metadata_lakehouse.ducklake_data_file",
    "postgres": "CALL postgres_execute('__ducklake_metadata_lakehouse', "
    "'SET default_transaction_read_only = off; DROP TABLE public.ducklake_snapshot')",
}


def test_the_reader_changes_nothing_however_it_comes(
    fed: Feed, roles: Mapping[str, Role], s3: S3Server
) -> None:
    reader = roles["reader"]
    with open_lake(fed.settings) as lake:
        before, there = contents(lake), objects(fed, s3)
    for read_only in (True, False):
        for name, statement in ACTS.items():
            with (
                pytest.raises((duckdb.Error, LotusLakeError), match=REFUSED),
                open_lake(reader.settings, read_only=read_only) as lake,
            ):
                lake.con.execute(statement).fetchall()
            # A refused write must not even have put a file there.
            assert objects(fed, s3) == there, (name, read_only)
    with open_lake(fed.settings) as lake:
        assert contents(lake) == before


def test_the_reader_cannot_make_a_catalog(roles: Mapping[str, Role]) -> None:
    with (
        pytest.raises(LotusLakeError, match="permission denied"),
        open_lake(roles["reader"].settings),
    ):
        pass
