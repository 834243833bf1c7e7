"""Task `register`: one batch into the landing table, in one commit with its ledger rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb

from lotus_lake.bucket.keys import natural_order
from lotus_lake.config.streams import Stream
from lotus_lake.error_translation import one_line, translated
from lotus_lake.errors import RegistrationError
from lotus_lake.feeder.append import Append
from lotus_lake.feeder.batch import Batch
from lotus_lake.feeder.child import run_child
from lotus_lake.feeder.footers import group_by_shape, read_footers
from lotus_lake.feeder.isolation import raise_if_catalog_fails
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.feeder.schema_change import decide, decide_again
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake import data_files
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.attempts import note_attempt, was_attempted
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import (
    LANDED,
    FileEvent,
    files_with,
    known_versions,
    landed_data_files,
)
from lotus_lake.ledger.guard import Cursor, Guard
from lotus_lake.ledger.queue import PendingFile, pending_files
from lotus_lake.quantities import counted

# Clocks of Airbyte and of the store may differ around midnight.
_CLOCK_SLACK = timedelta(days=1)
# What takes the place of an earlier version, whatever that was.
_SETTLED = (*LANDED, "empty")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of the files of a batch; those that landed as a copy are counted apart.

    Of the landed rows, `rescued` have values that `_lake_rescued` keeps.
    """

    registered: int = 0
    empty: int = 0
    quarantined: int = 0
    row_count: int = 0
    copied: int = 0
    rescued: int = 0

    @property
    def summary(self) -> str:
        """The same in a sentence."""
        landed = counted(self.registered + self.copied, "file")
        parts = [f"{landed} landed with {counted(self.row_count, 'row')}"]
        parts += [f"{self.copied} of them as copies"] if self.copied else []
        parts += [f"{counted(self.rescued, 'row')} with rescued values"] if self.rescued else []
        parts += [f"{self.empty} without rows"] if self.empty else []
        parts += [f"{self.quarantined} quarantined"] if self.quarantined else []
        return ", ".join(parts)

    def __add__(self, other: Registration) -> Registration:
        return Registration(
            self.registered + other.registered,
            self.empty + other.empty,
            self.quarantined + other.quarantined,
            self.row_count + other.row_count,
            self.copied + other.copied,
            self.rescued + other.rescued,
        )

    @classmethod
    def of(cls, events: Sequence[FileEvent]) -> Registration:
        """Count events that were committed."""
        counts = Counter(event.event for event in events)
        landed = [event for event in events if event.event in LANDED]
        return cls(
            counts["registered"],
            counts["empty"],
            counts["quarantined"],
            sum(event.row_count or 0 for event in landed),
            counts["copied"],
            sum(event.rescued_count or 0 for event in landed),
        )


NOTHING = Registration()


def register_batch(lake: Lake, stream: Stream, batch: Batch, run_id: str) -> Registration:
    """Register what still waits of a batch; running it again changes nothing.

    Raises:
        StorageUnavailableError: The object store failed; nothing is half done.
        CatalogUnavailableError: The catalog failed; nothing is half done.
        ResourcesExhaustedError: Memory or disk ran out; nothing is half done.
        CommitConflictError: Other feeders of the stream won every time.
        SchemaMismatchError: A file of a generation cannot land, so that it is not whole.
        RegistrationError: The lake has not registered what the ledger says.
    """
    first, last = batch.first_position, batch.last_position
    waiting = pending_files(lake, stream, first, last)
    if not waiting:
        log.info("%s: already registered", batch.label)
        return NOTHING
    if not was_attempted(lake, stream, waiting[0].position, waiting[-1].position):
        with translated(lake.settings):
            note_attempt(lake, stream, first, last, run_id)
        return land_files(lake, stream, batch, run_id)
    log.warning("%s: an earlier attempt did not end; child processes open its files", batch.label)
    strategy = strategy_of(stream)
    done = _land_in_children(lake, strategy, batch, run_id) if strategy.is_divisible else NOTHING
    return done + land_files(lake, stream, batch, run_id)


