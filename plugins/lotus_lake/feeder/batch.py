"""Task `batch`: cut the queue into batches bounded in files and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.session import Lake
from lotus_lake.quantities import counted, readable_bytes


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
    """Batches of this run, oldest place in the queue first; empty when nothing can land.

    At most `feeder.max_batches`; what does not fit waits for the next run. Where generations
    replace each other, one batch of all files once they are whole.
    """
    groups = strategy_of(stream).batches(lake, datetime.now(UTC))
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
