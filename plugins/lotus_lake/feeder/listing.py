"""Task `list`: find the objects that the ledger does not know, and put them into its queue."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake import landing, ledger
from lotus_lake.catalog import Lake
from lotus_lake.keys import key_problem, natural_order, partition_date, window_start
from lotus_lake.ledger import FileEvent, Guard
from lotus_lake.storage import RawObject, list_objects
from lotus_lake.streams import Stream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Objects compared with the ledger, and committed, at once: bounds memory on a first, long listing.
CHUNK_OBJECTS = 20_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing found: objects in the window, and what became of the unknown ones."""

    listed: int
    discovered: int
    quarantined: int
    ignored: int
    backlog: int


def list_files(lake: Lake, stream: Stream, client: S3Client, run_id: str) -> Listing:
    """Bring the lake's tables up to the config, list the window, and record what is new.

    Raises:
        StorageUnavailableError: The listing failed.
        SchemaMismatchError: The landing table does not fit the config.
    """
    ledger.initialise(lake, stream)
    landing.reconcile(lake, stream)
    prefix = stream.prefix(lake.settings.raw_prefix)
    start_after = listing_start(lake, stream)
    log.info(
        "listing s3://%s/%s after %s", lake.settings.bucket, prefix, start_after or "the start"
    )
    listed, events = 0, Counter[str]()
    objects = list_objects(client, lake.settings.bucket, prefix, start_after)
    for chunk in _chunks(objects, CHUNK_OBJECTS):
        listed += len(chunk)
        events.update(_discover(lake, stream, prefix, chunk, run_id))
        log.info("%d objects listed, new: %s", listed, dict(events) or "none")
    return Listing(
        listed=listed,
        discovered=events["discovered"],
        quarantined=events["quarantined"],
        ignored=events["ignored"],
        backlog=ledger.backlog(lake, stream)[0],
    )


def listing_start(lake: Lake, stream: Stream) -> str | None:
    """Exclusive lower bound of the listing: `lookback_days` before the cursor; see `keys`."""
    if not ledger.is_initialised(lake, stream):
        return None
    return window_start(
        stream.prefix(lake.settings.raw_prefix),
        ledger.read_guard(lake, stream).cursor_date,
        stream.feeder.lookback_days,
    )


def _discover(
    lake: Lake, stream: Stream, prefix: str, objects: Sequence[RawObject], run_id: str
) -> Counter[str]:
    if not ledger.unknown(lake, stream, objects):
        return Counter()

    def unit() -> Counter[str]:
        guard = ledger.read_guard(lake, stream)
        new = ledger.unknown(lake, stream, objects)
        if not new:
            return Counter()
        events = _classify(lake, stream, prefix, new, guard)
        ledger.record(lake, stream, guard, events, run_id=run_id)
        return Counter(event.event for event in events)

    return lake.commit(f"{stream.id}: discover {len(objects)} files at most", unit)


def _classify(
    lake: Lake, stream: Stream, prefix: str, objects: Sequence[RawObject], guard: Guard
) -> list[FileEvent]:
    known = ledger.known_versions(lake, stream, [item.key for item in objects])
    events = []
    position = guard.file_count
    for item in sorted(objects, key=lambda item: natural_order(item.key)):
        versions = known.get(item.key, [])
        events += [
            replace(version, event="ignored", error="object was replaced before it was registered")
            for version in versions
            if version.event == "discovered"
        ]
        event, error = _first_event(stream, prefix, item, versions)
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


def _first_event(
    stream: Stream, prefix: str, item: RawObject, versions: Sequence[FileEvent]
) -> tuple[str, str | None]:
    if problem := key_problem(prefix, item.key):
        return "quarantined", problem
    if item.size_bytes == 0:
        return "quarantined", "object has no bytes"
    # Any version, not just the latest: a path that is registered twice is read twice.
    for version in versions:
        if version.event in ("registered", "retired"):
            event = "ignored" if stream.feeder.on_overwrite == "ignore" else "quarantined"
            return event, (
                f"object was replaced in place after its version {version.etag} was {version.event}"
            )
    return "discovered", None


def _chunks(objects: Iterable[RawObject], size: int) -> Iterator[list[RawObject]]:
    iterator = iter(objects)
    while chunk := list(islice(iterator, size)):
        yield chunk