def _land_in_children(lake: Lake, strategy: Append, batch: Batch, run_id: str) -> Registration:
    """Halve what waits until the file that crashes its reader is isolated."""
    stream = strategy.stream
    fields, died_of = run_child(lake.settings, stream, batch, run_id)
    if fields is not None:
        return Registration(**fields)
    waiting = pending_files(lake, stream, batch.first_position, batch.last_position)
    if died_of is None or not waiting:
        return NOTHING
    if len(waiting) == 1:
        note = f"it crashes the reader ({died_of})"
        if died_of == "SIGKILL":
            note = "its reader was killed (SIGKILL), probably because it needs too much memory"
        return _commit_once(lake, strategy, [Outcome(waiting[0], "quarantined", note=note)], run_id)
    middle = len(waiting) // 2
    halves = [
        replace(batch, first_position=half[0].position, last_position=half[-1].position)
        for half in (waiting[:middle], waiting[middle:])
    ]
    return sum((_land_in_children(lake, strategy, half, run_id) for half in halves), NOTHING)


def land_files(lake: Lake, stream: Stream, batch: Batch, run_id: str) -> Registration:
    """Open the files of a batch that wait, decide on them, and commit."""
    waiting = pending_files(lake, stream, batch.first_position, batch.last_position)
    strategy = strategy_of(stream)
    chosen, outcomes = strategy.choose(lake, waiting)
    footers, bad = read_footers(lake, stream, chosen)
    outcomes += bad
    for group in group_by_shape(footers):
        outcomes += decide(lake, strategy, group)
    result = _commit(lake, strategy, strategy.committable(outcomes), run_id)
    log.info("%s: %s", batch.label, result.summary)
    strategy.check(outcomes)
    return result


def _commit(lake: Lake, strategy: Append, outcomes: Sequence[Outcome], run_id: str) -> Registration:
    """Commit outcomes; when that fails, halve until the file that DuckLake refuses is isolated.

    Raises:
        CatalogUnavailableError: No file is the reason.
    """
    if not outcomes:
        return Registration()
    try:
        return _commit_once(lake, strategy, outcomes, run_id)
    except duckdb.Error as error:
        landing = [outcome for outcome in outcomes if outcome.event in LANDED]
        raise_if_catalog_fails(
            lake, error, f"{strategy.stream.id}: registering {len(outcomes)} files"
        )
        if not landing:
            raise
        reason = f"DuckLake refuses it: {one_line(error)}"
        alike = _refused_by_schema(outcomes, str(error))
    if not strategy.is_divisible:
        strategy.check([landing[-1].quarantined(reason)])
    if alike:
        others = [outcome for outcome in outcomes if outcome not in alike]
        copies = decide_again(lake, strategy, alike, reason)
        return _commit(lake, strategy, [*others, *copies], run_id)
    if len(outcomes) == 1:
        return _land_otherwise(lake, strategy, outcomes[0], reason, run_id)
    middle = len(outcomes) // 2
    return _commit(lake, strategy, outcomes[:middle], run_id) + _commit(
        lake, strategy, outcomes[middle:], run_id
    )


def _refused_by_schema(outcomes: Sequence[Outcome], said: str) -> list[Outcome]:
    """The files that have the schema of the one that DuckLake complains of, if of its schema."""
    if "Failed to map column" not in said:
        return []
    original = [outcome for outcome in outcomes if outcome.event == "registered"]
    shapes = {outcome.shape for outcome in original if f'"{outcome.data_file}"' in said}
    return [outcome for outcome in original if outcome.shape in shapes]


def _land_otherwise(
    lake: Lake, strategy: Append, refused: Outcome, reason: str, run_id: str
) -> Registration:
    """Land a copy of a file that DuckLake refuses, or quarantine it when a copy is refused, too."""
    if refused.event == "copied":
        return _commit_once(lake, strategy, [refused.quarantined(reason)], run_id)
    return _commit(lake, strategy, decide_again(lake, strategy, [refused], reason), run_id)


def _commit_once(
    lake: Lake, strategy: Append, outcomes: Sequence[Outcome], run_id: str
) -> Registration:
    """The transaction of a batch: queue again, register, ledger, guard and cursor, commit."""
    stream = strategy.stream
    freeze = stream.feeder.on_schema_change == "freeze"

    def change(guard: Guard) -> Change | None:
        current = _still_waiting(lake, stream, outcomes)
        if not current:
            return None
        landing = [outcome for outcome in current if outcome.event in LANDED]
        if any(outcome.event in _SETTLED for outcome in current):
            strategy.make_room(lake, is_whole=len(current) == len(outcomes))
        if landing:
            uris = [str(outcome.data_file) for outcome in landing]
            data_files.register(lake, stream.landing_table, uris, ignore_extra_columns=freeze)
        events = [outcome.to_event() for outcome in current]
        return Change(
            [*events, *_replaced(lake, strategy, current)],
            _moved(guard.cursor, [outcome.file for outcome in landing]),
        )

    if strategy.is_divisible:  # else rows of earlier generations go in the transaction itself
        _forget_earlier(lake, stream, outcomes)
    message = f"register {len(outcomes)} files"
    events = commit(lake, stream, message, run_id, change)
    _prove(lake, stream, events)
    return Registration.of(events)


