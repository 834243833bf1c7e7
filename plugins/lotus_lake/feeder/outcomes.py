"""What is decided about a file, before it is committed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lotus_lake.ledger.events import REFUSED, FileEvent
from lotus_lake.ledger.queue import PendingFile


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be written about a file.

    Attributes:
        file: The file.
        event: Its event in the ledger.
        row_count: Its rows, when they are known.
        note: Why it is quarantined, or a remark on a file that is not.
        data_file: Address to register, of the object itself or of a copy.
        is_refused: Whether the store lets nobody read the object now.
        shape: Digest of its schema, of a file that lands as it is.
        rescued_count: Its rows of which `_lake_rescued` keeps values.
    """

    file: PendingFile
    event: str
    row_count: int | None = None
    note: str | None = None
    data_file: str | None = None
    is_refused: bool = False
    shape: str = ""
    rescued_count: int = 0

    def quarantined(self, reason: str) -> Outcome:
        """The same file, which cannot land after all."""
        return replace(
            self,
            event="quarantined",
            row_count=None,
            note=reason,
            data_file=None,
            rescued_count=0,
        )

    def to_event(self) -> FileEvent:
        """The row of the ledger."""
        is_error = self.event == "quarantined"
        return FileEvent(
            key=self.file.key,
            etag=self.file.etag,
            size_bytes=self.file.size_bytes,
            last_modified=self.file.last_modified,
            partition_date=self.file.partition_date,
            event=self.event,
            row_count=self.row_count,
            error=self.note if is_error else None,
            remark=(REFUSED if self.is_refused else None) if is_error else self.note,
            data_file=self.data_file,
            generation_id=self.file.generation_id,
            rescued_count=self.rescued_count or None,
        )
