"""Task `register`: one batch into the landing table, in one commit with its ledger rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from lotus_lake.bucket.keys import natural_order
from lotus_lake.config.streams import Stream
from lotus_lake.errors import CatalogUnavailableError, CommitConflictError
from lotus_lake.failures import raise_if_exhausted, text
from lotus_lake.feeder import overwrite
from lotus_lake.feeder.batch import Batch
from lotus_lake.feeder.decision import decide
from lotus_lake.feeder.footers import group_by_shape, raise_if_not_of_file, read_footers
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.connection import LAKE, Lake, is_conflict
from lotus_lake.ledger import files as ledger
from lotus_lake.ledger import registrations as data_files
from lotus_lake.ledger.files import LANDED, FileEvent, Guard, PendingFile
from lotus_lake.sql import listed, literal

# What takes the place of an earlier version, whatever that was.
_SETTLED = (*LANDED, "empty")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of the files of a batch; those that landed as a copy are counted apart."""

    registered: int = 0
    empty: int = 0
    quarantined: int = 0
    row_count: int = 0
    copied: int = 0

    def __add__(self, other: Registration) -> Registration:
        return Registration(
            self.registered + other.registered,
            self.empty + other.empty,
            self.quarantined + other.quarantined,
            self.row_count + other.row_count,
            self.copied + other.copied,
        )


class _RefusedError(Exception):
    """DuckLake refused to register a file."""


def register_batch(lake: Lake, stream: Stream, batch: Batch, run_id: str) -> Registration:
    """Register what still waits of a batch; running it again changes nothing.

    Raises:
        StorageUnavailableError: The object store failed; nothing is half done.
        CatalogUnavailableError: The catalog failed; nothing is half done.
        ResourcesExhaustedError: Memory or disk ran out; nothing is half done.
        CommitConflictError: Other feeders of the stream won every time.
        SchemaMismatchError: A file of a generation cannot land, so that it is not whole.
    """
    waiting = ledger.pending_files(lake, stream, batch.first_position, batch.last_position)
    if not waiting:
        log.info("%s: nothing waits any more", batch.label)
        return Registration()
    if stream.overwrites:
        waiting, outcomes = overwrite.newest_only(lake, stream, waiting)
    else:
        outcomes = []
    footers, bad = read_footers(lake, waiting)
    outcomes += bad
    for group in group_by_shape(footers):
        outcomes += decide(lake, stream, group)
    if stream.overwrites:
        outcomes = overwrite.without_half(outcomes)
    result = _commit(lake, stream, outcomes, run_id)
    log.info("%s: %s", batch.label, result)
    if stream.overwrites:
        overwrite.check_whole(stream, outcomes)
    return result


def _commit(lake: Lake, stream: Stream, outcomes: Sequence[Outcome], run_id: str) -> Registration:
    """Commit outcomes; when DuckLake refuses a file, halve until that file stands alone."""
    if not outcomes:
        return Registration()
    try:
        return _commit_once(lake, stream, outcomes, run_id)
    except _RefusedError as error:
        if stream.overwrites:
            raise overwrite.not_whole(stream, outcomes[-1], str(error)) from error
        if len(outcomes) == 1:
            refused = replace(
                outcomes[0], event="quarantined", row_count=None, note=str(error), data_file=None
            )
            return _commit_once(lake, stream, [refused], run_id)
    middle = len(outcomes) // 2
    return _commit(lake, stream, outcomes[:middle], run_id) + _commit(
        lake, stream, outcomes[middle:], run_id
    )


def _commit_once(
    lake: Lake, stream: Stream, outcomes: Sequence[Outcome], run_id: str
) -> Registration:
    """The transaction of a batch: look again, register, ledger, guard and cursor, commit."""
    expected_version = -1

    def unit() -> Registration:
        nonlocal expected_version
        guard = ledger.read_guard(lake, stream)
        current = _still_waiting(lake, stream, outcomes)
        if not current:
            expected_version = guard.version
            return Registration()
        landing = [outcome for outcome in current if outcome.event in LANDED]
        if stream.overwrites and landing:
            if len(current) != len(outcomes):
                raise CommitConflictError(f"{stream.id}: files of the generation have gone")
            overwrite.make_room(lake, stream, landing)
        _add_data_files(lake, stream, landing)
        ledger.record(
            lake, stream, guard,
            [*(outcome.to_event() for outcome in current), *_replaced(lake, stream, current)],
            run_id=run_id, cursor=_cursor(guard, [outcome.file for outcome in landing]),
        )  # fmt: skip
        expected_version = guard.version + 1
        return _summary(current)

    try:
        _forget_earlier(lake, stream, outcomes)
        result = lake.commit(f"{stream.id}: register {len(outcomes)} files, run {run_id}", unit)
        version = ledger.read_guard(lake, stream).version
    except duckdb.Error as error:
        raise_if_exhausted(error, lake.settings)
        raise CatalogUnavailableError(
            f"{stream.id}: registering {len(outcomes)} files failed: {text(error)}",
            hint="nothing is half done: run it again",
        ) from error
    if version < expected_version:
        raise CommitConflictError(
            f"{stream.id}: the guard is at {version} after the commit of {expected_version}"
        )
    return result


