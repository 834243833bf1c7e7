"""Put files back into the queue of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import FileEvent, known_versions
from lotus_lake.ledger.guard import Guard

# A commit holds its files a few times over, as events and as parameters of statements.
_FILES_A_COMMIT = 10_000


def requeue(
    lake: Lake,
    stream: Stream,
    files: Sequence[FileEvent],
    run_id: str,
    remark: str | None = None,
) -> int:
    """Queue files again; registering them then replaces what is there of them.

    Files that something has become of meanwhile are left out, and so are those whose object has
    another version in the queue: of two that wait, both would land from the one object there is.
    Many files are queued in several commits, unless they have to land as one.

    Args:
        lake: Open lake.
        stream: The stream.
        files: Known files of the grammar, that is, with a partition date.
        run_id: Who does it, for the ledger.
        remark: What there is to know of them.

    Returns:
        How many were queued.
    """
    size = _FILES_A_COMMIT if strategy_of(stream).is_divisible else len(files)
    return sum(
        _requeue(lake, stream, files[first : first + size], run_id, remark)
        for first in range(0, len(files), size or 1)
    )


def _requeue(
    lake: Lake, stream: Stream, files: Sequence[FileEvent], run_id: str, remark: str | None
) -> int:
    def decide(guard: Guard) -> Change | None:
        versions = known_versions(lake, stream, [file.key for file in files])
        chosen = [file for file in files if _may_wait(file, versions[file.key])]
        events = [
            replace(
                file,
                event="discovered",
                position=guard.file_count + number,
                remark=remark,
                data_file=None,
                rescued_count=None,
            )
            for number, file in enumerate(chosen, start=1)
        ]
        return Change(events) if events else None

    return len(commit(lake, stream, f"queue {len(files)} files again", run_id, decide))


def _may_wait(file: FileEvent, versions: Sequence[FileEvent]) -> bool:
    events = {version.identity: version.event for version in versions}
    return events[file.identity] == file.event and "discovered" not in events.values()
