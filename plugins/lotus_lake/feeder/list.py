"""Task `list`: find the objects that the ledger does not know, and put them into its queue."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import Layout, is_hidden, layout_of, natural_order
from lotus_lake.bucket.objects import RawObject, list_stream
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.append import Append, Refresh
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.data_files import forget
from lotus_lake.lake.session import Lake
from lotus_lake.landing.tables import bring_up_to_config
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import LANDED, FileEvent, files_with, known_versions, unknown_objects
from lotus_lake.ledger.guard import Guard, read_guard
from lotus_lake.ledger.queue import backlog
from lotus_lake.ledger.schema import create_ledger, was_fed
from lotus_lake.quantities import counted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Objects compared with the ledger, and committed, at once: bounds memory on a first, long listing.
CHUNK_OBJECTS = 20_000
# Versions that end when another one is found under their key, and what the ledger says of them.
_GIVES_WAY = {
    "discovered": "object was replaced before it could land",
    "quarantined": "object was replaced before it could land",
    "registered": "object was replaced in place: its rows have left the landing table",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing found.

    Attributes:
        listed: Objects in the window, or below the whole prefix.
        discovered: Unknown objects that were put into the queue.
        quarantined: Unknown objects that cannot land.
        ignored: Unknown objects that do not land by decision.
        backlog: Files that wait, those of earlier listings included.
        late: Discovered objects older than the window, which only a whole listing sees.
        missing: Landed files whose object is gone, newly noticed by a whole listing.
    """

    listed: int
    discovered: int
    quarantined: int
    ignored: int
    backlog: int
    late: int = 0
    missing: int = 0

    @property
    def summary(self) -> str:
        """The same in a sentence."""
        parts = [f"{counted(self.listed, 'object')} listed", f"{self.discovered} new"]
        for number, what in (
            (self.late, "of them older than the window"),
            (self.quarantined, "quarantined"),
            (self.ignored, "ignored"),
            (self.missing, "gone from the bucket"),
        ):
            parts += [f"{number} {what}"] if number else []
        return f"{', '.join(parts)}; {counted(self.backlog, 'file')} in the queue"


def list_files(
    lake: Lake, stream: Stream, client: S3Client, run_id: str, *, whole: bool = False
) -> Listing:
    """Bring the lake's tables up to the config, list, and record what is new.

    Args:
        lake: Open lake.
        stream: The stream.
        client: S3 client.
        run_id: Who does it, for the ledger.
        whole: List the whole prefix instead of the window, and record what is missing.

    Raises:
        StorageUnavailableError: The listing failed.
        SchemaMismatchError: The landing table does not fit the config.
    """
    create_ledger(lake, stream)
    bring_up_to_config(lake, stream)
    strategy = strategy_of(stream)
    layout = layout_of(lake.settings, stream)
    window = listing_start(lake, stream)
    start_after = None if whole else window
    sees_all = whole or strategy.lists_everything
    log.info("listing %s after %s", lake.settings.uri(layout.prefix), start_after or "the start")
    known_at = read_guard(lake, stream).version
    listed, late, missing, events, last_key = 0, 0, 0, Counter[str](), ""
    objects = list_stream(client, lake.settings.bucket, layout, start_after)
    while chunk := list(islice(objects, CHUNK_OBJECTS)):
        listed += len(chunk)
        new = _discover(lake, strategy, layout, chunk, known_at, run_id)
        events.update(event.event for event in new)
        late += sum(event.event == "discovered" and event.key < (window or "") for event in new)
        if sees_all:
            keys = (last_key, chunk[-1].key)
            missing += note_absent(lake, strategy, keys, chunk, known_at, run_id, listed)
            last_key = chunk[-1].key
        if len(chunk) == CHUNK_OBJECTS:
            log.info("%d objects listed so far, %d of them new", listed, events.total())
    if sees_all:
        missing += note_absent(lake, strategy, (last_key, None), (), known_at, run_id, listed)
    return Listing(
        listed=listed,
        discovered=events["discovered"],
        quarantined=events["quarantined"],
        ignored=events["ignored"],
        backlog=backlog(lake, stream)[0],
        late=late,
        missing=missing,
    )


def listing_start(lake: Lake, stream: Stream) -> str | None:
    """Exclusive lower bound of the listing: `lookback_days` before the cursor; see `Layout`."""
    if strategy_of(stream).lists_everything or not was_fed(lake, stream):
        return None
    reached = read_guard(lake, stream).cursor.reached
    return layout_of(lake.settings, stream).window_start(reached, stream.feeder.lookback_days)


def note_absent(
    lake: Lake,
    strategy: Append,
    keys: tuple[str, str | None],
    objects: Sequence[RawObject],
    known_at: int,
    run_id: str,
    listed: int,
) -> int:
    """Record which files of a range of keys have lost their object.

    A registered file is missing then: its rows cannot be read any more. Where generations replace
    each other the source deletes older ones by itself, and files are missing only if none is left.

    Args:
        lake: Open lake.
        strategy: Of the stream.
        keys: The range, as (after, up to); no upper bound when `None`.
        objects: All objects of the bucket in that range.
        known_at: Version of the guard when the listing began: what has landed since is not judged.
        run_id: Who noticed, for the ledger.
        listed: Objects of the stream that were listed so far.

    Returns:
        How many were recorded.
    """
    if not _absent(lake, strategy, keys, objects, known_at):
        return 0

    def decide(_: Guard) -> Change | None:
        gone = _absent(lake, strategy, keys, objects, known_at)
        events = [_gone(file, strategy.absent_event(file, listed)) for file in gone]
        return Change(events) if events else None

    stream = strategy.stream
    gone = commit(lake, stream, "note what is gone from the bucket", run_id, decide)
    if missing := sum(event.event == "missing" for event in gone):
        log.warning("%d landed objects are gone from the bucket", missing)
    return len(gone)