def _still_waiting(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> list[Outcome]:
    positions = [outcome.file.position for outcome in outcomes]
    still = ledger.pending_files(lake, stream, min(positions), max(positions))
    waiting = {file.position for file in still}
    return [outcome for outcome in outcomes if outcome.file.position in waiting]


def _forget_earlier(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> None:
    """Make sure that DuckLake knows none of these objects: a path registered twice is read twice.

    It knows one when the object was replaced, came back, or is fed again, and when somebody has
    registered it by hand. Only registrations older than the file's place in the queue go.
    """
    if stream.overwrites:  # rows of earlier generations go in the transaction itself
        return
    bounds = {outcome.file.key: outcome.file.snapshot_id for outcome in outcomes}
    before = {(lake.settings.uri(key), snapshot) for key, snapshot in bounds.items()}
    # A copy can still be read, and stays until something takes its place.
    settled = {outcome.file.key for outcome in outcomes if outcome.event in _SETTLED}
    before |= {
        (data_file, bounds[key])
        for key, data_file in ledger.landed_data_files(lake, stream, list(bounds))
        if key in settled
    }
    if forgotten := data_files.forget(lake, stream, sorted(before)):
        log.warning("%d earlier registrations of these objects were taken out", forgotten)


def _replaced(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> list[FileEvent]:
    """Events of the versions whose rows have just made room for another version."""
    current = {(o.file.key, o.file.etag, o.file.size_bytes) for o in outcomes}
    settled = {outcome.file.key for outcome in outcomes if outcome.event in _SETTLED}
    versions = ledger.known_versions(lake, stream, [outcome.file.key for outcome in outcomes])
    etags = {outcome.file.key: outcome.file.etag for outcome in outcomes}
    return [
        replace(version, event="replaced", error=f"by version {etags[version.key]}")
        for known in versions.values()
        for version in known
        if version.event in (*LANDED, "missing")
        and (version.key, version.etag, version.size_bytes) not in current
        and (version.key in settled or version.event != "copied")
    ]


def _add_data_files(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    uris = [outcome.data_file for outcome in outcomes]
    freeze = stream.feeder.on_schema_change == "freeze"
    try:
        lake.con.execute(
            f"CALL ducklake_add_data_files({literal(LAKE)}, ?, ?::JSON::VARCHAR[], schema => "
            f"'staging', allow_missing => true, ignore_extra_columns => {literal(freeze)})",
            [stream.landing_table, listed(uris)],
        )
    except duckdb.Error as error:
        # A catalog that goes away has the same type of error, but names no file.
        names = [str(uri).rsplit("/", 1)[-1] for uri in uris]
        if is_conflict(error) or not any(name in str(error) for name in names):
            raise
        raise_if_not_of_file(error)
        raise _RefusedError(text(error)) from error


def _cursor(guard: Guard, files: Sequence[PendingFile]) -> tuple[str, date] | None:
    """The furthest registered file; a late one does not move the cursor back."""
    if not files:
        return None
    last = max(files, key=lambda file: (file.partition_date, natural_order(file.key)))
    if guard.cursor_date is not None and guard.cursor_path is not None:
        reached = (guard.cursor_date, natural_order(guard.cursor_path))
        if (last.partition_date, natural_order(last.key)) < reached:
            return guard.cursor_path, guard.cursor_date
    return last.key, last.partition_date


def _summary(outcomes: Sequence[Outcome]) -> Registration:
    counts = Counter(outcome.event for outcome in outcomes)
    return Registration(
        registered=counts["registered"],
        empty=counts["empty"],
        quarantined=counts["quarantined"],
        row_count=sum(o.row_count or 0 for o in outcomes if o.event in LANDED),
        copied=counts["copied"],
    )
