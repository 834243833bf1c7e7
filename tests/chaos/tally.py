"""What has happened in a storm, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.checks import Findings
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
        commits: Snapshots of the lake.
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
    files: int = 0
    rows: int = 0
    looks: int = 0
    interrupted: int = 0
    findings: Findings = field(default_factory=Findings)
