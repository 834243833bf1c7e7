"""All streams and enriched tables, each with state and reason: for `status` and the Lake page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from lotus_lake.config.streams import Stream, StreamFile, stream_files
from lotus_lake.errors import StreamConfigError
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.acknowledgements import Acknowledgement, read_acknowledged
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import watermarks
from lotus_lake.observe.backlog import growing_streams
from lotus_lake.observe.balance import read_unbalanced
from lotus_lake.observe.enriched import EnrichedStatus, read_enriched
from lotus_lake.observe.states import Finding, Verdict, acknowledge, find, judge
from lotus_lake.observe.status import StreamStatus, read_status
from lotus_lake.project.manifest import Model, built_models, processed_models

# Whole days before today whose median is the usual.
USUAL_DAYS = 7


@dataclass(frozen=True, slots=True)
class ModelLag:
    """How far a processed model is behind its landing table.

    Attributes:
        model: Its name.
        files: Landed files that it has not read.
        unread_since: When the first of them landed.
    """

    model: str
    files: int = 0
    unread_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class StreamOverview:
    """A stream at a glance.

    Attributes:
        stream_id: Id of its Dag.
        verdict: How it is.
        status: Where it stands.
        rows_today: Rows that have landed since midnight UTC.
        rows_usual: Median of the rows that landed in each of the last seven whole days; days before
            the first landing do not count, and without a day there is none.
        models: Lag of each processed model.
        schedule: Its Dag's schedule; `None` without a config.
        findings: What a person has to look at, the worst first.
        acknowledged: Who has seen the stream last; `None` if that is over, or nobody has.
    """

    stream_id: str
    verdict: Verdict
    status: StreamStatus
    rows_today: int = 0
    rows_usual: float | None = None
    models: tuple[ModelLag, ...] = ()
    schedule: str | None = None
    findings: tuple[Finding, ...] = ()
    acknowledged: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class EnrichedOverview:
    """An enriched model, with the domain whose Dag builds it and what it is built from."""

    domain: str
    status: EnrichedStatus
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything, as of a moment."""

    at: datetime
    streams: tuple[StreamOverview, ...]
    enriched: tuple[EnrichedOverview, ...] = ()

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """How everything is: streams by the id of their Dag, enriched tables by name."""
        streams = {stream.stream_id: stream.verdict for stream in self.streams}
        return streams | {table.status.model: table.status.verdict for table in self.enriched}


def read_overview(lake: Lake, now: datetime | None = None) -> Overview:
    """All streams and enriched tables.

    A config that cannot be read makes its own stream broken, and no other one.

    Args:
        lake: Open lake; read-only will do.
        now: The time by which a stream is late or stuck; this moment by default.
    """
    now = now or datetime.now(UTC)
    models = built_models(lake.settings.project_dir)
    enriched = {model.name: model for model in models.values() if model.layer == "enriched"}
    return Overview(
        now,
        tuple(read_streams(lake, models, now)),
        tuple(
            EnrichedOverview(enriched[status.model].folder, status, enriched[status.model].parents)
            for status in read_enriched(lake, models, now)
        ),
    )


def read_streams(lake: Lake, models: Mapping[str, Model], now: datetime) -> list[StreamOverview]:
    """Every stream that has a config or was ever fed, in order."""
    streams, broken = _configs(lake)
    by_name = {f"{stream.source}/{stream.name}": stream for stream in streams}
    statuses = {status.stream: status for status in read_status(lake, streams, models)}
    for name in broken:
        statuses.setdefault(name, StreamStatus(name, configured=False))
    rows, lags = _daily_rows(lake, now), _lags(lake, streams, models)
    unbalanced = read_unbalanced(lake, streams)
    waiting = [name for name, status in statuses.items() if status.waiting]
    growing, seen = growing_streams(lake, waiting, now), read_acknowledged(lake)
    overviews = []
    for name, status in sorted(statuses.items()):
        stream = by_name.get(name)
        feeder = stream.feeder if stream else None
        found = find(
            status,
            feeder,
            now=now,
            patience_seconds=_patience(lake, stream),
            config_error=broken.get(name),
            unbalanced=unbalanced.get(name),
            is_growing=name in growing,
        )
        acknowledged = seen.get(name)
        if acknowledged:
            found = acknowledge(found, acknowledged)
        is_seen = acknowledged and any(one.is_acknowledged for one in found)
        today, usual = rows.get(name, (0, None))
        overviews.append(
            StreamOverview(
                name.replace("/", "__"),
                judge(found, status, feeder),
                status,
                today,
                usual,
                lags.get(name, ()),
                feeder.schedule if feeder else None,
                found,
                acknowledged.latest if acknowledged and is_seen else None,
            )
        )
    return overviews


