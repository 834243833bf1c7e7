"""What is decided about a file, before it is committed."""

from __future__ import annotations

from dataclasses import dataclass

from lotus_lake.ledger.files import FileEvent, PendingFile


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be written about a file.

    Attributes:
        file: The file.
        event: Its event in the ledger.
        row_count: Its rows, when they are known.
        note: Error, or a remark on a file that is fine.
        data_file: Address to register, of the object itself or of a copy.
    """

    file: PendingFile
    event: str
    row_count: int | None = None
    note: str | None = None
    data_file: str | None = None

    def to_event(self) -> FileEvent:
        """The row of the ledger."""
        return FileEvent(
            key=self.file.key,
            etag=self.file.etag,
            size_bytes=self.file.size_bytes,
            last_modified=self.file.last_modified,
            partition_date=self.file.partition_date,
            event=self.event,
            row_count=self.row_count,
            error=self.note,
            data_file=self.data_file,
            generation_id=self.file.generation_id,
        )
