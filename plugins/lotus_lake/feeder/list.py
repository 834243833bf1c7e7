"""Task `list`: find the objects that the ledger does not know, and put them into its queue."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import key_problem, natural_order, partition_date, window_start
from lotus_lake.bucket.objects import RawObject, list_objects
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.overwrite import PRESENT, read_generations
from lotus_lake.lake.connection import Lake
from lotus_lake.landing import tables as landing
from lotus_lake.ledger import files as ledger
from lotus_lake.ledger.files import LANDED, FileEvent, Guard

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Objects compared with the ledger, and committed, at once: bounds memory on a first, long listing.
CHUNK_OBJECTS = 20_000

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
    ledger.initialise(lake, stream)
    landing.reconcile(lake, stream)
    prefix = stream.prefix(lake.settings.raw_prefix)
    window = listing_start(lake, stream)
    start_after = None if whole else window
    log.info(
        "listing s3://%s/%s after %s", lake.settings.bucket, prefix, start_after or "the start"
    )
    listed, late, missing, events, last_key = 0, 0, 0, Counter[str](), ""
    objects = list_objects(client, lake.settings.bucket, prefix, start_after)
    for chunk in _chunks(objects, CHUNK_OBJECTS):
        listed += len(chunk)
        new = _discover(lake, stream, prefix, chunk, run_id)
        events.update(event.event for event in new)
        late += sum(event.event == "discovered" and event.key < (window or "") for event in new)
        if whole or stream.overwrites:
            missing += note_absent(lake, stream, (last_key, chunk[-1].key), chunk, run_id)
            last_key = chunk[-1].key
        log.info("%d objects listed, new: %s", listed, dict(events) or "none")
    if whole or stream.overwrites:
        missing += note_absent(lake, stream, (last_key, None), (), run_id)
    return Listing(
        listed=listed,
        discovered=events["discovered"],
        quarantined=events["quarantined"],
        ignored=events["ignored"],
        backlog=ledger.backlog(lake, stream)[0],
        late=late,
        missing=missing,
    )


def listing_start(lake: Lake, stream: Stream) -> str | None:
    """Exclusive lower bound of the listing: `lookback_days` before the cursor; see `keys`.

    Streams whose generations replace each other are listed as a whole: there is little, and what
    has been deleted tells when a generation is whole.
    """
    if stream.overwrites or not ledger.is_initialised(lake, stream):
        return None
    return window_start(
        stream.prefix(lake.settings.raw_prefix),
        ledger.read_guard(lake, stream).cursor_date,
        stream.feeder.lookback_days,
    )


def note_absent(
    lake: Lake,
    stream: Stream,
    keys: tuple[str, str | None],
    objects: Sequence[RawObject],
    run_id: str,
) -> int:
    """Record which files of a range of keys have lost their object.

    A registered file is missing then: its rows cannot be read any more. Where generations replace
    each other the source deletes objects by itself, and nothing is missing.

    Args:
        lake: Open lake.
        stream: The stream.
        keys: The range, as (after, up to); no upper bound when `None`.
        objects: All objects of the bucket in that range.
        run_id: Who noticed, for the ledger.

    Returns:
        How many were recorded.
    """
    if not _absent(lake, stream, keys, objects):
        return 0

    def unit() -> int:
        guard = ledger.read_guard(lake, stream)
        event = "replaced" if stream.overwrites else "missing"
        gone = [
            replace(file, event=event, error="the object is gone from the bucket")
            for file in _absent(lake, stream, keys, objects)
        ]
        if gone:
            ledger.record(lake, stream, guard, gone, run_id=run_id)
        return len(gone)

    count = lake.commit(f"{stream.id}: note what is gone from the bucket, run {run_id}", unit)
    if not stream.overwrites:
        log.warning("%d registered objects are gone from the bucket", count)
    return count


def _absent(
    lake: Lake, stream: Stream, keys: tuple[str, str | None], objects: Sequence[RawObject]
) -> list[FileEvent]:
    events = PRESENT if stream.overwrites else ("registered",)
    known = ledger.files_with(lake, stream, events, keys)
    if stream.overwrites:
        identities = {(item.key, item.etag, item.size_bytes) for item in objects}
        return [f for f in known if (f.key, f.etag, f.size_bytes) not in identities]
    there = {item.key for item in objects}  # another version of the key is not missing
    return [file for file in known if file.key not in there]


def _discover(
    lake: Lake, stream: Stream, prefix: str, objects: Sequence[RawObject], run_id: str
) -> list[FileEvent]:
    unknown = ledger.unknown(lake, stream, objects)
    if not unknown:
        return []
    generations = (
        read_generations(lake, [item.key for item in unknown if not key_problem(prefix, item.key)])
        if stream.overwrites
        else {}
    )

    def unit() -> list[FileEvent]:
        guard = ledger.read_guard(lake, stream)
        new = ledger.unknown(lake, stream, objects)
        if not new:
            return []
        events = [
            replace(event, generation_id=event.generation_id or generations.get(event.key))
            for event in _classify(lake, stream, prefix, new, guard)
        ]
        ledger.record(lake, stream, guard, events, run_id=run_id)
        return events

    return lake.commit(f"{stream.id}: discover {len(objects)} files at most", unit)


def _classify(
    lake: Lake, stream: Stream, prefix: str, objects: Sequence[RawObject], guard: Guard
) -> list[FileEvent]:
    known = ledger.known_versions(lake, stream, [item.key for item in objects])
    events = []
    position = guard.file_count
    for item in sorted(objects, key=lambda item: natural_order(item.key)):
        others = [v for v in known.get(item.key, []) if not _same(v, item)]
        events += [
            replace(version, event="replaced", error="object was replaced before it could land")
            for version in others
            if version.event in ("discovered", "quarantined")
        ]
        event, error = first_event(stream, prefix, item, others)
        if event == "discovered":
            position += 1
        events.append(
            FileEvent(
                key=item.key,
                etag=item.etag,
                size_bytes=item.size_bytes,
                last_modified=item.last_modified,
                partition_date=partition_date(prefix, item.key),
                event=event,
                position=position if event == "discovered" else None,
                error=error,
            )
        )
    return events


def _same(version: FileEvent, item: RawObject) -> bool:
    return (version.etag, version.size_bytes) == (item.etag, item.size_bytes)


def first_event(
    stream: Stream, prefix: str, item: RawObject, versions: Sequence[FileEvent]
) -> tuple[str, str | None]:
    """What an unknown object becomes at first, and why.

    Args:
        stream: The stream.
        prefix: Its prefix, ending in a slash.
        item: The object.
        versions: What the ledger knows of other versions of its key.
    """
    if problem := key_problem(prefix, item.key):
        return "quarantined", problem
    if item.size_bytes == 0:
        return "quarantined", "object has no bytes"
    policy = "reload" if stream.overwrites else stream.feeder.on_overwrite
    # Any version, not just the latest: a path that is registered twice is read twice.
    for version in versions:
        if version.event in (*LANDED, "retired") and policy != "reload":
            event = "ignored" if policy == "ignore" else "quarantined"
            return event, (
                f"object was replaced in place after its version {version.etag} was {version.event}"
            )
    return "discovered", None


def _chunks(objects: Iterable[RawObject], size: int) -> Iterator[list[RawObject]]:
    iterator = iter(objects)
    while chunk := list(islice(iterator, size)):
        yield chunk
