"""The catalog is lost, with a dump and without one: every table comes back as it was.

Drills of docs/backup-and-recovery.md and of the upgrades of docs/deployment.md; they run the
commands that stand there.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from lotus_lake.bucket.objects import RawObject, list_objects
from lotus_lake.cli import app
from lotus_lake.doctor import examine
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.upkeep.expiry import upkeep
from samples import History, SampleFile
from tests.catalogs import on_postgres
from tests.consuming import age
from tests.pipeline.driver import PROJECT, DbtError, Pipeline, chosen_streams
from tests.servers import PostgresServer, postgres_program

STREAMS = ("shopify__orders", "shopify__order_refunds")
MODEL = "int_shopify__orders"
TABLES = (MODEL, "int_shopify__order_refunds", "fct_sales")
# A day more than a file of a SQLite catalog lives at least.
SOME_DAYS = timedelta(days=3, hours=12)


@pytest.fixture
def files(history: History) -> list[SampleFile]:
    """What Airbyte writes, in the order in which it does."""
    chosen = [f for f in history.files if f"{f.source}__{f.stream}" in STREAMS]
    return sorted(chosen, key=lambda file: file.written_at)


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Streams that retire their files a day after the cursor has passed them.

    The files of a lake in Postgres are in the store, those of a lake in SQLite in a folder.
    """
    for stream in STREAMS:
        source, name = stream.split("__")
        path = PROJECT / "include" / "streams" / source / f"{name}.json"
        copy = tmp_path / "streams" / source / f"{name}.json"
        copy.parent.mkdir(parents=True, exist_ok=True)
        feeder = {"feeder": {"retention_days": 1}}
        copy.write_text(json.dumps(json.loads(path.read_text()) | feeder))
    if environment["LAKE_CATALOG"].startswith("postgres"):  # as in production
        environment["LAKE_DATA_PATH"] = environment["LAKE_RAW_URI"].replace("/raw", "/lake")
    return environment | {"LAKE_STREAMS_DIR": str(tmp_path / "streams"), "LAKE_BACKUP_DAYS": "7"}


