"""Runs of a stream's Dag in this process, with real tasks: what they update, show and hide."""

from __future__ import annotations

import gc
import json
import os
import re
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.config.connections import CatalogAddress
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.feeder.list import Listing, list_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.project.manifest import ensure_manifest
from samples import SampleFile, generate, write_files
from samples.demo_tables import table_rows
from tests.airbyte_server import AirbyteServer, run_airbyte
from tests.dags.conftest import AIRFLOW_HOME, PROJECT, load_dags
from tests.projects import copy_project
from tests.proxy import Proxy
from tests.servers import PostgresServer, S3Server

if TYPE_CHECKING:
    from airflow.sdk import DAG
    from mypy_boto3_s3 import S3Client

DAG_ID = "shopify__orders"
RECONCILE = "lake_reconcile"
MODEL = "int_shopify__orders"
BUILD = f"processed.{MODEL}_model_build"
TASKS = {
    "wait_for_files", "feeder.list", "feeder.batch", "feeder.register", "feeder.cursor",
    "feeder.cleanup", BUILD, "publish",
}  # fmt: skip
HISTORY = generate()
FILES = [file for file in HISTORY.files if file.stream == "orders"]
FOLDER = "shopify/orders/year=2026/month=03/day=01"


pytestmark = pytest.mark.usefixtures("known_dags")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended, and what it left in Airflow's database."""

    run_id: str
    state: str
    tasks: dict[str, str]
    labels: list[str]
    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The Dag of the orders on a lake of the test's own."""

    settings: Settings
    client: S3Client

    def drop(self, *files: SampleFile) -> None:
        """Let sample files arrive."""
        write_files(files, self.settings.raw_uri, self.client)

    def put(self, name: str, body: bytes, folder: str = FOLDER) -> None:
        """Let any file arrive."""
        key = self.key(name, folder)
        self.client.put_object(Bucket=self.settings.bucket, Key=key, Body=body)

    def key(self, name: str, folder: str = FOLDER) -> str:
        """Key of a file."""
        return f"{self.settings.raw_prefix}{folder}/{name}"

    def list_window(self) -> Listing:
        """What a run of the stream would find."""
        stream = find_stream(self.settings.streams_dir, "shopify", "orders")
        with open_lake(self.settings) as lake:
            return list_files(lake, stream, self.client, "look")

    def landed(self) -> int:
        """Rows of the landing table."""
        with open_lake(self.settings) as lake:
            return int(lake.value("SELECT count(*) FROM lakehouse.staging.stg_shopify__orders"))

    def run(self, dag_id: str = DAG_ID, **conf: Any) -> Run:
        """Run a Dag as `airflow dags test` does."""
        bag = load_dags()
        assert bag.import_errors == {}
        dag: DAG = bag.dags[dag_id]
        done = dag.test(run_conf=conf)
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            gc.collect()  # Cosmos leaves dbt's pipe open
        found = done.get_task_instances()
        return Run(
            run_id=done.run_id,
            state=str(done.state),
            tasks={task.task_id: str(task.state) for task in found},
            labels=[task.rendered_map_index for task in found if task.rendered_map_index],
            events=[
                json.loads(extra)
                for (extra,) in query(
                    "SELECT extra FROM asset_event WHERE source_run_id = ?", done.run_id
                )
            ],
        )


def query(sql: str, *parameters: Any) -> list[Any]:
    """Read from Airflow's database."""
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database:
        return database.execute(sql, parameters).fetchall()


@pytest.fixture
def deployment(
    deployed: dict[str, str],
    tmp_path: Path,
    client: S3Client,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Deployment]:
    """Deploy the Dag of the orders; options are those of `feeder`."""

    def deploy(**options: Any) -> Deployment:
        path = tmp_path / "streams" / "shopify" / "orders.json"
        path.parent.mkdir(parents=True)
        original = json.loads((PROJECT / "include/streams/shopify/orders.json").read_text())
        feeder = {"retries": 0, "poke_interval_seconds": 1, **options}
        path.write_text(json.dumps({**original, "feeder": feeder}))
        # The dbt project is that of the checkout; everything that is written goes elsewhere.
        variables = {"LAKE_PROJECT_DIR": str(PROJECT), "LAKE_TEMP_DIR": str(tmp_path / "tmp")}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database, database:
            database.execute("DELETE FROM asset_event")  # of other lakes, at the same snapshots
            database.execute("DELETE FROM variable")
        return Deployment(Settings.from_env(deployed | variables), client)

    return deploy


