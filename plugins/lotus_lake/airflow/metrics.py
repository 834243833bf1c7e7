"""Metrics of every stream, exported as Airflow exports its own: OpenTelemetry or StatsD.

Gauges, each with the tag `stream` or `model`, and `airflow.` before its name. Where Airflow's
metrics are off, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from airflow.sdk.observability.stats import gauge

from lotus_lake.observe.overview import StreamOverview
from lotus_lake.observe.states import Level

_PREFIX = "lotus_lake"
_LEVELS: Mapping[Level, int] = {"off": 0, "ok": 0, "warning": 1, "error": 2}

Metric = tuple[str, float, dict[str, str]]


def send_metrics(streams: Sequence[StreamOverview], now: datetime) -> None:
    """Set the gauges.

    Args:
        streams: How the streams are.
        now: When that was.
    """
    for stream in streams:
        for name, value, tags in _metrics(stream, now):
            gauge(f"{_PREFIX}.{name}", value, tags=tags)


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
