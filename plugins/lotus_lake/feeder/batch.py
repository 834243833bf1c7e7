"""Task `batch`: cut the queue into batches bounded in files and bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lotus_lake.config.streams import Stream
from lotus_lake.feeder import overwrite
from lotus_lake.lake.connection import Lake
from lotus_lake.ledger import files as ledger
from lotus_lake.ledger.files import PendingFile
from lotus_lake.quantities import counted, readable_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """A range of the queue, registered in one commit. The files stay in the ledger."""

    number: int
    count: int
    first_position: int
    last_position: int
    file_count: int
    size_bytes: int

    @property
    def label(self) -> str:
        """What a person reads in the Airflow UI."""
        files, size = counted(self.file_count, "file"), readable_bytes(self.size_bytes)
        return f"batch {self.number} of {self.count}: {files}, {size}"


def plan_batches(lake: Lake, stream: Stream) -> list[Batch]:
    """Batches of this run, oldest place in the queue first; empty when nothing waits.

    At most `feeder.max_batches`; what does not fit waits for the next run. Where generations
    replace each other, one batch of all files once they are whole.
    """
    options = stream.feeder
    if stream.overwrites:
        return _whole_generation(lake, stream)
    waiting = ledger.pending_files(lake, stream, limit=options.batch_files * options.max_batches)
    groups = list(cut(waiting, options.batch_files, options.batch_bytes))[: options.max_batches]
    return _batches(groups)


def _whole_generation(lake: Lake, stream: Stream) -> list[Batch]:
    """All files of a generation in one batch, once it is whole: readers see it at once."""
    found = overwrite.readiness(lake, stream, datetime.now(UTC))
    if found.reason is not None:
        log.info("%s: %s", stream.id, found.reason)
        return []
    return _batches([ledger.pending_files(lake, stream)])


def _batches(groups: Sequence[Sequence[PendingFile]]) -> list[Batch]:
    return [
        Batch(
            number=number,
            count=len(groups),
            first_position=group[0].position,
            last_position=group[-1].position,
            file_count=len(group),
            size_bytes=sum(file.size_bytes for file in group),
        )
        for number, group in enumerate(groups, start=1)
    ]


def cut(
    files: Sequence[PendingFile], batch_files: int, batch_bytes: int
) -> Iterator[list[PendingFile]]:
    """Cut files into runs of at most `batch_files` and `batch_bytes`; a larger file goes alone."""
    group: list[PendingFile] = []
    group_bytes = 0
    for file in files:
        if group and (len(group) == batch_files or group_bytes + file.size_bytes > batch_bytes):
            yield group
            group, group_bytes = [], 0
        group.append(file)
        group_bytes += file.size_bytes
    if group:
        yield group
