"""Any split of a history into arrivals, in any order, however often repeated, lands once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lotus_lake.lake.session import Lake
from tests.catalogs import on_sqlite
from tests.feeds import DAY, Feed

FILES: list[tuple[str, date, int]] = [
    (name, DAY - timedelta(days=days), rows)
    for days in (0, 20)
    for name, rows in (("part_9.parquet", 2), ("part_10.parquet", 1), ("part_9.parquet-1", 0))
]
_numbers = itertools.count()


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[int]]:
    """Numbers of files by time of arrival; between two times the feeder runs. Some arrive twice."""
    order = draw(st.permutations(range(len(FILES))))
    again = draw(st.lists(st.sampled_from(order), max_size=3))
    sequence = [*order, *again]
    cuts = sorted(draw(st.sets(st.integers(1, len(sequence) - 1), min_size=1, max_size=2)))
    return [sequence[a:b] for a, b in itertools.pairwise([0, *cuts, len(sequence)])]


@on_sqlite
@settings(
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=arrivals(), batch_files=st.integers(1, 4), max_batches=st.integers(1, 9))
def test_any_split_order_and_repetition_lands_each_file_once(
    make_feed: Callable[..., Feed],
    lake: Lake,
    history: list[list[int]],
    batch_files: int,
    max_batches: int,
) -> None:
    options = {"batch_files": batch_files, "max_batches": max_batches}
    feed: Feed = make_feed(f"example_{next(_numbers)}", **options)
    for arrived in history:
        for number in arrived:
            name, day, rows = FILES[number]
            if feed.key(name, day) in feed.sent:
                feed.put_again(name, day=day)
            else:
                feed.put(name, rows, day=day)
        feed.run(lake)
    while feed.run(lake).batches:
        pass
    assert feed.landed(lake) == feed.rows_of(feed.sent)
    assert feed.events(lake) == {
        key: ["registered" if rows else "empty"] for key, rows in feed.sent.items()
    }