def _prove(lake: Lake, stream: Stream, events: Sequence[FileEvent]) -> None:
    """See that DuckLake has registered the files and rows that the ledger says.

    It was given a glob, and no list.

    Raises:
        RegistrationError: It has not.
    """
    landed = {(event.data_file, event.row_count) for event in events if event.event in LANDED}
    if landed and (wrong := landed ^ data_files.last_registered(lake, stream.landing_table)):
        files = sorted({str(data_file) for data_file, _ in wrong})
        raise RegistrationError(
            f"{stream.id}: ledger and lake disagree about {counted(len(files), 'file')} of the "
            f"last commit, such as {files[0]}",
            hint=f"lotus-lake reconcile {stream.source} {stream.name}",
        )


def _still_waiting(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> list[Outcome]:
    positions = [outcome.file.position for outcome in outcomes]
    still = pending_files(lake, stream, min(positions), max(positions))
    waiting = {file.position for file in still}
    return [outcome for outcome in outcomes if outcome.file.position in waiting]


def _forget_earlier(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> None:
    """Make sure that DuckLake knows none of these objects: a path registered twice is read twice.

    It knows one when the object was replaced, came back, or is fed again, and when somebody has
    registered it by hand. Only registrations older than the file's place in the queue go.
    """
    bounds = {outcome.file.key: outcome.file.snapshot_id for outcome in outcomes}
    before = {(lake.settings.uri(key), snapshot) for key, snapshot in bounds.items()}
    # A copy can still be read, and stays until something takes its place.
    settled = {outcome.file.key for outcome in outcomes if outcome.event in _SETTLED}
    before |= {
        (data_file, bounds[key])
        for key, data_file in landed_data_files(lake, stream, list(bounds))
        if key in settled
    }
    if forgotten := data_files.forget(lake, stream.landing_table, sorted(before)):
        log.warning("%d earlier registrations of these objects were taken out", forgotten)


def _replaced(lake: Lake, strategy: Append, outcomes: Sequence[Outcome]) -> list[FileEvent]:
    """Events of the versions whose rows have just made room for another version or generation."""
    stream = strategy.stream
    current = {o.file.identity for o in outcomes}
    settled = {outcome.file.key for outcome in outcomes if outcome.event in _SETTLED}
    versions = known_versions(lake, stream, [outcome.file.key for outcome in outcomes])
    etags = {outcome.file.key: outcome.file.etag for outcome in outcomes}
    events = [
        replace(version, event="replaced", remark=f"by version {etags[version.key]}")
        for known in versions.values()
        for version in known
        if version.event in (*LANDED, "missing")
        and version.identity not in current
        and (version.key in settled or version.event != "copied")
    ]
    if settled and not strategy.is_divisible:
        events += [
            replace(file, event="replaced", remark="by a later generation")
            for file in files_with(lake, stream, ("missing",))
            if file.key not in settled
        ]
    return events


def _moved(cursor: Cursor, files: Sequence[PendingFile]) -> Cursor | None:
    """Where the cursor moves: to the furthest registered file; a late one does not move it back."""
    dated = [file for file in files if not is_of_the_future(file)]
    if not dated:
        return None
    last = max(dated, key=lambda file: (file.partition_date, natural_order(file.key)))
    if cursor.path is not None and cursor.day is not None and cursor.day == cursor.reached:
        place = (cursor.day, natural_order(cursor.path))
        if (last.partition_date, natural_order(last.key)) < place:
            return cursor
    return Cursor(last.key, last.partition_date)


def is_of_the_future(file: PendingFile) -> bool:
    """Whether a key names a day after the object was written, or after today.

    The day is the UTC start of the sync that wrote the object. It comes from outside, as does the
    store's clock: neither may take the cursor, and retention with it, beyond what we know.
    """
    known = min(file.last_modified.astimezone(UTC), datetime.now(UTC)).date()
    return file.partition_date > known + _CLOCK_SLACK
