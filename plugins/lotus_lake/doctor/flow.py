"""Checks of the flow: nothing waits for long, and models read what has landed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lotus_lake.config.streams import Stream
from lotus_lake.doctor.findings import Result, ok, problem, skipped, some_of
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.watermarks import watermarks
from lotus_lake.observe.status import StreamStatus, read_status
from lotus_lake.project.manifest import Model, processed_models
from lotus_lake.quantities import readable_bytes

PATIENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class View:
    """Where every stream stands.

    Attributes:
        statuses: All streams.
        marks: The snapshot up to which each processed model has read; -1 if it never ran.
    """

    statuses: tuple[StreamStatus, ...]
    marks: Mapping[str, int]

    @classmethod
    def of(cls, lake: Lake, streams: tuple[Stream, ...], models: Mapping[str, Model]) -> View:
        """Read it."""
        names = [model.name for stream in streams for model in processed_models(models, stream.id)]
        return cls(tuple(read_status(lake, streams, models)), watermarks(lake, names))


def nothing_waits_for_long(view: View) -> Result:
    """No file has been in the queue for more than a day."""
    late = [
        f"{status.stream} ({status.waiting} files, {readable_bytes(status.waiting_bytes)})"
        for status in view.statuses
        if _is_long_ago(status.oldest_waiting_at)
    ]
    if late:
        return problem(
            f"files have been waiting for more than a day: {some_of(late)}",
            hint="check whether the Dag is paused or red; `lotus-lake feed SOURCE STREAM` feeds "
            "them now",
        )
    return ok(f"{sum(status.waiting for status in view.statuses)} files wait")


def models_read_what_has_landed(view: View) -> Result:
    """No model is more than a day behind; files that it has not read are never retired."""
    if not view.marks:
        return skipped("the dbt manifest has no model that reads a stream")
    stopped = [
        f"{status.slowest_model} ({status.lag_files} files of {status.stream}"
        f"{', it never ran' if view.marks.get(status.slowest_model or '') == -1 else ''})"
        for status in view.statuses
        if _is_long_ago(status.unread_since)
    ]
    if stopped:
        return problem(
            f"models have read nothing for more than a day: {some_of(stopped)}",
            hint="check the task `processed` of the stream's Dag, or run `dbt build` in "
            "include/dbt",
        )
    idle = sum(mark == -1 for mark in view.marks.values())
    return ok(f"{len(view.marks)} models{f', {idle} of them never ran' if idle else ''}")


def _is_long_ago(at: datetime | None) -> bool:
    return at is not None and datetime.now(UTC) - at > PATIENCE


CHECKS = (nothing_waits_for_long, models_read_what_has_landed)
