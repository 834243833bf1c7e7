"""The sensor's decision: whether there is work for a stream.

Work is: files that wait in the ledger's queue, landed rows that wait for a model, and objects in
the window of the bucket that the ledger does not know. A key that merely exists is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import Fingerprint, list_stream
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.append import Waiting
from lotus_lake.feeder.list import listing_start
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.events import unknown_objects
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import has_unprocessed, processed_snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK_OBJECTS = 5_000


@dataclass(frozen=True, slots=True)
class Look:
    """One comparison of bucket and ledger.

    Attributes:
        work: Why there is work, if there is.
        processed_snapshot_id: Up to which every consumer has read; -1 if one never ran.
        start_after: Where the listing started.
        fingerprint: Of the listing; the trigger compares it to notice that the bucket has changed.
        wake_at: When to compare again even if it has not.
    """

    work: str | None
    processed_snapshot_id: int
    start_after: str | None
    fingerprint: str
    wake_at: datetime | None


def look_for_work(lake: Lake, stream: Stream, client: S3Client, consumers: Sequence[str]) -> Look:
    """Look at the ledger, then list the window, page by page, up to the first unknown object.

    Args:
        lake: Open lake.
        stream: The stream.
        client: S3 client.
        consumers: Processed models of the stream; rows they have not consumed are work too.

    Raises:
        StorageUnavailableError: The listing failed.
    """
    start_after = listing_start(lake, stream)
    strategy, fed = strategy_of(stream), was_fed(lake, stream)
    waiting = Waiting()
    if fed and has_unprocessed(lake, stream, consumers):
        waiting = Waiting(work="landed rows wait to be processed")
    elif fed:
        waiting = strategy.waiting(lake, datetime.now(UTC))
    work, found, digest = waiting.work, 0, Fingerprint()
    layout = layout_of(lake.settings, stream)
    objects = list_stream(client, lake.settings.bucket, layout, start_after)
    while work is None and (chunk := list(islice(objects, _CHUNK_OBJECTS))):
        digest.update(chunk)
        found += len(chunk)
        if new := unknown_objects(lake, stream, chunk) if fed else chunk:
            work = f"new files, the first is {new[0].key}"
    if work is None and fed:
        work = strategy.noticed(lake, found)
    processed = processed_snapshot(lake, stream, consumers) if fed and consumers else -1
    return Look(work, processed, start_after, digest.text(), waiting.wake_at)
