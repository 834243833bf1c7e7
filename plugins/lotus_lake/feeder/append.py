"""Streams whose files add up (`destination_sync_mode: append`): the files are registered.

What the feeder does differently where generations replace each other is in `overwrite`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from lotus_lake.bucket.objects import RawObject
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.events import FileEvent
from lotus_lake.ledger.queue import PendingFile, backlog, pending_files


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whether files of the ledger's queue can land.

    Attributes:
        work: What can land now; `None` when nothing can.
        reason: Why nothing can.
        wake_at: When to compare again even if nothing arrives.
    """

    work: str | None = None
    reason: str | None = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refresh:
    """Which full refresh has written an object, as far as its footer says.

    Attributes:
        generation_id: Airbyte's generation.
        extracted_at: When its youngest row was read at the source.
    """

    generation_id: int | None = None
    extracted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """The feeder's decisions for a stream whose files add up."""

    stream: Stream

    # Whether each listing sees the whole prefix, and so what is gone from it.
    lists_everything: ClassVar = False
    # Whether files land as copies, whatever they are like.
    copies: ClassVar = False
    # Whether landing files that are old and consumed are retired.
    retires: ClassVar = True
    # Whether files stand for themselves, so that some of them can be fed again.
    is_divisible: ClassVar = True
    # Events of files whose object has to be there.
    present_events: ClassVar[tuple[str, ...]] = ("registered",)

    @property
    def on_overwrite(self) -> Literal["error", "reload", "ignore"]:
        """What to do about an object that was replaced in place."""
        return self.stream.feeder.on_overwrite

    def is_present(self, file: FileEvent, found: RawObject | None) -> bool:
        """Whether what was found under a file's key is its object."""
        return found is not None  # another version of the key is not missing

    def absent_event(self, file: FileEvent, listed: int) -> str:
        """What becomes of a file whose object is gone; `listed` objects of the stream are left."""
        return "missing"

    def refreshes(self, lake: Lake, keys: Sequence[str]) -> dict[str, Refresh]:
        """Which full refresh has written each object, where it matters."""
        return {}

    def waiting(self, lake: Lake, now: datetime) -> Waiting:
        """Whether files of the queue can land."""
        count = backlog(lake, self.stream)[0]
        return Waiting(work=f"{count} discovered files wait") if count else Waiting()

    def noticed(self, lake: Lake, object_count: int) -> str | None:
        """What a listing that has nothing new shows all the same."""
        return None

    def batches(self, lake: Lake, now: datetime) -> list[list[PendingFile]]:
        """The files of the next run, a list for each commit."""
        options = self.stream.feeder
        limit = options.batch_files * options.max_batches
        return self.cut(pending_files(lake, self.stream, limit=limit))

    def cut(self, queue: Sequence[PendingFile]) -> list[list[PendingFile]]:
        """Cut a queue into commits."""
        options = self.stream.feeder
        groups = cut(queue, options.batch_files, options.batch_bytes)
        return list(groups)[: options.max_batches]

    def choose(
        self, lake: Lake, files: Sequence[PendingFile]
    ) -> tuple[Sequence[PendingFile], list[Outcome]]:
        """The files of a batch that are to land, and what becomes of the others."""
        return files, []

    def committable(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """What of a batch to commit."""
        return list(outcomes)

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Complain, after the commit, about what could not land, where that is an error."""

    def make_room(self, lake: Lake, *, is_whole: bool) -> None:
        """Take rows out that those of a batch replace; called in its transaction.

        Args:
            lake: Open lake.
            is_whole: Whether all that was decided on is still to land.
        """

    def empty(self, lake: Lake, run_id: str) -> int:
        """Take out all rows of an overwrite stream of which no object is left.

        Returns:
            How many files they were of.
        """
        return 0


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
