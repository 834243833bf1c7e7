"""The processed table depends on the records that landed, and on nothing else.

Not on the order in which their files arrive, not on how they are cut into batches, not on what is
fed or processed again: its hash is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lotus_lake.lake.session import STAGING
from tests.catalogs import on_sqlite
from tests.property import processed
from tests.property.conftest import MakeWorld
from tests.property.records import Content, Version, as_processed, content, newest
from tests.property.world import World

# Three versions of a record that differ in nothing but their raw id, a newer one that was read
# earlier, and an older one that arrives in the same file.
FILES: tuple[tuple[Version, ...], ...] = (
    (Version("5", 1, 1, 1), Version("4", 2, 0, None), Version("9", 3, 0, 0)),
    (Version("7", 1, 1, 1), Version("2", 2, 0, 1)),
    (Version("6", 1, 1, 1), Version("1", 2, 1, None), Version("3", 2, 0, 2)),
    (Version("8", 1, 0, 2), Version("0", 4, 0, None)),
    (),
)
CONTENTS: tuple[Content, ...] = tuple(content(versions) for versions in FILES)
EXPECTED = as_processed(newest(version for versions in FILES for version in versions))


@dataclass(frozen=True)
class Arrival:
    """Some files arrive, the feeder runs, and then, perhaps, the model, or all over again."""

    files: tuple[int, ...]
    processes: bool
    feeds_again: bool


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Every file once, in any order, in any number of groups."""
    order = draw(st.permutations(range(len(FILES))))
    cuts = [0, *sorted(draw(st.sets(st.integers(1, len(FILES) - 1)))), len(FILES)]
    return [
        Arrival(tuple(order[first:last]), draw(st.booleans()), draw(st.booleans()))
        for first, last in itertools.pairwise(cuts)
    ]


def arrive(world: World, history: Sequence[Arrival]) -> None:
    for arrival in history:
        for number in arrival.files:
            world.put(f"part_{number}.parquet", 0, CONTENTS[number])
        world.run(world.lake)
        if arrival.processes:
            processed.process(world.lake, world.feed.stream)
        if arrival.feeds_again:
            world.rewind(world.lake)
            world.run(world.lake)
    processed.process(world.lake, world.feed.stream)


@on_sqlite
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=arrivals(), batch_files=st.integers(1, 5))
@example(history=[Arrival((0, 1, 2, 3, 4), processes=True, feeds_again=False)], batch_files=5)
@example(
    history=[Arrival((n,), processes=True, feeds_again=True) for n in (3, 1, 4, 2, 0)],
    batch_files=1,
)
def test_any_order_and_repetition_of_batches_gives_the_same_processed_table(
    make_world: MakeWorld, history: list[Arrival], batch_files: int
) -> None:
    with make_world(batch_files=batch_files) as world:
        arrive(world, history)
        assert processed.rows(world.lake, world.feed.stream) == EXPECTED
        digest = processed.digest(world.lake, world.feed.stream)
        world.rewind(world.lake, again=False)
        processed.process(world.lake, world.feed.stream)
        assert processed.digest(world.lake, world.feed.stream) == digest
    _digests.add(digest)
    assert len(_digests) == 1


_digests: set[str] = set()


def test_copies_of_a_file_land_and_leave_one_row_of_each_record(make_world: MakeWorld) -> None:
    with make_world(batch_files=2) as world:
        for day in range(3):
            world.put("part_0.parquet", day, CONTENTS[0])
        world.run(world.lake)
        processed.process(world.lake, world.feed.stream)
        expected = as_processed(newest(FILES[0]))
        assert processed.rows(world.lake, world.feed.stream) == expected
        world.put("part_0.parquet", 3, CONTENTS[0])
        world.put("part_0.parquet", 4, CONTENTS[0])
        world.run(world.lake)
        processed.process(world.lake, world.feed.stream)
        assert processed.rows(world.lake, world.feed.stream) == expected
        landed = f"{STAGING}.{world.feed.stream.landing_table}"
        rows, ids = world.lake.rows(
            f"SELECT count(*), count(DISTINCT rowid) FROM {landed} WHERE year IS NOT NULL"
        )[0]
        assert rows == ids == 5 * len(FILES[0])
