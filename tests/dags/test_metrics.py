"""The metrics of streams reach a collector of OpenTelemetry as Airflow's own do."""

from __future__ import annotations

import atexit
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk._shared.observability.metrics.otel_logger import flush_otel_metrics
from airflow.sdk.observability.metrics.otel_logger import get_otel_logger
from opentelemetry import metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from lotus_lake.lake.session import conflict_listeners
from tests.dags.conftest import PROJECT
from tests.dags.test_runs import FILES, Deployment, deployment

__all__ = ["deployment"]
pytestmark = pytest.mark.usefixtures("known_dags")

HOLD = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], isolation_level=None) as catalog:
    catalog.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.read()
    catalog.execute("ROLLBACK")
"""
GRAFANA = PROJECT / "deploy" / "grafana"


class _Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportMetricsServiceRequest.FromString(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collected(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], dict[tuple[str, str], float]]]:
    """The newest value of each metric of ours that a collector has, by name and tag."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        server.requests = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        # As `stats.initialize` does; other tests of this process get back what they had.
        for name, value in (
            ("_factory", get_otel_logger), ("_backend", None), ("_export_legacy_names", False)
        ):  # fmt: skip
            monkeypatch.setattr(stats, name, value)

        def read() -> dict[tuple[str, str], float]:
            metrics.get_meter_provider().force_flush()  # type: ignore[attr-defined]
            return {
                # A collector calls a counter so for Prometheus.
                (
                    f"{metric.name}.total" if metric.HasField("sum") else metric.name,
                    point.attributes[0].value.string_value,
                ): (point.as_double or float(point.as_int))
                for request in server.requests  # type: ignore[attr-defined]
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                for point in (*metric.gauge.data_points, *metric.sum.data_points)
                if ".lotus_lake." in metric.name
            }

        yield read
        metrics.get_meter_provider().shutdown()  # type: ignore[attr-defined]
        atexit.unregister(flush_otel_metrics)
        server.shutdown()


def test_the_state_of_each_stream_reaches_the_collector(
    deployment: Callable[..., Deployment],
    collected: Callable[[], dict[tuple[str, str], float]],
) -> None:
    deployed = deployment()
    deployed.drop(FILES[0])
    deployed.put("broken.parquet", b"not Parquet at all")
    assert deployed.run("lake_reconcile").state == "success"
    assert deployed.run("lake_maintenance").state == "success"
    with another_writer(deployed):
        deployed.drop(FILES[1])
        assert deployed.run("lake_reconcile").state == "success"
    assert deployed.run("lake_alerts").state == "success"
    found = collected()
    of_stream = {
        name.removeprefix("airflow.lotus_lake.stream."): value
        for (name, tag), value in found.items()
        if tag == "shopify__orders"
    }
    assert of_stream["level"] == 2
    assert of_stream["quarantined_files"] == 1
    assert of_stream["waiting_files"] == 0
    assert of_stream["rows_today"] > 0
    assert 0 <= of_stream["seconds_since_landing"] < 600
    assert of_stream["landed_files"] == 2
    assert of_stream["landed_rows"] == FILES[0].row_count + FILES[1].row_count
    assert found["airflow.lotus_lake.model.unread_files", "int_shopify__orders"] == 2
    assert found["airflow.lotus_lake.commit_conflicts.total", "lake_reconcile"] == 1
    of_upkeep = {
        (name.removeprefix("airflow.lotus_lake.upkeep."), tag): value
        for (name, tag), value in found.items()
        if ".upkeep." in name
    }
    assert {tag for _, tag in of_upkeep} == {
        "expire_snapshots", "delete_files", "compact_tables", "find_orphans", "statistics",
        "report",
    }  # fmt: skip
    assert of_upkeep["failed", "delete_files"] == of_upkeep["files_deleted", "delete_files"] == 0
    assert 0 < of_upkeep["seconds", "compact_tables"] < 600
    assert {"files_before", "files_after"} <= {name for name, _ in of_upkeep}
    # What the dashboard and the rules ask for is there, under the names that a collector gives it.
    names = {name.replace(".", "_") for name, _ in found}
    for file in (GRAFANA / "dashboard.json", GRAFANA / "rules.yaml"):
        asked = set(re.findall(r"airflow_lotus_lake_\w+", file.read_text()))
        assert asked
        assert asked <= names


def test_a_step_of_upkeep_that_failed_is_a_gauge_until_it_succeeds(
    deployment: Callable[..., Deployment],
    collected: Callable[[], dict[tuple[str, str], float]],
) -> None:
    deployed = deployment()
    assert deployed.run("lake_reconcile").state == "success"
    foreign = [
        Path(deployed.settings.data_path, "main", f"ducklake-{uuid4()}.parquet") for _ in range(20)
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of another lake")
        os.utime(path, (0, 0))
    for share, failed in ((0, 1), (1, 0)):
        deployed.run("lake_maintenance", orphan_share=share)
        deployed.run("lake_alerts")
        assert collected()["airflow.lotus_lake.upkeep.failed", "find_orphans"] == failed


@contextmanager
def another_writer(deployed: Deployment) -> Iterator[None]:
    """Somebody who holds the catalog until the first commit has met them."""
    # Locks of SQLite are those of processes.
    command = [sys.executable, "-c", HOLD, deployed.settings.catalog.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        conflict_listeners.append(lambda: other.communicate() and None)
        yield
        conflict_listeners.pop()
        assert other.returncode == 0


def test_the_dashboard_is_json_that_names_no_data_source_of_its_own() -> None:
    dashboard = json.loads(Path(GRAFANA / "dashboard.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${source}"}
