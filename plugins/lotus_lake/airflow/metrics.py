"""Metrics of every stream, exported as Airflow exports its own: OpenTelemetry or StatsD.

Gauges, each with the tag `stream` or `model`, and `airflow.` before its name. Where Airflow's
metrics are off, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from airflow.sdk.observability.stats import gauge

from lotus_lake.observe.enriched import EnrichedStatus
from lotus_lake.observe.overview import Overview, StreamOverview
from lotus_lake.observe.states import Level

_PREFIX = "lotus_lake"
_LEVELS: Mapping[Level, int] = {"off": 0, "ok": 0, "warning": 1, "error": 2}

Metric = tuple[str, float, dict[str, str]]


def send_metrics(overview: Overview) -> None:
    """Set the gauges of all streams and tables."""
    for stream in overview.streams:
        _send(_metrics(stream, overview.at))
    for table in overview.enriched:
        _send(_of_table(table.status, overview.at))


def _send(metrics: Iterator[Metric]) -> None:
    for name, value, tags in metrics:
        gauge(f"{_PREFIX}.{name}", value, tags=tags)


def _of_table(status: EnrichedStatus, now: datetime) -> Iterator[Metric]:
    tags = {"model": status.model}
    yield "model.level", _LEVELS[status.verdict.level], tags
    if status.built_at:
        yield "model.seconds_since_build", _age(status.built_at, now), tags


def _metrics(stream: StreamOverview, now: datetime) -> Iterator[Metric]:
    status, tags = stream.status, {"stream": stream.stream_id}
    yield "stream.level", _LEVELS[stream.verdict.level], tags
    yield "stream.waiting_files", status.waiting, tags
    yield "stream.waiting_bytes", status.waiting_bytes, tags
    yield "stream.waiting_seconds", _age(status.oldest_waiting_at, now), tags
    yield "stream.quarantined_files", status.quarantined, tags
    yield "stream.missing_files", status.missing, tags
    yield "stream.rows_today", stream.rows_today, tags
    if status.last_landed_at:
        yield "stream.seconds_since_landing", _age(status.last_landed_at, now), tags
    for model in stream.models:
        tags = {"model": model.model}
        yield "model.unread_files", model.files, tags
        yield "model.unread_seconds", _age(model.unread_since, now), tags


def _age(at: datetime | None, now: datetime) -> float:
    """Seconds since a moment; 0 without one."""
    return max(0.0, (now - at).total_seconds()) if at else 0.0
