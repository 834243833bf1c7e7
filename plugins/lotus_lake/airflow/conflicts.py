"""Commits that another writer got in the way of: a counter beside Airflow's own metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.observability.stats import incr

from lotus_lake.lake.session import conflict_listeners


def count_conflict(dag_id: str) -> None:
    """Count a commit of a task of this Dag."""
    incr("lotus_lake.commit_conflicts", tags={"dag_id": dag_id})


@contextmanager
def conflicts_counted(dag_id: str) -> Iterator[None]:
    """Count the commits of this process until the block ends."""

    def listener() -> None:
        count_conflict(dag_id)

    conflict_listeners.append(listener)
    try:
        yield
    finally:
        conflict_listeners.remove(listener)
