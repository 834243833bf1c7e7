"""The unusual files of a history, made out of ordinary syncs.

Each function takes the parts that a regular sync of one stream wrote, and returns those that appear
instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from samples.parts import Part, Row, raw_id
from samples.syncs import FIRST_RUN, FIRST_SYNC_ID, RUNS_A_DAY, Job, World, emit, write
from samples.timeline import Clock, Version, read

Rewrite = Callable[[Random, World, Job, list[Part]], list[Part]]

BACKFILL_PARTS = 12


def catch_up(rng: Random, clock: Clock, archived: Sequence[Version], world: World) -> list[Part]:
    """Return the files of a second connection that starts at 23:55 and writes until next morning.

    Its first file appears at once. The second and third follow only after the next day's first
    sync, into the folder of the day before: archived orders, which nobody else reads, and states of
    recent orders that are older than what that sync brought.
    """
    sync_id = FIRST_SYNC_ID + 2 * len(FIRST_RUN) * 2 * RUNS_A_DAY - 1
    job = Job(sync_id, "shopify", 1, RUNS_A_DAY, clock.at(1, 23, 55))
    recent = read(world["shopify", "orders"], clock.at(1, 12), job.started_at)
    in_time = [version for version in recent if version.at < clock.at(1, 18)]
    pieces = (
        (in_time, clock.at(1, 23, 58), "catch_up_in_time"),
        (archived, clock.at(2, 2, 41), "late_file"),
        (recent[len(in_time) :], clock.at(2, 3, 7), "late_file"),
    )
    parts = []
    for number, (versions, moment, scenario) in enumerate(pieces):
        rows = emit(rng, versions, job.started_at + timedelta(seconds=20 + 10 * number))
        written = write(rng, job, "orders", rows, max(1, len(rows)))
        parts += [replace(part, written_at=moment, scenario=scenario) for part in written]
    return parts


def _backfill(rng: Random, world: World, job: Job, parts: list[Part]) -> list[Part]:
    """Twelve parts or more, written out of step: part_10 appears before part_9."""
    rows = [row for part in parts for row in part.rows]
    fresh = write(
        rng, job, "orders", rows, min(-(-len(rows) // BACKFILL_PARTS), len(parts[0].rows))
    )
    for early, late in ((10, 9), (3, 2), (7, 5)):
        first, second = fresh[late].written_at, fresh[early].written_at
        fresh[early] = replace(fresh[early], written_at=first)
        fresh[late] = replace(fresh[late], written_at=second)
    return [replace(part, scenario="backfill") for part in fresh]


def _retried_attempt(rng: Random, world: World, job: Job, parts: list[Part]) -> list[Part]:
    """A first attempt uploads two thirds and fails; the next starts again from a checkpoint."""
    rows = [row for part in parts for row in part.rows]
    failed = rows[: -(-len(rows) * 2 // 3)]
    checkpoint = len(rows) // 3
    delay = timedelta(minutes=21)
    repeated = [
        Row(raw_id(rng, row.extracted_at + delay), _retried_at(row, position, delay), row.version)
        for position, row in enumerate(rows[checkpoint:])
    ]
    again = write(rng, replace(job, started_at=job.started_at + delay), "orders", repeated)
    first = [replace(part, scenario="failed_attempt") for part in write(rng, job, "orders", failed)]
    return first + [replace(part, scenario="retried_attempt") for part in again]


def _retried_at(row: Row, position: int, delay: timedelta) -> datetime:
    """Every second row is not read again and keeps the moment of the first reading."""
    return row.extracted_at if position % 2 == 0 else row.extracted_at + delay


def _two_states_in_one_millisecond(
    rng: Random, world: World, job: Job, parts: list[Part]
) -> list[Part]:
    """An order changes while it is read: both states share a millisecond, the newer lands first.

    The older state has the greater raw id, so that the source's `updated_at` has to decide first.
    """
    rows = [row for part in parts for row in part.rows]
    final = {timeline[-1].record["id"]: timeline[-1] for timeline in world["shopify", "orders"]}
    position = next(
        n for n, row in enumerate(rows) if row.version is final[row.version.record["id"]]
    )
    current = rows[position]
    moment = current.version.at - timedelta(seconds=3)
    patch = {
        "updated_at": moment,
        "financial_status": "authorized",
        "fulfillment_status": "partial",
    }
    before = Version(moment, current.version.record | patch)
    smaller, greater = sorted([current.raw_id, raw_id(rng, current.extracted_at)])
    rows[position] = replace(current, raw_id=smaller)
    older = Row(greater, current.extracted_at, before)
    newer_first = write(rng, job, "orders", rows[: position + 1])
    shift = newer_first[-1].written_at - job.started_at
    older_last = [
        replace(part, written_at=part.written_at + shift)
        for part in write(rng, job, "orders", [older, *rows[position + 1 :]])
    ]
    return [replace(part, scenario="same_millisecond") for part in newer_first + older_last]


def _twin_update(rng: Random, world: World, job: Job, parts: list[Part]) -> list[Part]:
    """A customer changes twice in one second: only the raw id tells the rows apart.

    The greater raw id, which wins, lands first.
    """
    rows = [row for part in parts for row in part.rows]
    position = next(n for n, row in enumerate(rows) if row.version.record["tags"] == "first of two")
    twin = rows[position]
    smaller, greater = sorted([twin.raw_id, raw_id(rng, twin.extracted_at)])
    rows[position] = replace(twin, raw_id=greater)
    record = twin.version.record | {"tags": "second of two"}
    second = Row(smaller, twin.extracted_at, Version(twin.version.at, record))
    first = write(rng, job, "customers", rows)
    extra = write(rng, job, "customers", [second])[0]
    later = replace(extra, written_at=first[-1].written_at + timedelta(seconds=20))
    return [replace(part, scenario="same_update_twice") for part in [*first, later]]


def _erased_customers(rng: Random, world: World, job: Job, parts: list[Part]) -> list[Part]:
    """Erased customers come in a file of their own: nothing but ids and dates of change."""
    rows = [row for part in parts for row in part.rows]
    erased = [row for row in rows if row.version.record["email"] is None]
    others = write(rng, job, "customers", [row for row in rows if row not in erased])
    return [
        replace(part, scenario="nulls") for part in write(rng, job, "customers", erased)
    ] + others


def _shown(scenario: str) -> Rewrite:
    """Leave the parts as they are and say what they show."""

    def label(rng: Random, world: World, job: Job, parts: list[Part]) -> list[Part]:
        return [replace(part, scenario=scenario) for part in parts]

    return label


def _no_rows(rng: Random, world: World, job: Job, parts: list[Part]) -> list[Part]:
    """A file with a schema and not a single row."""
    empty = Part(
        job.source,
        "flows",
        job.sync_id,
        job.started_at,
        job.started_at + timedelta(minutes=6),
        (),
        job.drifted,
        "zero_rows",
    )
    return [*parts, empty]


REWRITES: dict[tuple[str, int, int], Rewrite] = {
    ("orders", 0, 0): _backfill,
    ("orders", 2, 2): _retried_attempt,
    ("orders", 3, 2): _two_states_in_one_millisecond,
    ("customers", 2, 2): _shown("nulled_value"),
    ("customers", 2, 3): _twin_update,
    ("customers", 3, 1): _erased_customers,
    ("order_refunds", 1, 2): _shown("refunded_twice"),
    ("order_refunds", 3, 3): _shown("refunded_twice"),
    ("flows", 1, 1): _no_rows,
}
"""What is rewritten: the stream, the day, and the run of that day."""
