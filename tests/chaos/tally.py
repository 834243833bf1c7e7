"""What has happened in a storm, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from lotus_lake.lake.session import LAKE, Lake
from tests.chaos.checks import Findings, keys_of, objects_of
from tests.chaos.workload import SUBJECTS, Workload
from tests.proxy import Fault, Operation


class Kill(StrEnum):
    """When an actor is killed."""

    STATEMENT = "before a statement"
    COMMIT = "inside a commit"
    MOMENT = "at a random moment"


@dataclass
class Tally:
    """What has happened.

    Attributes:
        kills: By actor and kind.
        ends: Of those that were not killed, by actor and how they ended.
        faults: Of the object store.
        restarts: Of the catalog's server.
        conflicts: Commits that met another writer and were tried again.
        commits: Snapshots of the lake, ever.
        expired: Those that the upkeep has expired.
        retired: Files whose rows have left the landing tables.
        deleted: Those whose objects are deleted.
        files: Files that arrived.
        rows: Rows in the good ones.
        looks: Of readers at the whole lake.
        interrupted: Looks that a restart cut off.
        findings: What is wrong.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[tuple[Fault, Operation]] = field(default_factory=Counter)
    restarts: int = 0
    conflicts: int = 0
    commits: int = 0
    expired: int = 0
    retired: int = 0
    deleted: int = 0
    files: int = 0
    rows: int = 0
    looks: int = 0
    interrupted: int = 0
    findings: Findings = field(default_factory=Findings)

    def count_lake(self, lake: Lake, workload: Workload) -> None:
        """Take the numbers that the lake itself tells."""
        self.commits = int(lake.value(f"SELECT id FROM {LAKE}.current_snapshot()"))
        kept = lake.value(f"SELECT count(*) FROM {LAKE}.snapshots() WHERE snapshot_id > 0")
        self.expired = self.commits - int(kept)
        self.retired = sum(len(keys_of(lake, subject, ["retired"])) for subject in SUBJECTS)
        self.rows = sum(
            len(rows) for subject in SUBJECTS for rows in workload.landed(subject).values()
        )
        there = sum(len(objects_of(lake, workload, subject)) for subject in SUBJECTS)
        self.deleted = len(workload.dropped) - there
