"""Compare bucket, ledger and landing table as a whole, and put right what can be.

A run of a stream looks at a window of the bucket. This looks at all of it: files that came later
than the window reaches back are landed, objects that somebody deleted are found and, if asked,
their rows taken out of the landing table, so that readers of the others work again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.connection import LAKE, Lake
from lotus_lake.ledger import files as ledger
from lotus_lake.ledger import registrations as data_files
from lotus_lake.ledger.files import FileEvent

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What bucket, ledger and landing table have to say of each other.

    Attributes:
        listed: Objects below the stream's prefix.
        discovered: Objects that the ledger did not know and that can land.
        late: Those of them that no run of the stream would have seen: older than its window.
        quarantined: Objects that the ledger did not know and that cannot land.
        requeued: Files that should be in the landing table and were not; they land again.
        missing: Files whose rows are in the landing table and whose object is gone.
        repaired: Those of them whose rows were taken out.
        unknown_data_files: Registrations that the ledger does not know, or that are there twice.
        registered: Files that landed in the end, copies included.
        rows: Their rows.
    """

    listed: int
    discovered: int
    late: int
    quarantined: int
    requeued: int
    missing: int
    repaired: int
    unknown_data_files: int
    registered: int
    rows: int

    @property
    def problems(self) -> list[str]:
        """What a person has to look at, each with what to do."""
        found = []
        if self.missing > self.repaired:
            found.append(
                f"{self.missing - self.repaired} landed files have lost their object: readers that "
                "open them fail; `lotus-lake reconcile SOURCE STREAM --repair` takes them out"
            )
        if self.unknown_data_files:
            found.append(
                f"{self.unknown_data_files} data files of the landing table are not in the ledger, "
                "or registered twice: somebody has done that by hand"
            )
        return found


def reconcile(
    lake: Lake, stream: Stream, client: S3Client, run_id: str, *, repair: bool = False
) -> Reconciliation:
    """List everything, record what is new or gone, land what waits.

    Args:
        lake: Open lake.
        stream: The stream.
        client: S3 client.
        run_id: Who does it, for the ledger.
        repair: Take rows out of the landing table whose object is gone.

    Raises:
        StorageUnavailableError: The listing failed: nothing is taken for missing then.
    """
    listing = list_files(lake, stream, client, run_id, whole=True)
    requeued = 0 if stream.overwrites else _requeue_unregistered(lake, stream, run_id)
    missing = data_files.registered_but_missing(lake, stream)
    repaired = _take_out(lake, stream, missing) if repair else 0
    landed = land_all(lake, stream, run_id)
    result = Reconciliation(
        listed=listing.listed,
        discovered=listing.discovered,
        late=listing.late,
        quarantined=listing.quarantined,
        requeued=requeued,
        missing=len(missing),
        repaired=repaired,
        unknown_data_files=data_files.count_unknown(lake, stream),
        registered=landed.registered + landed.copied,
        rows=landed.row_count,
    )
    log.info("%s: %s", stream.id, result)
    for problem in result.problems:
        log.warning("%s: %s", stream.id, problem)
    return result


def land_all(lake: Lake, stream: Stream, run_id: str) -> Registration:
    """Register everything that waits, run by run."""
    total = Registration()
    while batches := plan_batches(lake, stream):
        for batch in batches:
            total += register_batch(lake, stream, batch, run_id)
    return total


def requeue(lake: Lake, stream: Stream, files: Sequence[FileEvent], run_id: str) -> int:
    """Put files back into the queue; registering them again replaces what is there of them.

    Files that something has become of meanwhile are left out, and so are those whose object has
    another version in the queue: of two that wait, both would land from the one object there is.

    Args:
        lake: Open lake.
        stream: The stream.
        files: Known files of the grammar, that is, with a partition date.
        run_id: Who does it, for the ledger.

    Returns:
        How many were put there.
    """
    if not files:
        return 0

    def unit() -> int:
        guard = ledger.read_guard(lake, stream)
        versions = ledger.known_versions(lake, stream, [file.key for file in files])
        events = [
            replace(file, event="discovered", position=guard.file_count + number, data_file=None)
            for number, file in enumerate(
                (file for file in files if _may_wait(file, versions[file.key])), start=1
            )
        ]
        if events:
            ledger.record(lake, stream, guard, events, run_id=run_id)
        return len(events)

    return lake.commit(f"{stream.id}: queue {len(files)} files again, run {run_id}", unit)


def _may_wait(file: FileEvent, versions: Sequence[FileEvent]) -> bool:
    events = {(version.etag, version.size_bytes): version.event for version in versions}
    unchanged = events[file.etag, file.size_bytes] == file.event
    return unchanged and "discovered" not in events.values()


def _requeue_unregistered(lake: Lake, stream: Stream, run_id: str) -> int:
    """Queue the files that the ledger holds to be landed and that DuckLake does not know."""
    lost = data_files.files_without_registration(lake, stream)
    if lost:
        log.warning("%d landed files are not in the landing table: they land again", len(lost))
    return requeue(lake, stream, lost, run_id)


def _take_out(lake: Lake, stream: Stream, files: Sequence[FileEvent]) -> int:
    head = lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")
    return data_files.forget(lake, stream, [(str(file.data_file), head + 1) for file in files])