def _gone(file: FileEvent, event: str) -> FileEvent:
    text = "the object is gone from the bucket"
    if event == "missing":
        return replace(file, event=event, error=text)
    return replace(file, event=event, remark=text)


def _absent(
    lake: Lake,
    strategy: Append,
    keys: tuple[str, str | None],
    objects: Sequence[RawObject],
    known_at: int,
) -> list[FileEvent]:
    there = {item.key: item for item in objects}
    # An object of an earlier path format lies where nothing was listed.
    prefix = layout_of(lake.settings, strategy.stream).prefix
    return [
        file
        for file in files_with(lake, strategy.stream, strategy.present_events, keys, known_at)
        if file.key.startswith(prefix) and not strategy.is_present(file, there.get(file.key))
    ]


def _discover(
    lake: Lake,
    strategy: Append,
    layout: Layout,
    objects: Sequence[RawObject],
    known_at: int,
    run_id: str,
) -> Sequence[FileEvent]:
    stream = strategy.stream
    snapshot = lake.current_snapshot()
    unknown = unknown_objects(lake, stream, objects, known_at)
    if not unknown:
        return ()
    _take_out_replaced(lake, stream, unknown, snapshot)
    usable = [item.key for item in unknown if not layout.problem(item.key)]
    refreshes = strategy.refreshes(lake, usable)

    def decide(guard: Guard) -> Change | None:
        new = unknown_objects(lake, stream, objects, known_at)
        if not new:
            return None
        events = _classify(lake, strategy, layout, new, guard)
        return Change([_of_refresh(event, refreshes.get(event.key)) for event in events])

    return commit(lake, stream, f"discover {len(objects)} files at most", run_id, decide)


def _of_refresh(event: FileEvent, refresh: Refresh | None) -> FileEvent:
    if refresh is None or event.generation_id is not None:
        return event
    return replace(event, generation_id=refresh.generation_id, extracted_at=refresh.extracted_at)


def _take_out_replaced(
    lake: Lake, stream: Stream, unknown: Sequence[RawObject], snapshot: int
) -> None:
    """Take out registrations up to a snapshot whose object has other bytes now.

    Whatever the policy, nobody can read the old ones, and who reads the landing table would fail.
    """
    replaced = known_versions(lake, stream, [item.key for item in unknown])
    before = [
        (lake.settings.uri(key), snapshot + 1)
        for key, versions in replaced.items()
        if any(version.event != "retired" for version in versions)
    ]
    if taken_out := forget(lake, stream.landing_table, before):
        log.warning(
            "%d landed objects were replaced: their rows have left the landing table", taken_out
        )


def _classify(
    lake: Lake, strategy: Append, layout: Layout, objects: Sequence[RawObject], guard: Guard
) -> list[FileEvent]:
    known = known_versions(lake, strategy.stream, [item.key for item in objects])
    events = []
    position = guard.file_count
    for item in sorted(objects, key=lambda item: natural_order(item.key)):
        others = [v for v in known.get(item.key, []) if v.identity != item.identity]
        events += [
            replace(version, event="replaced", remark=_GIVES_WAY[version.event])
            for version in others
            if version.event in _GIVES_WAY
        ]
        event = first_event(strategy, layout, item, others)
        if event.event == "discovered":
            position += 1
            event = replace(event, position=position)
        events.append(event)
    return events


def first_event(
    strategy: Append, layout: Layout, item: RawObject, versions: Sequence[FileEvent]
) -> FileEvent:
    """What an unknown object becomes at first, and why.

    Args:
        strategy: Of the stream.
        layout: Of the stream's objects.
        item: The object.
        versions: What the ledger knows of other versions of its key.
    """
    event, error, remark = "discovered", None, None
    if is_hidden(item.key):
        event, remark = "ignored", "the name is that of a marker, or of an unfinished file"
    elif problem := layout.problem(item.key):
        event, error = "quarantined", problem
    elif item.size_bytes == 0:
        event, error = "quarantined", "object has no bytes"
    elif strategy.on_overwrite != "reload" and (landed := _landed_version(versions)):
        end = "was retired" if landed.event == "retired" else "had landed"
        text = f"object was replaced in place after its version {landed.etag} {end}"
        if strategy.on_overwrite == "ignore":
            event, remark = "ignored", text
        else:
            event, error = "quarantined", f"{text}: retry lands the new version, drop leaves it out"
    return FileEvent(
        key=item.key,
        etag=item.etag,
        size_bytes=item.size_bytes,
        last_modified=item.last_modified,
        partition_date=layout.day(item.key, item.last_modified),
        event=event,
        error=error,
        remark=remark,
    )


def _landed_version(versions: Sequence[FileEvent]) -> FileEvent | None:
    """The version that landed last, unless its object was gone before another one came."""
    landed = [
        version
        for version in versions
        if version.event in (*LANDED, "retired", "missing")
        or (version.event == "replaced" and version.data_file)
    ]
    return landed[-1] if landed and landed[-1].event != "missing" else None
