"""The metrics of streams reach a collector of OpenTelemetry as Airflow's own do."""

from __future__ import annotations

import atexit
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk._shared.observability.metrics.otel_logger import flush_otel_metrics
from airflow.sdk.observability.metrics.otel_logger import get_otel_logger
from opentelemetry import metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.dags.conftest import PROJECT
from tests.dags.test_runs import FILES, Deployment, deployment

__all__ = ["deployment"]
pytestmark = pytest.mark.usefixtures("known_dags")

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
    """The newest value of each gauge of ours that a collector has, by name and tag."""
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
                (metric.name, point.attributes[0].value.string_value): (
                    point.as_double or float(point.as_int)
                )
                for request in server.requests  # type: ignore[attr-defined]
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                for point in metric.gauge.data_points
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
    deployed.drop(FILES[1])
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
    assert found["airflow.lotus_lake.model.unread_files", "int_shopify__orders"] == 1
    # What the dashboard and the rules ask for is there, under the names that a collector gives it.
    names = {name.replace(".", "_") for name, _ in found}
    for file in (GRAFANA / "dashboard.json", GRAFANA / "rules.yaml"):
        asked = set(re.findall(r"airflow_lotus_lake_\w+", file.read_text()))
        assert asked
        assert asked <= names


def test_the_dashboard_is_json_that_names_no_data_source_of_its_own() -> None:
    dashboard = json.loads(Path(GRAFANA / "dashboard.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${source}"}
