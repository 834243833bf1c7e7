"""Streams whose full refreshes replace each other (`destination_sync_mode: overwrite`).

Airbyte writes the files of a new generation next to those of the old one, and deletes the old ones
once the sync has succeeded. So a generation is taken for whole when the files of older ones are
gone and no file of it has appeared for `settle_seconds`. It lands as copies, because its objects
are going to be deleted, in one commit that takes the rows of the old generation out: a reader sees
one generation or the other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import duckdb

from lotus_lake.bucket.keys import format_of
from lotus_lake.bucket.objects import RawObject, look_at, s3_client
from lotus_lake.error_translation import raise_if_no_room
from lotus_lake.errors import CommitConflictError, SchemaMismatchError
from lotus_lake.feeder.append import Append, Refresh, Waiting
from lotus_lake.feeder.formats import read_rows
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import EMPTIED, FileEvent, files_with
from lotus_lake.ledger.guard import Guard
from lotus_lake.ledger.queue import PendingFile, pending_files
from lotus_lake.sql import identifier, json_array

# What the ledger says of objects that are in the bucket.
PRESENT = ("discovered", "copied", "empty", "quarantined", "ignored")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Overwrite(Append):
    """The feeder's decisions for a stream whose generations replace each other."""

    # There is little, and deleted files show when a generation is whole.
    lists_everything = True
    copies = True
    retires = False  # Airbyte deletes its objects itself
    is_divisible = False
    present_events = PRESENT

    @property
    def on_overwrite(self) -> Literal["error", "reload", "ignore"]:
        """A sync that is repeated writes its objects again."""
        return "reload"

    def is_present(self, file: FileEvent, found: RawObject | None) -> bool:
        """Whether this very version of the object is there."""
        return found is not None and found.identity == file.identity

    def absent_event(self, file: FileEvent, listed: int) -> str:
        """The source deletes older generations, and rows are missed only where nothing is left."""
        return "missing" if file.event == "copied" and not listed else "replaced"

    def refreshes(self, lake: Lake, keys: Sequence[str]) -> dict[str, Refresh]:
        """Refresh of each object, from the statistics in its footer; broken files have none.

        Files of other formats than Parquet have no statistics: they are read.
        """
        whole = [key for key in keys if format_of(key) != ("parquet", False)]
        keys = [key for key in keys if key not in whole]
        found = {key: self._read_refresh(lake, key) for key in whole}
        if not keys:
            return found
        by_uri = {lake.settings.uri(key): key for key in keys}
        try:
            rows = lake.rows(
                """
                SELECT file_name,
                       max(TRY_CAST(stats_max_value AS BIGINT))
                           FILTER (path_in_schema = '_airbyte_generation_id'),
                       max(TRY_CAST(stats_max_value AS TIMESTAMPTZ))
                           FILTER (path_in_schema = '_airbyte_extracted_at')
                FROM parquet_metadata(?) GROUP BY file_name
                """,
                [list(by_uri)],
            )
        except duckdb.Error as error:
            raise_if_no_room(error)
            if len(keys) == 1:
                look_at(s3_client(lake.settings.s3), lake.settings.bucket, keys[0])
                return found
            middle = len(keys) // 2
            halves = keys[:middle], keys[middle:]
            return found | self.refreshes(lake, halves[0]) | self.refreshes(lake, halves[1])
        return found | {by_uri[uri]: Refresh(*said) for uri, *said in rows}

    def _read_refresh(self, lake: Lake, key: str) -> Refresh:
        try:
            reading = read_rows(lake, key, {}, unflattened=False)
            wanted = (
                ("_airbyte_generation_id", "BIGINT"),
                ("_airbyte_extracted_at", "TIMESTAMPTZ"),
            )
            greatest = [
                f"max(TRY_CAST({name} AS {kind}))" if name in reading.columns else "NULL"
                for name, kind in wanted
            ]
            [row] = lake.rows(f"SELECT {', '.join(greatest)} FROM {reading.relation}")
        except duckdb.Error as error:
            raise_if_no_room(error)
            look_at(s3_client(lake.settings.s3), lake.settings.bucket, key)
            return Refresh()
        return Refresh(*row)

    def waiting(self, lake: Lake, now: datetime) -> Waiting:
        """Whether files wait that make a whole generation, as far as the ledger knows."""
        files = files_with(lake, self.stream, PRESENT)
        waiting = [file for file in files if file.event == "discovered"]
        if not waiting:
            return Waiting(reason="no file waits")
        newest = _newest(files)
        for file in files:
            if file.event == "quarantined" and file.generation_id in (None, newest):
                return Waiting(
                    reason=f"generation {newest} is not whole: {file.key} is quarantined"
                )
            if _is_older(file, newest):
                return Waiting(
                    reason=f"generation {newest} is not whole: {file.key} of generation "
                    f"{file.generation_id} is still there"
                )
        settled_at = max(file.last_modified for file in waiting) + timedelta(
            seconds=self.stream.feeder.settle_seconds
        )
        if settled_at > now:
            reason = f"generation {newest} settles until {settled_at:%H:%M:%S}"
            return Waiting(reason=reason, wake_at=settled_at)
        return Waiting(work="a whole generation waits")

    def noticed(self, lake: Lake, object_count: int) -> str | None:
        """Files that have gone matter as much as new ones."""
        if object_count < len(files_with(lake, self.stream, PRESENT)):
            return "files of an older generation are gone"
        return None

    def batches(self, lake: Lake, now: datetime) -> list[list[PendingFile]]:
        """All files of a generation in one commit, once it is whole: readers see it at once.

        Raises:
            SchemaMismatchError: Generations start again, and the old objects are still there.
        """
        found = self.waiting(lake, now)
        if found.work is None:
            self._ask_about_restart(lake)
            log.info("%s: %s", self.stream.id, found.reason)
            return []
        return self.cut(pending_files(lake, self.stream))

    def _ask_about_restart(self, lake: Lake) -> None:
        """Airbyte deletes older generations by number: it leaves those of a connection before."""
        files = files_with(lake, self.stream, PRESENT)
        if files_with(lake, self.stream, ("missing",)):
            log.warning(
                "%s: no object is left; the rows that landed last stay. If the source is empty, "
                "remove them: lotus-lake reconcile %s %s --empty",
                self.stream.id,
                self.stream.source,
                self.stream.name,
            )
        newest = _newest(files)
        left = [f for f in files if _is_older(f, newest) and (f.generation_id or 0) > (newest or 0)]
        if newest is not None and left:
            raise SchemaMismatchError(
                f"{self.stream.id}: generation {newest} is younger than generation "
                f"{left[0].generation_id}, of which {len(left)} objects are left: its connection "
                "was recreated, and Airbyte will not delete them",
                hint=f"once its sync has succeeded, delete the old objects, such as {left[0].key}: "
                "their rows stay until the new generation lands",
            )

    def cut(self, queue: Sequence[PendingFile]) -> list[list[PendingFile]]:
        """A generation is one commit."""
        return [list(queue)] if queue else []

    def choose(
        self, lake: Lake, files: Sequence[PendingFile]
    ) -> tuple[Sequence[PendingFile], list[Outcome]]:
        """The files of the newest generation; those of older ones are ignored."""
        newest = _newest(files_with(lake, self.stream, PRESENT))
        chosen = [file for file in files if file.generation_id in (None, newest)]
        older = [
            Outcome(file, "ignored", note=f"generation {newest} has replaced it")
            for file in files
            if file not in chosen
        ]
        return chosen, older

    def committable(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """All of a generation, or, when a file of it cannot land, nothing of it."""
        if any(outcome.event == "quarantined" for outcome in outcomes):
            return [outcome for outcome in outcomes if outcome.event in ("quarantined", "ignored")]
        return list(outcomes)

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Say that a generation could not land; the one before stays.

        Raises:
            SchemaMismatchError: Names the file.
        """
        for outcome in outcomes:
            if outcome.event == "quarantined":
                raise SchemaMismatchError(
                    f"{self.stream.id}: generation {outcome.file.generation_id} is not whole: "
                    f"{outcome.file.key}: {outcome.note}",
                    hint="the generation before stays; repair the file and `lotus-lake quarantine "
                    "retry`, or let Airbyte sync again",
                )

    def make_room(self, lake: Lake, *, is_whole: bool) -> None:
        """Take the rows of other generations out.

        Files of the same generation that have landed before, and do not land again, stay. Where
        files carry no generation, all that are there are one.
        """
        if not is_whole:
            raise CommitConflictError(f"{self.stream.id}: files of the generation have gone")
        files = files_with(lake, self.stream, PRESENT)
        newest = _newest(files)
        kept = [
            file.data_file
            for file in files
            if file.event == "copied" and file.generation_id == newest
        ]
        table = identifier(LAKE, "staging", self.stream.landing_table)
        if kept:
            lake.con.execute(
                f"DELETE FROM {table} WHERE filename NOT IN (SELECT unnest(?::JSON::VARCHAR[]))",
                [json_array(kept)],
            )
        else:
            lake.con.execute(f"DELETE FROM {table}")

    def empty(self, lake: Lake, run_id: str) -> int:
        """In one commit with the events that its models wait for."""

        def decide(_: Guard) -> Change | None:
            missing = files_with(lake, self.stream, ("missing",))
            if not missing or files_with(lake, self.stream, PRESENT):
                return None
            self.make_room(lake, is_whole=True)
            return Change([replace(file, event="replaced", remark=EMPTIED) for file in missing])

        return len(commit(lake, self.stream, "empty the table", run_id, decide))


def _newest(files: Sequence[FileEvent]) -> int | None:
    """The generation that was read last at the source; `None` if no file carries any.

    Not the greatest number: numbers start again when a connection is recreated.
    """
    numbered = [file for file in files if file.generation_id is not None]
    if not numbered:
        return None
    return max(
        numbered, key=lambda file: (file.extracted_at or file.last_modified, file.generation_id)
    ).generation_id


def _is_older(file: FileEvent, newest: int | None) -> bool:
    """Whether a file has landed and is of another generation than the newest one."""
    if file.generation_id is None:  # nothing is known of a file without rows
        return file.event == "copied" and newest is not None
    return file.event in ("copied", "empty") and file.generation_id != newest
