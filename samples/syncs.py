"""The syncs of a history: when Airbyte ran, what it read, and the files it wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from samples.parts import Part, Row, raw_id
from samples.timeline import Clock, Timeline, Version, read

STREAMS = {
    "shopify": ("orders", "customers", "order_refunds"),
    "klaviyo": ("profiles", "events", "campaigns", "flows", "lists", "metrics"),
}
"""The streams of each connection, in the order in which a sync reads them."""

FIRST_RUN = {"shopify": timedelta(minutes=10), "klaviyo": timedelta(hours=3, minutes=25)}
RUNS_A_DAY = 4
FIRST_SYNC_ID = 48_210
ROWS_PER_PART = 250
ROWS_PER_PAGE = 40
DRIFT_DAY = 3

World = dict[tuple[str, str], Sequence[Timeline]]


@dataclass(frozen=True, slots=True)
class Job:
    """One sync of a connection; `day` and `run` say where in the timetable it stands."""

    sync_id: int
    source: str
    day: int
    run: int
    started_at: datetime

    @property
    def drifted(self) -> bool:
        """Whether the connection already knows the new fields."""
        return self.day >= DRIFT_DAY


def timetable(clock: Clock) -> list[Job]:
    """Return the regular jobs of both connections, oldest first; their ids leave gaps."""
    slots = [
        (clock.at(day) + first + run * timedelta(hours=24 // RUNS_A_DAY), source, day, run)
        for source, first in FIRST_RUN.items()
        for day in range(clock.days)
        for run in range(RUNS_A_DAY)
    ]
    return [
        Job(FIRST_SYNC_ID + 2 * position, source, day, run, started_at)
        for position, (started_at, source, day, run) in enumerate(sorted(slots))
    ]


def emit(rng: Random, versions: Sequence[Version], started_at: datetime) -> list[Row]:
    """Turn what was read into rows: a page of the API shares one millisecond of extraction."""
    rows = []
    moment = started_at
    for position, version in enumerate(versions):
        if position % ROWS_PER_PAGE == 0:
            moment += timedelta(milliseconds=rng.randint(300, 1200))
        rows.append(Row(raw_id(rng, moment), moment, version))
    return rows


def write(
    rng: Random, job: Job, stream: str, rows: Sequence[Row], rows_per_part: int = ROWS_PER_PART
) -> list[Part]:
    """Cut rows into parts, each written some seconds after its last row; no rows, no part."""
    parts: list[Part] = []
    earliest = job.started_at
    for first in range(0, len(rows), rows_per_part):
        chosen = tuple(rows[first : first + rows_per_part])
        earliest = max(earliest, *(row.extracted_at for row in chosen)) + timedelta(
            milliseconds=rng.randint(9_000, 40_000)
        )
        parts.append(
            Part(
                job.source,
                stream,
                job.sync_id,
                job.started_at,
                earliest,
                chosen,
                drifted=job.drifted,
            )
        )
    return parts


def read_stream(
    rng: Random, world: World, job: Job, stream: str, after: datetime
) -> tuple[list[Row], datetime]:
    """Read one stream in a job; return its rows and the moment up to which they were read."""
    position = STREAMS[job.source].index(stream)
    until = job.started_at + timedelta(seconds=15 + 40 * position)
    return emit(rng, read(world[job.source, stream], after, until), until), until