@pytest.fixture
def arriving(proxy: Proxy) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Do something once the bucket was listed twice: by the sensor and by its trigger."""
    threads = []

    def when_listed(act: Callable[[], None]) -> None:
        def wait() -> None:
            while len(proxy.listings) < 2:
                time.sleep(0.05)
            act()

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield when_listed
    for thread in threads:
        thread.join()


def test_files_that_arrive_while_a_run_waits_are_fed_processed_and_published(
    deployment: Callable[..., Deployment],
    arriving: Callable[[Callable[[], None]], None],
    s3: S3Server,
    called_home: list[bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    files = FILES[:3]
    orders = deployment(batch_files=2)
    arriving(lambda: orders.drop(*files))

    run = orders.run(wait_seconds=600)

    assert run.state == "success"
    # What dbt's process is given stays there: Cosmos would copy what it knows of into this one.
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    assert "openlineage.common.provider.dbt.local" not in sys.modules
    assert s3.access.secret_access_key is not None
    secret = s3.access.secret_access_key.get_secret_value()
    assert secret not in os.environ.values()
    assert run.tasks == dict.fromkeys(TASKS, "success")
    assert sorted(label.split(",")[0] for label in run.labels) == [
        "batch 1 of 2: 2 files", "batch 2 of 2: 1 file",
    ]  # fmt: skip
    with open_lake(orders.settings) as lake:
        read = lake.value(f"SELECT snapshot_id_to FROM lakehouse.meta.watermark_{MODEL}")
        rows = table_rows(lake, MODEL)
    assert rows == HISTORY.expected(MODEL, {file.key for file in files})
    assert run.events == [
        {
            "stream": DAG_ID,
            "files": len(files),
            "rows": sum(file.row_count for file in files),
            "snapshot_id": read,
        }
    ]

    assert called_home == []

    idle = orders.run()
    assert idle.state == "success"
    assert idle.tasks == dict.fromkeys(TASKS, "skipped")
    assert idle.events == []

    assert s3.access.secret_access_key is not None
    nothing_shows(s3.access.secret_access_key.get_secret_value(), orders, capfd)


def nothing_shows(secret: str, orders: Deployment, capfd: pytest.CaptureFixture[str]) -> None:
    """The secret is in no log and in no file of Airflow's, though both hold much else."""
    captured = capfd.readouterr()
    said = (captured.out + captured.err).encode()
    kept = {path: path.read_bytes() for path in AIRFLOW_HOME.rglob("*") if path.is_file()}
    assert DAG_ID.encode() in said
    database = b"".join(data for path, data in kept.items() if path.name.startswith("airflow.db"))
    assert orders.settings.bucket.encode() in database  # beside it lies what is not merged yet
    assert secret.encode() not in said
    assert [path for path, data in kept.items() if secret.encode() in data] == []


