"""Take a stream out of the lake: its tables, and if asked its objects; its ledger stays.

A landing table must not be dropped as it is: DuckLake would put the raw objects that are registered
in it on its deletion list. Their registrations are forgotten first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import layout_of
from lotus_lake.bucket.objects import delete_version, list_stream
from lotus_lake.config.streams import Stream
from lotus_lake.errors import CommitConflictError
from lotus_lake.lake.branches import refuse_under_branches
from lotus_lake.lake.data_files import REGISTERED, forget
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import files_with
from lotus_lake.ledger.guard import Cursor, Guard
from lotus_lake.ledger.schema import was_fed
from lotus_lake.sql import identifier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Remark on the files of a stream that was removed: they are unknown again, so that a stream of the
# same name lands them.
REMOVED = "the stream was removed: its rows have left the lake, its object has stayed"
_OF_A_MODEL = ("watermark", "kept_out", "failed_rows")
_PRESENT = ("discovered", "registered", "copied", "empty", "quarantined", "ignored")
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class LakeParts:
    """What a lake has of a stream.

    Attributes:
        tables: Names of its tables, with their schema; its guard and ledger are not among them.
        files: Files that the ledger holds to be there.
        objects: Objects below its prefix; `None` if the bucket was not asked.
        size_bytes: Their bytes.
    """

    tables: tuple[tuple[str, str], ...]
    files: int
    objects: int | None = None
    size_bytes: int = 0


def lake_parts(
    lake: Lake, stream: Stream, models: Sequence[str], client: S3Client | None = None
) -> LakeParts:
    """Say what a lake has of a stream; writes nothing.

    Args:
        lake: Open lake.
        stream: The stream.
        models: Names of its processed models.
        client: S3 client, to count the objects.

    Raises:
        StorageUnavailableError: The bucket could not be listed.
    """
    meta = [f"{kind}_{model}" for kind in _OF_A_MODEL for model in models]
    wanted = {"staging": [stream.landing_table], "main": list(models), "meta": meta}
    tables = tuple(
        (schema, name)
        for schema, names in wanted.items()
        for name in names
        if name in lake.tables(schema)
    )
    files = len(files_with(lake, stream, _PRESENT)) if was_fed(lake, stream) else 0
    if client is None:
        return LakeParts(tables, files)
    listed = list_stream(client, lake.settings.bucket, layout_of(lake.settings, stream))
    sizes = [item.size_bytes for item in listed]
    return LakeParts(tables, files, len(sizes), sum(sizes))


def drop_tables(lake: Lake, stream: Stream, parts: LakeParts, run_id: str) -> None:
    """Drop the tables of a stream in one commit, in which its files become unknown again.

    Args:
        lake: Open lake.
        stream: The stream.
        parts: Made by `lake_parts`.
        run_id: Who does it, for the ledger.

    Raises:
        CommitConflictError: A feeder went on landing files of the stream.
    """
    if not was_fed(lake, stream):
        _drop(lake, parts)
        return
    for _ in range(_ATTEMPTS):
        _forget_all(lake, stream)
        if commit(lake, stream, "remove the stream", run_id, _Removal(lake, stream, parts)):
            return
        if not _registered(lake, stream):
            return  # there was nothing in the ledger, and the tables are gone
    raise CommitConflictError(
        f"{stream.id}: files land faster than they can be forgotten",
        hint="pause its Dag, then run it again",
    )


def delete_objects(lake: Lake, stream: Stream, client: S3Client) -> int:
    """Delete the objects of a stream whose tables are dropped, and no others in their folder.

    Returns:
        How many were deleted; an object that was replaced since it was listed stays.

    Raises:
        UpkeepRefusedError: A branch may read them.
        StorageUnavailableError: The store did not answer, or refused.
    """
    refuse_under_branches(lake)
    bucket = lake.settings.bucket
    listed = list(list_stream(client, bucket, layout_of(lake.settings, stream)))
    return sum(delete_version(client, bucket, item) for item in listed)


@dataclass(frozen=True, slots=True)
class _Removal:
    """Drops the tables with the ledger's word on it, unless a file has landed meanwhile."""

    lake: Lake
    stream: Stream
    parts: LakeParts

    def __call__(self, _: Guard) -> Change | None:
        if _registered(self.lake, self.stream):
            return None
        for table in self.parts.tables:
            self.lake.con.execute(f"DROP TABLE IF EXISTS {identifier(LAKE, *table)}")
        files = files_with(self.lake, self.stream, _PRESENT)
        events = [
            replace(file, event="replaced", remark=REMOVED, error=None, data_file=None)
            for file in files
        ]
        return Change(events, Cursor())


def _drop(lake: Lake, parts: LakeParts) -> None:
    def unit() -> None:
        for table in parts.tables:
            lake.con.execute(f"DROP TABLE IF EXISTS {identifier(LAKE, *table)}")

    if parts.tables:
        lake.commit("remove a stream that was never fed", unit)


def _forget_all(lake: Lake, stream: Stream) -> None:
    snapshot = lake.current_snapshot()
    before = [(uri, snapshot + 1) for uri in _registered(lake, stream)]
    forget(lake, stream.landing_table, before)


def _registered(lake: Lake, stream: Stream) -> list[str]:
    """Addresses of the raw objects that are registered in the landing table."""
    if stream.landing_table not in lake.tables("staging"):
        return []
    snapshot = lake.current_snapshot()
    raw = lake.settings.uri(lake.settings.raw_prefix)
    rows = lake.rows(
        f"FROM {REGISTERED} WHERE starts_with(data_file, ?)",
        [stream.landing_table, snapshot, snapshot, raw],
    )
    return [uri for (uri,) in rows]
