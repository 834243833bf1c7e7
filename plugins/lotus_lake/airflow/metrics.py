"""Metrics of every stream, exported as Airflow exports its own: OpenTelemetry or StatsD.

Gauges, each with the tag `stream`, `model` or `task`, and `airflow.` before its name. Where
Airflow's metrics are off, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context, Variable
from airflow.sdk.observability.stats import gauge

from lotus_lake.observe.enriched import EnrichedStatus
from lotus_lake.observe.overview import Overview, StreamOverview
from lotus_lake.observe.states import Level

_PREFIX = "lotus_lake"
# Airflow variable: what each task of upkeep has reported last. A metric that is sent once a day has
# been forgotten by most collectors before somebody looks.
_UPKEEP = "lake_upkeep"
_LEVELS: Mapping[Level, int] = {"off": 0, "ok": 0, "warning": 1, "error": 2}

Metric = tuple[str, float, dict[str, str]]


def send_metrics(overview: Overview) -> None:
    """Set the gauges of all streams and tables."""
    for stream in overview.streams:
        _send(_metrics(stream, overview.at))
    for table in overview.enriched:
        _send(_of_table(table.status, overview.at))


def keep_figures(context: Context) -> None:
    """Callback of tasks of upkeep that have succeeded: keep what they have reported."""
    instance, now = context["ti"], datetime.now(UTC)
    result = instance.xcom_pull(task_ids=instance.task_id) or {}
    kept = Variable.get(_UPKEEP, default={}, deserialize_json=True)
    kept[instance.task_id] = {
        "at": now.isoformat(),
        "seconds": _age(instance.start_date, now),
        "figures": {name: value for name, value in result.items() if isinstance(value, int)},
    }
    Variable.set(_UPKEEP, kept, serialize_json=True)


def send_upkeep(failed: set[str], now: datetime) -> None:
    """Set the gauges of upkeep.

    Args:
        failed: Ids of the tasks of upkeep that have failed, and have not succeeded since.
        now: The time.
    """
    kept = Variable.get(_UPKEEP, default={}, deserialize_json=True)
    for task_id in sorted({*kept, *failed}):
        _send(_of_upkeep(task_id, kept.get(task_id), now, has_failed=task_id in failed))


def _send(metrics: Iterator[Metric]) -> None:
    for name, value, tags in metrics:
        gauge(f"{_PREFIX}.{name}", value, tags=tags)


def _of_table(status: EnrichedStatus, now: datetime) -> Iterator[Metric]:
    tags = {"model": status.model}
    yield "model.level", _LEVELS[status.verdict.level], tags
    if status.built_at:
        yield "model.seconds_since_build", _age(status.built_at, now), tags


def _of_upkeep(
    task_id: str, kept: Mapping[str, Any] | None, now: datetime, *, has_failed: bool
) -> Iterator[Metric]:
    tags = {"task": task_id}
    yield "upkeep.failed", int(has_failed), tags
    if kept:
        yield "upkeep.seconds", kept["seconds"], tags
        yield "upkeep.seconds_since", _age(datetime.fromisoformat(kept["at"]), now), tags
        for name, value in kept["figures"].items():
            yield f"upkeep.{name}", value, tags


def _metrics(stream: StreamOverview, now: datetime) -> Iterator[Metric]:
    status, tags = stream.status, {"stream": stream.stream_id}
    yield "stream.level", _level(stream), tags
    yield "stream.waiting_files", status.waiting, tags
    yield "stream.waiting_bytes", status.waiting_bytes, tags
    yield "stream.waiting_seconds", _age(status.oldest_waiting_at, now), tags
    yield "stream.quarantined_files", status.quarantined, tags
    yield "stream.missing_files", status.missing, tags
    yield "stream.landed_files", status.landed, tags
    yield "stream.landed_rows", status.rows, tags
    yield "stream.rows_today", stream.rows_today, tags
    if status.last_landed_at:
        yield "stream.seconds_since_landing", _age(status.last_landed_at, now), tags
    for model in stream.models:
        tags = {"model": model.model}
        yield "model.unread_files", model.files, tags
        yield "model.unread_seconds", _age(model.unread_since, now), tags


def _level(stream: StreamOverview) -> int:
    """How bad what nobody has acknowledged is; nothing, if the stream is off."""
    unseen = (one.verdict.level for one in stream.findings if not one.is_acknowledged)
    return max(map(_LEVELS.__getitem__, unseen), default=0)


def _age(at: datetime | None, now: datetime) -> float:
    """Seconds since a moment; 0 without one."""
    return max(0.0, (now - at).total_seconds()) if at else 0.0