@pytest.mark.postgres
def test_a_catalog_of_a_secrets_backend_reaches_every_task_and_its_password_stays_there(
    deployment: Callable[..., Deployment],
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    by_variable, password = deployment(), "pg-secret-of-a-backend"
    database = postgres.create_database("of_a_backend")
    with postgres.role(database, "backend", password, "SUPERUSER"):
        fields = {
            "conn_type": "postgres", "host": "127.0.0.1", "port": postgres.port,
            "schema": "of_a_backend", "login": "backend", "password": password,
            "extra": {"connect_timeout": 10},
        }  # fmt: skip
        secrets = tmp_path / "secrets.json"
        secrets.write_text(json.dumps({"lake_catalog": fields}))
        monkeypatch.delenv("LAKE_CATALOG")
        monkeypatch.setenv(
            "AIRFLOW__SECRETS__BACKEND",
            "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        )
        monkeypatch.setenv(
            "AIRFLOW__SECRETS__BACKEND_KWARGS",
            json.dumps({"connections_file_path": str(secrets)}),
        )
        catalog = CatalogAddress.from_connection(json.dumps(fields))
        orders = Deployment(replace(by_variable.settings, catalog=catalog), by_variable.client)
        orders.drop(FILES[0])

        run = orders.run()

        assert run.state == "success"
        assert run.tasks == dict.fromkeys(TASKS, "success")
        with open_lake(orders.settings) as lake:
            assert table_rows(lake, MODEL) == HISTORY.expected(MODEL, {FILES[0].key})
        nothing_shows(password, orders, capfd)
    assert not (tmp_path / "catalog.sqlite").exists()


def test_a_run_that_landed_nothing_updates_no_asset_and_its_tasks_tell_no_file_names(
    deployment: Callable[..., Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    orders = deployment()
    table = pq.read_table(BytesIO(FILES[0].data))
    orders.put("empty.parquet", _parquet(table.slice(0, 0)))
    orders.put("broken.parquet", b"this is no Parquet file")
    orders.put("no_bytes.parquet", b"")

    run = orders.run()

    assert run.state == "success"
    assert {name for name, state in run.tasks.items() if state == "skipped"} == {BUILD, "publish"}
    assert {state for state in run.tasks.values() if state != "skipped"} == {"success"}
    assert run.events == []
    with open_lake(orders.settings) as lake:
        ends = lake.rows("SELECT event FROM lakehouse.meta.feeder_files ORDER BY event")
    assert ends == [("empty",), ("quarantined",), ("quarantined",)]
    told = dict(query("SELECT task_id, value FROM xcom WHERE run_id = ?", run.run_id))
    assert {"feeder.list", "feeder.batch", "feeder.register", "feeder.cursor"} <= set(told)
    assert json.loads(told["feeder.list"])["quarantined"] == 1
    assert all(len(value) < 400 and ".parquet" not in value for value in told.values())
    (label,) = run.labels
    assert label.startswith("batch 1 of 1: 2 files, ")
    assert label.endswith(", 1 QUARANTINED")
    warnings_of = [log.getMessage() for log in caplog.records if log.levelname == "WARNING"]
    for name, error in (("broken.parquet", "No magic bytes"), ("no_bytes.parquet", "no bytes")):
        said = [text for text in warnings_of if f"quarantined {orders.key(name)}: " in text]
        assert len(said) == 1
        assert error in said[0]
    assert "`lotus-lake quarantine list shopify orders`" in warnings_of[-1]


def test_tasks_say_in_a_line_what_they_did_and_warn_of_nothing(
    deployment: Callable[..., Deployment],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As in the demo: no connection, but variables."""
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    orders = deployment()
    orders.drop(*FILES[:2])

    assert orders.run().state == "success"

    said = [log.getMessage() for log in caplog.records if log.name.startswith("lotus_lake")]
    newest = max(orders.settings.raw_prefix + file.key for file in FILES[:2])
    rows = sum(file.row_count for file in FILES[:2])
    for expected in (
        "2 objects listed, 2 new; 2 files in the queue",
        f"2 files landed with {rows} rows; 0 files in the queue; the cursor is at {newest}",
        "no raw file is ready to be retired",
    ):
        assert expected in said
    assert [text for text in said if text.endswith(f" kB: 2 files landed with {rows} rows")]
    shown = "".join(capfd.readouterr())
    for noise in ("aws_default", "credential", "Returned value was", "endpoint for s3", "Listing("):
        assert noise not in shown


LATE_FOLDER = "shopify/orders/year=2024/month=01/day=01"


def test_a_reconcile_lands_what_is_late_and_is_red_until_what_is_gone_was_taken_out(
    deployment: Callable[..., Deployment], capfd: pytest.CaptureFixture[str]
) -> None:
    orders = deployment(retention_days=3650)
    orders.put("part_0.parquet", FILES[0].data)
    orders.put("part_1.parquet", FILES[1].data)
    assert orders.run(RECONCILE, only=DAG_ID).state == "success"
    orders.put("late.parquet", FILES[2].data, LATE_FOLDER)
    assert orders.list_window().discovered == 0
    assert orders.landed() == FILES[0].row_count + FILES[1].row_count

    late = orders.run(RECONCILE)
    assert (late.state, late.labels) == ("success", [DAG_ID, DAG_ID])
    done = {"choose": "success", "reconcile": "success", "landed_in": "success"}
    assert late.tasks == {**done, "run_stream": "success", "fail": "skipped"}
    assert orders.landed() == sum(file.row_count for file in FILES[:3])
    (told,) = orders.run().events  # the update tells what the model read, whoever landed it
    assert (told["files"], told["rows"]) == (3, sum(file.row_count for file in FILES[:3]))

    orders.client.delete_object(Bucket=orders.settings.bucket, Key=orders.key("part_0.parquet"))
    capfd.readouterr()
    red = orders.run(RECONCILE)
    failed = {"reconcile": "failed", "run_stream": "skipped", "fail": "failed"}
    assert (red.state, red.tasks) == ("failed", {**done, **failed})
    said = "".join(capfd.readouterr())
    assert "1 landed files have lost their object" in said
    assert "`lotus-lake reconcile shopify orders --repair`" in said
    assert "this Dag does the same with its parameter repair" in said

    assert orders.run(RECONCILE, repair=True).state == "success"
    assert orders.landed() == FILES[1].row_count + FILES[2].row_count
    assert orders.run(RECONCILE).state == "success"


MAINTENANCE = "lake_maintenance"
STEPS = [
    "expire_snapshots",
    "delete_files",
    "compact_tables",
    "find_orphans",
    "statistics",
    "report",
]


def test_upkeep_can_be_repeated_and_is_red_when_it_will_not_delete(
    deployment: Callable[..., Deployment],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    orders = deployment()
    orders.put("part_0.parquet", FILES[0].data)
    assert orders.run().state == "success"
    landed = orders.landed()
    for _ in range(2):
        done = orders.run(MAINTENANCE)
        assert done.tasks == dict.fromkeys(STEPS, "success")
    assert orders.landed() == landed > 0
    assert f"staging.stg_shopify__orders: {landed} rows" in caplog.text
    with open_lake(orders.settings) as lake:
        assert lake.value("SELECT count(DISTINCT recorded_at) FROM lakehouse.meta.table_sizes") == 2

    for number in range(100):
        name = f"ducklake-00000000-0000-0000-0000-{number:012}.parquet"
        path = Path(orders.settings.data_path, "main", name)
        path.write_bytes(b"of another lake")
        os.utime(path, (0, 0))
    red = orders.run(MAINTENANCE)
    assert red.state == "failed"
    assert red.tasks == dict.fromkeys(STEPS, "success") | {
        "find_orphans": "failed",
        "report": "upstream_failed",
    }
    assert "that is too many to be left-overs" in "".join(capfd.readouterr())
    assert orders.run(MAINTENANCE, orphan_share=1).state == "success"


def test_a_domain_waits_until_every_table_that_it_reads_was_built_once(
    deployment: Callable[..., Deployment], capfd: pytest.CaptureFixture[str]
) -> None:
    orders = deployment()
    orders.drop(FILES[0])
    assert orders.run().state == "success"

    run = orders.run("enriched__sales")

    assert run.tasks == {"enriched.fct_sales_model_build": "skipped", "publish": "skipped"}
    assert (run.state, run.events) == ("success", [])
    assert "not built yet: int_shopify__order_refunds" in "".join(capfd.readouterr())


def test_a_model_whose_inputs_have_not_changed_is_skipped_unless_the_run_forces_it(
    deployment: Callable[..., Deployment],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    orders = deployment()
    orders.drop(FILES[0])
    assert orders.run().state == "success"
    with open_lake(orders.settings) as lake:
        lake.con.execute(
            "CREATE TABLE lakehouse.main.int_shopify__order_refunds AS "
            "SELECT 1::BIGINT AS refund_id, 1::BIGINT AS order_id, 1::DECIMAL(18, 4) AS returns "
            "WHERE false"
        )
    task = "enriched.fct_sales_model_build"
    run = orders.run("enriched__sales")
    assert run.tasks == {task: "success", "publish": "success"}
    [event] = run.events

    again = orders.run("enriched__sales")
    assert again.tasks == {task: "skipped", "publish": "skipped"}
    assert (again.state, again.events) == ("success", [])
    assert "its inputs and SQL are the same" in "".join(capfd.readouterr())

    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database, database:
        database.execute("DELETE FROM asset_event")  # as if `publish` had failed
    unpublished = orders.run("enriched__sales")
    assert unpublished.tasks == {task: "success", "publish": "success"}
    assert unpublished.events[0]["snapshot_id"] > event["snapshot_id"]

    forced = orders.run("enriched__sales", force=True)
    assert forced.tasks == {task: "success", "publish": "success"}
    with open_lake(orders.settings) as lake:
        lake.con.execute("INSERT INTO lakehouse.main.int_shopify__order_refunds VALUES (1, -1, 2)")
    changed = orders.run("enriched__sales")
    assert changed.tasks == {task: "success", "publish": "success"}
    assert "fct_sales is built: int_shopify__order_refunds has changed" in caplog.text


def test_a_failing_data_test_is_red_at_once_says_so_once_and_updates_no_asset(
    deployment: Callable[..., Deployment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    orders = deployment(retries=2)
    project = tmp_path / "project"
    copy_project(project)
    (project / "plugins").symlink_to(PROJECT / "plugins")
    rule = project / "include" / "dbt" / "tests" / "none_is_paid.sql"
    rule.write_text(f"select * from {{{{ ref('{MODEL}') }}}} where financial_status = 'paid'")
    ensure_manifest(project)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(project))
    orders.drop(FILES[0])

    run = orders.run()

    assert run.state == "failed"
    assert run.tasks[BUILD] == "failed"
    assert query(
        "SELECT try_number FROM task_instance WHERE run_id = ? AND task_id = ?", run.run_id, BUILD
    ) == [(1,)]
    assert len(re.findall(r"none_is_paid: \d+, such as {", caplog.text)) == 1
    assert caplog.text.count("select * from newest") == 1  # the model's SQL
    assert run.tasks["publish"] == "upstream_failed"
    assert run.tasks["feeder.cleanup"] == "success"
    assert run.events == []
    with open_lake(orders.settings) as lake:
        assert MODEL not in lake.tables("main")
        assert lake.value(f"SELECT count(*) FROM lakehouse.meta.failed_rows_{MODEL}") > 0
    idle = orders.run()
    assert idle.tasks[BUILD] == "failed"  # and not skipped, although nothing has landed since
    assert idle.events == []


def test_an_update_that_never_reached_airflow_is_published_by_the_next_run(
    deployment: Callable[..., Deployment],
) -> None:
    orders = deployment()
    orders.drop(*FILES[:1])
    [event] = orders.run().events
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database, database:
        database.execute("DELETE FROM asset_event")  # as if `publish` had failed

    again = orders.run()

    assert again.tasks == dict.fromkeys(TASKS, "success") | {"feeder.register": "skipped"}
    assert [found["snapshot_id"] >= event["snapshot_id"] for found in again.events] == [True]
    idle = orders.run()
    assert set(idle.tasks.values()) == {"skipped"}


def test_a_wait_that_ends_in_the_worker_skips_the_run(
    deployment: Callable[..., Deployment], proxy: Proxy
) -> None:
    orders = deployment(deferrable=False)
    run = orders.run(wait_seconds=6)
    assert run.state == "success"
    assert run.tasks == dict.fromkeys(TASKS, "skipped")
    assert len(proxy.listings) > 1  # it was rescheduled in between


def test_a_listing_that_is_refused_fails_the_run(
    deployment: Callable[..., Deployment], proxy: Proxy
) -> None:
    orders = deployment()
    proxy.refusing = True
    run = orders.run()
    assert run.state == "failed"
    assert run.tasks == {**dict.fromkeys(TASKS, "upstream_failed"), "wait_for_files": "failed"}


@pytest.fixture
def airbyte(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirbyteServer]:
    """An Airbyte that sends the orders."""
    with run_airbyte() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        server.add_connection("shopify", ["orders"])
        yield server


def test_a_run_waits_for_the_sync_whose_files_it_has_seen(
    deployment: Callable[..., Deployment], airbyte: AirbyteServer
) -> None:
    orders = deployment(wait_for_sync=True)
    orders.drop(FILES[0])
    job = airbyte.add_job()

    def go_on_and_end() -> None:
        while len(airbyte.calls("jobs/list")) < 2:
            time.sleep(0.05)
        orders.drop(FILES[1])
        job["statuses"] = ["succeeded"]

    writer = threading.Thread(target=go_on_and_end, daemon=True)
    writer.start()
    run = orders.run()
    writer.join()

    assert run.state == "success"
    assert run.tasks == dict.fromkeys({*TASKS, "wait_for_sync"}, "success")
    assert run.events[0]["files"] == 2


def test_a_sync_that_goes_on_too_long_lands_in_a_later_run(
    deployment: Callable[..., Deployment], airbyte: AirbyteServer
) -> None:
    orders = deployment(wait_for_sync=True, timeout_seconds=1)
    orders.drop(FILES[0])
    airbyte.add_job()
    late = orders.run()
    assert late.state == "success"
    assert late.tasks == {
        **dict.fromkeys(TASKS, "skipped"), "wait_for_files": "success", "wait_for_sync": "skipped",
    }  # fmt: skip
    airbyte.jobs.clear()
    assert orders.run().events[0]["files"] == 1


def test_an_airbyte_that_refuses_fails_the_run_that_waits_for_it(
    deployment: Callable[..., Deployment],
    airbyte: AirbyteServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRBYTE_CLIENT_SECRET", "wrong")
    orders = deployment(wait_for_sync=True)
    orders.drop(FILES[0])
    run = orders.run()
    assert (run.state, run.tasks["wait_for_sync"]) == ("failed", "failed")
    assert "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET" in "".join(capfd.readouterr())


def _parquet(table: pa.Table) -> bytes:
    buffer = BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