def _patience(lake: Lake, stream: Stream | None) -> float:
    """Seconds after which what waits is stuck."""
    settles = stream.feeder.settle_seconds if stream and stream.overwrites else 0
    return lake.settings.task_timeout_seconds + settles


def _configs(lake: Lake) -> tuple[list[Stream], dict[str, str]]:
    """The selected streams, and what is wrong with the others' files."""
    streams, broken = [], {}
    folder = lake.settings.streams_dir
    for file in stream_files(folder) if folder.is_dir() else ():
        try:
            stream = file.load()
        except StreamConfigError as error:
            broken[_name(file)] = str(error)
        else:
            streams += [stream] if stream.config.selected else []
    return streams, broken


def _name(stream: Stream | StreamFile) -> str:
    return f"{stream.source}/{stream.name}"


def _daily_rows(lake: Lake, now: datetime) -> dict[str, tuple[int, float | None]]:
    """Rows of today, and of a usual day, of each stream."""
    if not was_fed(lake):
        return {}
    days: dict[str, dict[int, int]] = {}
    for source, stream, ago, rows in lake.rows(
        f"""
        SELECT source, stream, least(?::DATE - recorded_at::DATE, ?) AS ago,
               coalesce(sum(row_count), 0)::BIGINT
        FROM {META}.file_events WHERE event IN {LANDED_SQL} GROUP BY ALL
        """,
        [now.astimezone(UTC).date(), USUAL_DAYS + 1],
    ):
        days.setdefault(f"{source}/{stream}", {})[ago] = rows
    return {name: (found.get(0, 0), _usual(found)) for name, found in days.items()}


def _usual(days: Mapping[int, int]) -> float | None:
    known = range(1, min(max(days), USUAL_DAYS) + 1)
    return median(days.get(ago, 0) for ago in known) if known else None


def _lags(
    lake: Lake, streams: Sequence[Stream], models: Mapping[str, Model]
) -> dict[str, tuple[ModelLag, ...]]:
    """The lag of each model of each stream."""
    readers = {
        model.name: stream for stream in streams for model in processed_models(models, stream.id)
    }
    lags = {model: ModelLag(model) for model in readers}
    if readers and was_fed(lake):
        marks = watermarks(lake, list(readers))
        for model, files, since in lake.rows(_LAGS, _columns(readers, marks)):
            lags[model] = replace(lags[model], files=files, unread_since=since)
    found: dict[str, tuple[ModelLag, ...]] = {}
    for model, stream in readers.items():
        found[_name(stream)] = (*found.get(_name(stream), ()), lags[model])
    return found


def _columns(readers: Mapping[str, Stream], marks: Mapping[str, int]) -> list[list[Any]]:
    return [
        list(readers),
        [stream.source for stream in readers.values()],
        [stream.name for stream in readers.values()],
        [marks[model] for model in readers],
    ]


_LAGS = f"""
WITH marks AS (
    SELECT unnest(?::VARCHAR[]) AS model, unnest(?::VARCHAR[]) AS source,
           unnest(?::VARCHAR[]) AS stream, unnest(?::BIGINT[]) AS mark
)
SELECT model, count(*), min(updated_at)
FROM {META}.feeder_files JOIN marks USING (source, stream)
WHERE event IN {LANDED_SQL} AND snapshot_id > mark GROUP BY model
"""
