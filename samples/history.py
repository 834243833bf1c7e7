"""A whole history: every file that Airbyte left in the landing bucket, and what must come of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from random import Random
from typing import Any

from samples.expected import expected_rows
from samples.klaviyo import build_events, build_profiles
from samples.marketing import build_marketing
from samples.parts import Part, encode_part, name_parts
from samples.scenarios import REWRITES, catch_up
from samples.schemas import DRIFT
from samples.shopify import build_shop
from samples.syncs import STREAMS, World, read_stream, timetable, write
from samples.timeline import Clock

FEWEST_DAYS = 4


@dataclass(frozen=True, slots=True)
class SampleFile:
    """An object of the landing bucket.

    `key` is relative to the raw prefix, `sync_id` is the Airbyte job, `written_at` the UTC moment
    when the object appeared.
    """

    source: str
    stream: str
    key: str
    data: bytes = field(repr=False)
    row_count: int
    sync_id: int
    written_at: datetime


@dataclass(frozen=True)
class History:
    """The files in the order in which Airbyte finished them, and the answers they lead to."""

    files: tuple[SampleFile, ...]
    parts: tuple[Part, ...] = field(repr=False)

    @cached_property
    def scenarios(self) -> Mapping[str, tuple[str, ...]]:
        """The keys that show each scenario of the package's list, in order of arrival."""
        found: dict[str, tuple[str, ...]] = {}
        for part in self.parts:
            labels = [part.scenario] if part.scenario else []
            if part.drifted and (part.source, part.stream) in DRIFT:
                labels.append("new_column" if part.stream == "orders" else "new_nested_field")
            for label in labels:
                found[label] = (*found.get(label, ()), part.key)
        return found

    def expected(self, model: str, keys: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Return the rows that a processed or enriched table must hold, sorted by its key.

        Args:
            model: One of the nine `int_{source}__{stream}` models, or an enriched one.
            keys: The files that have landed; all of them when left out.

        Raises:
            ValueError: The model is unknown.
        """
        parts = (part for part in self.parts if keys is None or part.key in keys)
        return expected_rows(model, parts)


def generate(
    seed: int = 7, scale: int = 1, start: date = date(2026, 3, 1), days: int = 6
) -> History:
    """Generate a history; the same arguments give the same bytes.

    Args:
        seed: Chooses the records; the scenarios are there with every seed.
        scale: Multiplies the number of records.
        start: The first day, UTC.
        days: How many days Airbyte has been running, at least four.

    Raises:
        ValueError: The history is too short for its scenarios, or the scale is not positive.
    """
    if days < FEWEST_DAYS or scale < 1:
        raise ValueError(
            f"cannot generate days={days}, scale={scale}; hint: days >= {FEWEST_DAYS}, scale >= 1"
        )
    clock = Clock(start, days)
    parts = sorted(_sync(seed, scale, clock), key=lambda part: part.attempt_at)
    named = name_parts(parts, Random(f"{seed}/names"))
    arrived = sorted(named, key=lambda part: (part.written_at, part.key))
    files = tuple(
        SampleFile(
            part.source,
            part.stream,
            part.key,
            encode_part(part),
            len(part.rows),
            part.sync_id,
            part.written_at,
        )
        for part in arrived
    )
    return History(files, tuple(arrived))


def _sync(seed: int, scale: int, clock: Clock) -> list[Part]:
    rng = Random(f"{seed}/syncs")
    shop = build_shop(seed, scale, clock)
    world = _world(seed, scale, clock)
    world["shopify", "orders"] = shop.orders
    world["shopify", "customers"] = shop.customers
    world["shopify", "order_refunds"] = shop.refunds
    cursors = {feed: clock.at(-10_000) for feed in world}
    parts = catch_up(rng, clock, [timeline[-1] for timeline in shop.archived_orders], world)
    for job in timetable(clock):
        for stream in STREAMS[job.source]:
            feed = job.source, stream
            rows, cursors[feed] = read_stream(rng, world, job, stream, cursors[feed])
            written = write(rng, job, stream, rows)
            rewrite = REWRITES.get((stream, job.day, job.run))
            parts += rewrite(rng, world, job, written) if rewrite else written
    return parts


def _world(seed: int, scale: int, clock: Clock) -> World:
    marketing = build_marketing(seed, scale, clock)
    profiles = build_profiles(seed, scale, clock)
    events = build_events(seed, scale, clock, profiles, marketing["metrics"])
    streams = {"profiles": profiles, "events": events, **marketing}
    return {("klaviyo", stream): timelines for stream, timelines in streams.items()}
