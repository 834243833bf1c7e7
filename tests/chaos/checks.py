"""When all is quiet: ledger = listing = tables, row for row."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.ledger.events import LANDED
from tests.chaos.workload import Row, Subject, Workload

# What a file has exactly one of, in all its life.
_OUTCOMES = {**dict.fromkeys(LANDED, "landed"), "empty": "empty", "quarantined": "quarantined"}
_EXAMPLES = 3


@dataclass
class Findings:
    """What is wrong.

    Attributes:
        losses: Rows and files that should be there and are not.
        doubles: Rows and files that are there more than once.
        wrongs: All of it, in words.
    """

    losses: int = 0
    doubles: int = 0
    wrongs: list[str] = field(default_factory=list)

    def compare(self, what: str, found: Iterable[Any], expected: Iterable[Any]) -> None:
        """Two collections have to be the same, each element as often."""
        have, want = Counter(iter(found)), Counter(iter(expected))
        if missing := want - have:
            self.losses += missing.total()
            self.wrongs.append(f"{what}: missing {missing.total()}: {_examples(missing)}")
        if surplus := have - want:
            self.doubles += surplus.total()
            self.wrongs.append(f"{what}: too many {surplus.total()}: {_examples(surplus)}")

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            self.losses + other.losses, self.doubles + other.doubles, self.wrongs + other.wrongs
        )


def check(lake: Lake, workload: Workload, subject: Subject) -> Findings:
    """Compare everything about a stream; its feeder and its models must have run since."""
    found = Findings()
    _check_ledger(found, lake, workload, subject)
    _check_landing(found, lake, workload, subject)
    if subject.models:
        _check_processed(found, lake, workload, subject)
    return found


def _check_ledger(found: Findings, lake: Lake, workload: Workload, subject: Subject) -> None:
    outcomes = lake.rows(
        f"SELECT key, event FROM {META}.file_events "
        "WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))",
        [subject.source, subject.name, list(_OUTCOMES)],
    )
    files = [file for file in workload.dropped if file.subject == subject]
    found.compare(
        f"{subject.id}: outcome of each file",
        [(key, _OUTCOMES[event]) for key, event in outcomes],
        [(file.key, file.fate) for file in files],
    )
    gone = {file.key for file in files} - objects_of(lake, workload, subject)
    found.compare(
        f"{subject.id}: deleted objects that were not retired",
        gone - keys_of(lake, subject, ["retired"]),
        [],
    )


def _check_landing(found: Findings, lake: Lake, workload: Workload, subject: Subject) -> None:
    landed = workload.landed(subject)
    present = keys_of(lake, subject, LANDED)
    copies = dict(
        lake.rows(
            f"SELECT key, data_file FROM {META}.feeder_files "
            "WHERE source = ? AND stream = ? AND event = 'copied'",
            [subject.source, subject.name],
        )
    )
    found.compare(
        f"{subject.id}: registered files",
        [
            uri
            for (uri,) in lake.rows(
                "SELECT data_file FROM ducklake_list_files(?, ?, schema => 'staging')",
                [LAKE, f"stg_{subject.id}"],
            )
        ],
        [copies.get(key, lake.settings.uri(key)) for key in present],
    )
    found.compare(
        f"{subject.id}: files that landed as copies",
        copies,
        present & {file.key for file in workload.dropped if file.is_rescued},
    )
    found.compare(
        f"{subject.id}: rows with rescued values",
        lake.rows(
            "SELECT _airbyte_raw_id, _lake_rescued[1].path, _lake_rescued[1].value "
            f"FROM {STAGING}.stg_{subject.id} WHERE _lake_rescued IS NOT NULL"
        ),
        [(row.raw_id, subject.count, '"new"') for key in copies for row in landed.get(key, ())],
    )
    found.compare(
        f"{subject.id}: rows of the landing table",
        lake.rows(
            "SELECT _airbyte_raw_id, _airbyte_extracted_at, id::BIGINT, "
            f"({subject.landed_amount})::BIGINT FROM {STAGING}.stg_{subject.id}"
        ),
        [
            (row.raw_id, row.extracted_at, row.key, row.amount)
            for key in present
            for row in landed.get(key, ())
        ],
    )


def _check_processed(found: Findings, lake: Lake, workload: Workload, subject: Subject) -> None:
    found.compare(
        f"{subject.id}: rows of the processed table",
        lake.rows(
            f"SELECT {subject.key}::BIGINT, _airbyte_raw_id, _airbyte_extracted_at, "
            f"({subject.amount})::BIGINT FROM {LAKE}.main.{subject.models[0]}"
        ),
        [
            (key, row.raw_id, row.extracted_at, row.amount)
            for key, row in workload.newest(subject).items()
            if not row.is_delete
        ],
    )
    if subject.has_log:
        _check_kept_out(found, lake, workload, subject)
        _check_history(found, lake, workload, subject)


def _check_kept_out(found: Findings, lake: Lake, workload: Workload, subject: Subject) -> None:
    found.compare(
        f"{subject.id}: deletes that are remembered",
        lake.rows(
            f"SELECT {subject.key}, _airbyte_raw_id, _lake_reason "
            f"FROM {META}.kept_out_{subject.models[0]}"
        ),
        [
            (key, row.raw_id, "deleted")
            for key, row in workload.newest(subject).items()
            if row.is_delete
        ],
    )


def _check_history(found: Findings, lake: Lake, workload: Workload, subject: Subject) -> None:
    records: dict[int, list[Row]] = {}
    for row in (row for rows in workload.landed(subject).values() for row in rows):
        records.setdefault(row.key, []).append(row)
    expected = []
    for key, rows in records.items():
        said = itertools.groupby(sorted(rows, key=subject.age), _what_it_says)
        runs = [list(run) for _, run in said]
        for number, (first, *others) in enumerate(runs):
            is_current = number + 1 == len(runs)
            expected.append((key, first.raw_id, first.is_delete, is_current, len(others)))
    found.compare(
        f"{subject.id}: versions of the history",
        lake.rows(
            f"SELECT {subject.key}, _airbyte_raw_id, is_deleted, is_current, "
            f"coalesce(len(_lake_repeats), 0) FROM {LAKE}.main.{subject.models[1]}"
        ),
        expected,
    )


def _what_it_says(row: Row) -> tuple[int, int]:
    """A delete tells when; the place in the log is not the record's own."""
    return row.amount, row.position if row.is_delete else 0


def keys_of(lake: Lake, subject: Subject, events: Iterable[str]) -> set[str]:
    """Keys of the files whose latest event is one of these."""
    return {
        key
        for (key,) in lake.rows(
            f"SELECT key FROM {META}.feeder_files "
            "WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))",
            [subject.source, subject.name, list(events)],
        )
    }


def objects_of(lake: Lake, workload: Workload, subject: Subject) -> set[str]:
    """Keys in the bucket."""
    prefix = f"{lake.settings.raw_prefix}{subject.source}/{subject.name}/"
    pages = workload.client.get_paginator("list_objects_v2").paginate(
        Bucket=lake.settings.bucket, Prefix=prefix
    )
    return {item["Key"] for page in pages for item in page.get("Contents", ())}


def _examples(some: Counter[Any]) -> list[Any]:
    return list(some.items())[:_EXAMPLES]
