"""People are alerted once when a stream needs one, and once when it no longer does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.airflow.alerts import notifiers
from lotus_lake.config.streams import find_stream
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META
from lotus_lake.operations import Acknowledge, carry_out
from lotus_lake.repair.quarantine import drop
from tests.dags.conftest import AIRFLOW_HOME
from tests.dags.test_runs import FILES, Deployment, deployment

__all__ = ["deployment"]
pytestmark = pytest.mark.usefixtures("known_dags")

ALERTS, RECONCILE = "lake_alerts", "lake_reconcile"


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the notifier was told since the last look."""
    path = tmp_path / "notes.txt"
    note = {"notifier": "tests.dags.notes.Note", "path": str(path), "text": "{{ alert.text }}"}
    monkeypatch.setenv("LAKE_NOTIFIERS", json.dumps([note]))

    def read() -> list[str]:
        told = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return told

    return read


def test_a_change_of_state_is_told_once_and_so_is_its_end(
    deployment: Callable[..., Deployment], notes: Callable[[], list[str]]
) -> None:
    deployed = deployment()
    assert deployed.run(ALERTS).state == "success"  # nothing was ever fed
    deployed.drop(FILES[0])
    deployed.put("broken.parquet", b"not Parquet at all")
    assert deployed.run(RECONCILE).state == "success"
    assert notes() == []
    deployed.run(ALERTS)
    assert notes() == ["shopify__orders is broken: 1 file in quarantine"]
    # A run that a person triggers has no logical date, and finds none of those before.
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database, database:
        database.execute("DELETE FROM xcom")
    deployed.run(ALERTS)
    assert notes() == []
    with open_lake(deployed.settings) as lake:
        stream = find_stream(deployed.settings.streams_dir, "shopify", "orders")
        drop(lake, stream, [deployed.key("broken.parquet")], "test")
    deployed.run(ALERTS)
    (told,) = notes()
    assert told.startswith("shopify__orders is fresh: ")


def test_rows_out_of_balance_are_told_once(
    deployment: Callable[..., Deployment], notes: Callable[[], list[str]]
) -> None:
    deployed = deployment()
    deployed.drop(*FILES[:2])
    assert deployed.run(RECONCILE).state == "success"
    deployed.run(ALERTS)
    assert notes() == []
    with open_lake(deployed.settings) as lake:
        lake.con.execute(
            f"CREATE TABLE {META}.kept AS SELECT * FROM {META}.file_events WHERE position = 1"
        )
        lake.con.execute(
            f"DELETE FROM {META}.file_events WHERE key IN (SELECT key FROM {META}.kept)"
        )
    deployed.run(ALERTS)
    assert notes() == ["shopify__orders is broken: 1 registration unknown to the ledger"]
    deployed.run(ALERTS)
    assert notes() == []


def test_what_somebody_has_seen_is_silent_until_there_is_more(
    deployment: Callable[..., Deployment], notes: Callable[[], list[str]]
) -> None:
    deployed = deployment()
    stream = find_stream(deployed.settings.streams_dir, "shopify", "orders")

    def acknowledge(*keys: str) -> None:
        with open_lake(deployed.settings) as lake:
            carry_out(lake, stream, Acknowledge("anna", keys), "test")

    deployed.put("broken.parquet", b"not Parquet at all")
    assert deployed.run(RECONCILE).state == "success"
    acknowledge()
    deployed.run(ALERTS)
    assert notes() == []
    deployed.put("worse.parquet", b"not Parquet either")
    assert deployed.run(RECONCILE).state == "success"
    deployed.run(ALERTS)
    assert notes() == ["shopify__orders is broken: 2 files in quarantine"]
    acknowledge(deployed.key("worse.parquet"))
    deployed.run(ALERTS)
    assert notes() == []
    deployed.put("worst.parquet", b"not Parquet, once more")
    assert deployed.run(RECONCILE).state == "success"
    deployed.run(ALERTS)
    assert notes() == ["shopify__orders is broken: 3 files in quarantine"]


def test_a_change_of_a_landing_table_is_told_once(
    deployment: Callable[..., Deployment], notes: Callable[[], list[str]]
) -> None:
    deployed = deployment()
    deployed.run(ALERTS)
    deployed.drop(FILES[0])
    deployed.put("wider.parquet", with_column(FILES[1].data, "{{ 7 * 7 }}"))
    assert deployed.run(RECONCILE).state == "success"
    deployed.run(ALERTS)
    key = deployed.key("wider.parquet")
    assert notes() == [
        f"shopify__orders has changed: {{{{ 7 * 7 }}}} BIGINT was added to the table for {key}"
    ]
    deployed.run(ALERTS)
    assert notes() == []


def test_upkeep_that_fails_is_told_once_and_so_is_its_end(
    deployment: Callable[..., Deployment], notes: Callable[[], list[str]]
) -> None:
    deployed, name = deployment(), "part_0.parquet"
    deployed.put(name, FILES[0].data)
    assert deployed.run(RECONCILE).state == "success"
    deployed.client.delete_object(Bucket=deployed.settings.bucket, Key=deployed.key(name))
    assert deployed.run(RECONCILE).state == "failed"
    (told,) = notes()
    what = "lake_reconcile.reconcile.shopify__orders"
    assert told.startswith(f"{what} is failed: 1 landed files have lost")
    assert deployed.run(RECONCILE).state == "failed"
    assert notes() == []
    assert deployed.run(RECONCILE, repair=True).state == "success"
    assert notes() == [f"{what} is fine again: it has succeeded"]
    assert deployed.run(RECONCILE).state == "success"
    assert notes() == []


def with_column(data: bytes, name: str) -> bytes:
    """A file with one more column."""
    table = pq.read_table(BytesIO(data))
    table = table.append_column(name, pa.array([1] * table.num_rows, pa.int64()))
    sink = BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "JSONDecodeError"),
        ('[{"text": "a"}]', "KeyError: 'notifier'"),
        ('[{"notifier": "no.such.Notifier"}]', "No module named 'no'"),
        ('[{"notifier": "tests.dags.notes.Note"}]', "missing 2 required"),
        ('[{"notifier": "pathlib.Path"}]', "is not a notifier of Airflow"),
        ('["tests.dags.notes.Note"]', "ValueError"),
    ],
)
def test_notifiers_that_cannot_be_made_are_an_error_with_an_example(
    monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.setenv("LAKE_NOTIFIERS", given)
    with pytest.raises(SettingsError, match=r"LAKE_NOTIFIERS: ") as caught:
        notifiers()
    assert said in str(caught.value)
    assert "slack_webhook_conn_id" in str(caught.value)
