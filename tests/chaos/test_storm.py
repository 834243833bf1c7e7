"""Everything at once and killed at any moment: nothing is lost, nothing is there twice.

`make chaos` does the same for an hour instead of a minute.
"""

from __future__ import annotations

import pytest

from tests.catalogs import on_postgres
from tests.chaos.actors import ACTORS
from tests.chaos.storm import Storm
from tests.chaos.tally import Kill

# A minute on an idle machine with two processors, and ten on a busy one.
pytestmark = pytest.mark.timeout(1200)


def assert_right(storm: Storm) -> None:
    found = storm.tally.findings
    assert not found.wrongs, "\n\n".join(found.wrongs)
    assert (found.losses, found.doubles) == (0, 0)


def test_actors_killed_at_any_step_lose_and_double_nothing(storm: Storm) -> None:
    for name in ACTORS:
        storm.systematic(name, step=30)
    storm.round(kills=12, faults=0.02)
    assert_right(storm)
    killed = storm.tally.kills
    assert {name for name, _ in killed} == set(ACTORS)
    assert {kind for _, kind in killed} == set(Kill)
    assert storm.tally.files > killed.total() > 20
    assert storm.tally.commits > storm.tally.files / 3
    assert storm.tally.expired > 0
    assert storm.tally.retired >= storm.tally.deleted > 0
    assert storm.tally.looks > 0
    assert sum(file.is_rescued for file in storm.workload.dropped) > killed.total() / 2


def test_actors_beside_each_other_lose_and_double_nothing(storm: Storm) -> None:
    storm.crowd(starts=12)
    assert_right(storm)
    assert storm.tally.kills.total() == 0
    assert all(storm.tally.ends[name, "done"] >= 2 for name in ACTORS)


@on_postgres
def test_a_catalog_killed_under_the_actors_loses_and_doubles_nothing(storm: Storm) -> None:
    storm.round(kills=8, restarts=4)
    assert_right(storm)
    assert storm.tally.restarts > 0
