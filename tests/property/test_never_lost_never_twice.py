"""Whatever happens, in whatever order: no file is lost, and none is counted twice.

Hypothesis makes up histories of a bucket, of the people and of the processes that work on a lake,
and shrinks one that goes wrong. To look for new ones:
`pytest tests/property --hypothesis-profile explore --timeout 0`.
"""

from __future__ import annotations

import itertools
import sys
from contextlib import ExitStack
from datetime import timedelta

import hypothesis
import pytest
from hypothesis import HealthCheck, note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lotus_lake.repair.rewind import Point
from tests.catalogs import on_postgres, on_sqlite
from tests.feeds import DAY
from tests.property.conftest import MakeWorld
from tests.property.records import Version, content
from tests.property.world import CrashError, crash_before, intrude_before

Made = list[tuple[int, int, int | None]]

LOOKBACK_DAYS, RETENTION_DAYS = 3, 2
NAMES = (
    "part_9.parquet",
    "part_10.parquet",
    "part_9.parquet-1",
    "1f0c2d7e-5b1a-4c7e-9d55-2f6f3f1a9b11.parquet",
)
# Days before and after the first one: out of the window, out of retention, new.
DAYS = (-9, -1, 0, 4)
OPERATIONS = (
    "run", "list", "register", "reconcile", "repair", "rewind", "retry", "drop", "retire",
    "upkeep", "process", "plan",
)  # fmt: skip
KINDS = ("plain",) * 4 + ("wider", "harmless", "lossy", "rubbish", "damaged")

rows = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.sampled_from([None, 0, 1])), max_size=3
)
files = st.tuples(st.sampled_from(NAMES), st.sampled_from(DAYS), st.sampled_from(KINDS), rows)
operations = st.sampled_from(OPERATIONS)
moments = st.integers(1, 40)
numbers = st.integers(0, 30)


class Histories(RuleBasedStateMachine):
    """Histories of one stream; each example has a lake and a bucket of its own."""

    def __init__(self, make_world: MakeWorld) -> None:
        super().__init__()
        self._make_world = make_world
        self._raw_ids = itertools.count(1)
        self._open = ExitStack()

    @initialize(
        policy=st.sampled_from(["error", "reload", "ignore"]),
        batch_files=st.integers(1, 4),
        max_batches=st.sampled_from([1, 20]),
    )
    def begin(self, policy: str, batch_files: int, max_batches: int) -> None:
        self.world = self._open.enter_context(
            self._make_world(
                on_overwrite=policy,
                batch_files=batch_files,
                max_batches=max_batches,
                lookback_days=LOOKBACK_DAYS,
                retention_days=RETENTION_DAYS,
            )
        )

    # The bucket

    @rule(some=st.lists(files, min_size=1, max_size=3))
    def put(self, some: list[tuple[str, int, str, Made]]) -> None:
        for name, day, kind, made in some:
            self.world.put(name, day, content(self._versions(made), kind))

    @rule(
        deed=st.sampled_from(["replace", "put back", "delete"]),
        number=numbers,
        kind=st.sampled_from(KINDS),
        made=rows,
    )
    @precondition(lambda self: self.world.contents)
    def change(self, deed: str, number: int, kind: str, made: Made) -> None:
        """Put something else, or what was there before, where an object is or was; or delete it."""
        known = sorted(self.world.contents)
        key, etag = known[number % len(known)]
        if deed == "replace":
            self.world.put_key(key, content(self._versions(made), kind))
        elif deed == "put back":
            self.world.put_key(key, self.world.contents[key, etag])
        elif key in self.world.bucket:
            self.world.delete(key)

    # The lake

    @rule()
    def dag_run(self) -> None:
        """What a run of the stream's Dag does when nothing fails."""
        for operation in ("run", "process", "retire"):
            getattr(self.world, operation)(self.world.lake)

    @rule(operation=operations)
    def work(self, operation: str) -> None:
        getattr(self.world, operation)(self.world.lake)

    @rule(operation=operations, moment=moments)
    def crash(self, operation: str, moment: int) -> None:
        lake = self.world.open(self.world.con, crash_before(moment))
        try:
            getattr(self.world, operation)(lake)
        except CrashError:
            note(f"{operation} died before statement {moment}")

    @rule(operation=operations, moment=moments, other=operations)
    def meanwhile(self, operation: str, moment: int, other: str) -> None:
        """One does something, and before some statement of it another one does something whole."""
        world = self.world
        second = world.open(world.other)
        hook = intrude_before(moment, world.feed.settings, lambda: getattr(world, other)(second))
        getattr(world, operation)(world.open(world.con, hook))

    @rule(
        number=numbers,
        to=st.sampled_from(["start", "file", "day", "snapshot"]),
        again=st.booleans(),
    )
    def rewind(self, number: int, to: str, again: bool) -> None:
        point = Point()
        if to == "file" and (landed := self.world.landed_keys()):
            point = Point(key=landed[number % len(landed)])
        elif to == "day":
            point = Point(day=DAY + timedelta(days=DAYS[number % len(DAYS)]))
        elif to == "snapshot":
            point = Point(snapshot_id=number)
        self.world.rewind(self.world.lake, point, again=again)

    # What has to be true

    @invariant()
    def check(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        with self._open:
            if sys.exception() is None:
                self.world.come_to_rest()
                if self.world.retry(self.world.lake):
                    self.world.come_to_rest()
                self.world.check_end()

    def _versions(self, made: Made) -> list[Version]:
        # In an order that has nothing to do with time.
        return [Version(f"{next(self._raw_ids) * 7919 % 10007:05}", *each) for each in made]


def explore(make_world: MakeWorld, fixed_examples: int) -> None:
    """Run histories: so many in the fixed profile, as many as asked for in another one."""
    fixed = hypothesis.settings().derandomize
    run_state_machine_as_test(
        lambda: Histories(make_world),
        settings=hypothesis.settings(
            max_examples=fixed_examples if fixed else hypothesis.settings().max_examples,
            stateful_step_count=20 if fixed else 40,
            suppress_health_check=list(HealthCheck),
        ),
    )


@on_sqlite
@pytest.mark.timeout(900)
def test_no_history_loses_or_doubles_a_file(make_world: MakeWorld) -> None:
    explore(make_world, 6)


@on_postgres
def test_no_history_loses_or_doubles_a_file_on_postgres(make_world: MakeWorld) -> None:
    explore(make_world, 2)
