"""Compare bucket, ledger and landing table completely, and repair what can be repaired.

A run of a stream lists a window of its prefix. This lists all of it: files that came later than the
window reaches back land, and objects that somebody deleted are found; if asked, their rows are
removed from the landing table, so that queries of the other rows work again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.feed import land_all
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.data_files import forget
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.registrations import (
    count_unknown,
    files_without_registration,
    registered_but_missing,
)
from lotus_lake.quantities import counted
from lotus_lake.repair.requeue import requeue

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
        is_empty: Whether they are all of an overwrite stream, and landed as copies.
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
    is_empty: bool
    repaired: int
    unknown_data_files: int
    registered: int
    rows: int

    @property
    def summary(self) -> str:
        """What was looked at and what landed, in a sentence."""
        parts = [f"{counted(self.listed, 'object')} listed"]
        for number, what in (
            (self.late, "late"),
            (self.quarantined, "quarantined"),
            (self.requeued, "landed again"),
            (self.missing, "gone from the bucket"),
            (self.repaired, "taken out of the landing table"),
        ):
            parts += [f"{number} {what}"] if number else []
        landed = counted(self.registered, "file")
        return f"{', '.join(parts)}; {landed} landed with {counted(self.rows, 'row')}"

    @property
    def problems(self) -> list[str]:
        """What needs a person, each with what to do."""
        found = []
        if self.missing > self.repaired and self.is_empty:
            found.append(
                "no object is left, and the rows that landed last stay; if the source is empty, "
                "`lotus-lake reconcile SOURCE STREAM --empty` removes them"
            )
        elif self.missing > self.repaired:
            found.append(
                f"{self.missing - self.repaired} landed files have lost their object, and queries "
                "that read them fail; `lotus-lake reconcile SOURCE STREAM --repair` removes "
                "their rows"
            )
        if self.unknown_data_files:
            found.append(
                f"{self.unknown_data_files} data files of the landing table are not in the ledger, "
                "or registered twice: somebody registered them by hand"
            )
        return found


def reconcile(
    lake: Lake,
    stream: Stream,
    client: S3Client,
    run_id: str,
    *,
    repair: bool = False,
    empty: bool = False,
) -> Reconciliation:
    """List everything, record what is new or gone, land what waits.

    Args:
        lake: Open lake.
        stream: The stream.
        client: S3 client.
        run_id: Who does it, for the ledger.
        repair: Take rows out of the landing table whose object is gone.
        empty: Take out the rows of an overwrite stream of which no object is left. They can still
            be read, and may be all there is of them: only somebody who knows that the source is
            empty can tell.

    Raises:
        StorageUnavailableError: The listing failed: nothing is taken for missing then.
    """
    listing = list_files(lake, stream, client, run_id, whole=True)
    strategy = strategy_of(stream)
    divisible = strategy.is_divisible
    requeued = _requeue_unregistered(lake, stream, run_id) if divisible else 0
    missing, snapshot = registered_but_missing(lake, stream)
    # What has landed since then under the same address stays.
    before = [(str(file.data_file), snapshot + 1) for file in missing]
    repaired = forget(lake, stream.landing_table, before) if repair and divisible else 0
    repaired += strategy.empty(lake, run_id) if empty else 0
    landed = land_all(lake, stream, run_id)
    result = Reconciliation(
        listed=listing.listed,
        discovered=listing.discovered,
        late=listing.late,
        quarantined=listing.quarantined,
        requeued=requeued,
        missing=len(missing),
        is_empty=bool(missing) and not divisible,
        repaired=repaired,
        unknown_data_files=count_unknown(lake, stream),
        registered=landed.registered + landed.copied,
        rows=landed.row_count,
    )
    log.info("%s: %s", stream.id, result.summary)
    for problem in result.problems:
        log.warning("%s: %s", stream.id, problem)
    return result


def _requeue_unregistered(lake: Lake, stream: Stream, run_id: str) -> int:
    """Queue the files that the ledger holds to be landed and that DuckLake does not know."""
    lost = files_without_registration(lake, stream)
    if lost:
        log.warning("%d landed files are not in the landing table: they land again", len(lost))
    return requeue(lake, stream, lost, run_id)