@pytest.fixture
def dump(pipeline: Pipeline, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Dump the catalog as the page says."""
    catalog = pipeline.settings.catalog

    def run() -> None:
        if catalog.kind == "sqlite":
            with closing(sqlite3.connect(catalog.address)) as connection:
                connection.execute("VACUUM INTO ?", [str(tmp_path / "dump")])
        else:
            postgres_program(
                "pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", catalog.address
            )

    return run


@pytest.fixture
def lose(pipeline: Pipeline, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Lose the catalog; on Postgres there is an empty database in its place."""
    catalog = pipeline.settings.catalog

    def run() -> None:
        if catalog.kind == "sqlite":
            for path in Path(catalog.address).parent.glob("catalog.sqlite*"):
                path.unlink()
            return
        server: PostgresServer = request.getfixturevalue("postgres")
        server.lose_database(catalog.address)

    return run


@pytest.fixture
def restore(pipeline: Pipeline, lose: Callable[[], None], tmp_path: Path) -> Callable[[], None]:
    """Lose the catalog, and restore the dump."""
    catalog = pipeline.settings.catalog

    def run() -> None:
        lose()
        if catalog.kind == "sqlite":
            (tmp_path / "dump").rename(catalog.address)
        else:
            postgres_program(
                "pg_restore", "--exit-on-error", f"--dbname={catalog.address}",
                str(tmp_path / "dump"),
            )  # fmt: skip

    return run


def work_off(pipeline: Pipeline, files: list[SampleFile]) -> None:
    """Files arrive, land and are processed; what is old and consumed is retired."""
    pipeline.drop(files)
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", *TABLES)
    pipeline.feed(*STREAMS)


def days_go_by(pipeline: Pipeline) -> int:
    """Some days, with upkeep at their end; returns how many files it deletes."""
    with open_lake(pipeline.settings) as lake:
        age(lake, SOME_DAYS)
        return len(upkeep(lake).files_deleted)


def reconcile_all(pipeline: Pipeline) -> dict[str, int]:
    """Compare everything and land what is missing; how many files landed."""
    landed = {}
    with open_lake(pipeline.settings) as lake:
        for stream in chosen_streams(pipeline.settings, STREAMS):
            result = reconcile(lake, stream, pipeline.client, "after the loss")
            assert result.problems == []
            landed[stream.id] = result.registered
    return landed


def nothing_is_wrong(pipeline: Pipeline, history: History) -> None:
    """Tables are row-exact, and so are the landing tables: no file twice, none without a ledger."""
    assert pipeline.wrong_tables(history, TABLES) == {}
    with open_lake(pipeline.settings) as lake:
        for stream in STREAMS:
            source, name = stream.split("__")
            rows = lake.rows(
                f"SELECT count(*), count(DISTINCT _airbyte_raw_id) FROM {LAKE}.staging.stg_{stream}"
            )
            by_ledger = lake.value(
                f"SELECT sum(row_count) FROM {META}.feeder_files "
                "WHERE source = ? AND stream = ? AND event IN ('registered', 'copied')",
                [source, name],
            )
            assert rows == [(by_ledger, by_ledger)]
    of_the_lake = {
        finding.check: finding.text
        for finding in examine(pipeline.environment)
        if finding.state == "problem"
    }
    assert of_the_lake.keys() & {"registered files are there", "nothing waits for long"} == set()


def retired(pipeline: Pipeline) -> int:
    return int(pipeline.value(f"SELECT count(*) FROM {META}.feeder_files WHERE event = 'retired'"))


def test_a_dump_as_old_as_it_may_be_brings_everything_back(
    pipeline: Pipeline,
    history: History,
    files: list[SampleFile],
    dump: Callable[[], None],
    restore: Callable[[], None],
) -> None:
    third = len(files) // 3
    work_off(pipeline, files[:third])
    dump()
    retired_before = retired(pipeline)

    work_off(pipeline, files[third : 2 * third])
    days_go_by(pipeline)
    work_off(pipeline, files[2 * third :])
    days_go_by(pipeline)
    assert retired(pipeline) > retired_before
    nothing_is_wrong(pipeline, history)

    restore()
    assert retired(pipeline) == retired_before
    landed = reconcile_all(pipeline)
    assert sum(landed.values()) >= len(files) - third
    pipeline.dbt("run", *TABLES)
    nothing_is_wrong(pipeline, history)

    # Life goes on: what was retired again is deleted once, and nothing else.
    pipeline.feed(*STREAMS)
    assert sum(days_go_by(pipeline) for _ in range(4)) > 0
    pipeline.dbt("run", *TABLES)
    nothing_is_wrong(pipeline, history)


@on_postgres
def test_an_upgrade_that_is_rolled_back_loses_and_doubles_nothing(
    pipeline: Pipeline,
    history: History,
    files: list[SampleFile],
    dump: Callable[[], None],
    restore: Callable[[], None],
) -> None:
    half = len(files) // 2
    work_off(pipeline, files[:half])
    dump()
    migrate(pipeline)
    work_off(pipeline, files[half:])
    nothing_is_wrong(pipeline, history)
    since = pipeline.value(f"SELECT count(*) FROM {META}.feeder_files")

    restore()
    assert pipeline.value(f"SELECT count(*) FROM {META}.feeder_files") < since
    assert pipeline.wrong_tables(history, TABLES) != {}
    # The next run, and not only a reconciliation, finds what the restored ledger does not know.
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", *TABLES)
    nothing_is_wrong(pipeline, history)
    assert set(reconcile_all(pipeline).values()) == {0}


def migrate(pipeline: Pipeline) -> None:
    """Run the script of the page; with one DuckLake at hand it finds nothing to migrate."""
    page = (PROJECT / "docs" / "deployment.md").read_text(encoding="utf-8")
    script = page.partition("python - <<'PYTHON'\n")[2].partition("PYTHON\n")[0]
    assert "AUTOMATIC_MIGRATION true" in script
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)],
        env=pipeline.environment | {"PYTHONPATH": str(PROJECT / "plugins")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_without_a_dump_everything_comes_back_from_files(
    pipeline: Pipeline, history: History, files: list[SampleFile], lose: Callable[[], None]
) -> None:
    third = len(files) // 3
    pipeline.drop(files[:third])
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", *TABLES)
    # The table is then in a folder of another name, and its old files are still there.
    pipeline.dbt("run", MODEL, "--full-refresh")
    pipeline.feed(*STREAMS)
    work_off(pipeline, files[third : 2 * third])
    for _ in range(4):
        days_go_by(pipeline)
    work_off(pipeline, files[2 * third :])
    nothing_is_wrong(pipeline, history)
    with open_lake(pipeline.settings) as lake:
        # Rows that are few stay in the catalog; without this they are lost with it.
        lake.con.execute(f"CALL ducklake_flush_inlined_data('{LAKE}', schema_name => 'main')")
    # Some records are in no raw file any more, so reading those again cannot be enough.
    raw = pipeline.settings.raw_prefix
    there = {item.key.removeprefix(raw) for item in list_raw(pipeline)}
    assert there < pipeline.arrived
    assert history.expected(MODEL, there) != history.expected(MODEL, pipeline.arrived)

    lose()
    run = CliRunner().invoke(app, ["rebuild", "--json"], env=pipeline.environment)
    assert run.exit_code == 0, run.output
    rebuilt = {row["model"]: row for row in json.loads(run.stdout)}
    assert set(rebuilt) == set(TABLES) - {"fct_sales"}
    assert rebuilt[MODEL]["files"] > 2
    reconcile_all(pipeline)
    pipeline.dbt("run", *TABLES)
    nothing_is_wrong(pipeline, history)

    # What only the files of the lost catalog hold is not thrown away by a full refresh.
    with pytest.raises(DbtError, match="have been retired from it"):
        pipeline.dbt("run", MODEL, "--full-refresh")
    # A second time there is nothing to do.
    again = CliRunner().invoke(app, ["rebuild", "--json"], env=pipeline.environment)
    assert (again.exit_code, json.loads(again.stdout)) == (0, [])
    nothing_is_wrong(pipeline, history)


def list_raw(pipeline: Pipeline) -> list[RawObject]:
    """The raw objects that are there."""
    settings = pipeline.settings
    return list(list_objects(pipeline.client, settings.bucket, settings.raw_prefix))
