"""Streams whose full refreshes replace each other (`destination_sync_mode: overwrite`).

Airbyte writes the files of a new generation beside those of the old one, and deletes the old ones
once the sync has succeeded. So a generation is taken for whole when the files of older ones are
gone and no file of it has appeared for `settle_seconds`. It lands as copies, because its objects
are going to be deleted, in one commit that takes the rows of the old generation out: a reader sees
one generation or the other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import duckdb

from lotus_lake.bucket.objects import RawObject, look_at, s3_client
from lotus_lake.errors import CommitConflictError, SchemaMismatchError
from lotus_lake.failures import raise_if_no_room
from lotus_lake.feeder.append import Append, Waiting
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.events import FileEvent, files_with
from lotus_lake.ledger.queue import PendingFile, pending_files
from lotus_lake.sql import identifier

# What the ledger says of objects that are in the bucket.
PRESENT = ("discovered", "copied", "empty", "quarantined", "ignored")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Overwrite(Append):
    """The feeder's decisions for a stream whose generations replace each other."""

    # There is little, and what has been deleted tells when a generation is whole.
    lists_everything = True
    copies = True
    retires = False  # Airbyte deletes its objects itself
    is_divisible = False
    present_events = PRESENT
    absent_event = "replaced"

    @property
    def on_overwrite(self) -> Literal["error", "reload", "ignore"]:
        """A sync that is repeated writes its objects again."""
        return "reload"

    def is_present(self, file: FileEvent, found: RawObject | None) -> bool:
        """Whether this very version of the object is there."""
        return found is not None and found.identity == file.identity

    def generations(self, lake: Lake, keys: Sequence[str]) -> dict[str, int]:
        """Generation of each object, from the statistics in its footer; broken files have none."""
        if not keys:
            return {}
        by_uri = {lake.settings.uri(key): key for key in keys}
        try:
            rows = lake.rows(
                """
                SELECT file_name, max(stats_max_value::BIGINT) FROM parquet_metadata(?)
                WHERE path_in_schema = '_airbyte_generation_id' GROUP BY file_name
                """,
                [list(by_uri)],
            )
        except duckdb.Error as error:
            raise_if_no_room(error)
            if len(keys) == 1:
                look_at(s3_client(lake.settings.s3), lake.settings.bucket, keys[0])
                return {}
            middle = len(keys) // 2
            return self.generations(lake, keys[:middle]) | self.generations(lake, keys[middle:])
        return {by_uri[uri]: generation for uri, generation in rows if generation is not None}

    def waiting(self, lake: Lake, now: datetime) -> Waiting:
        """Whether files wait that make a whole generation, as far as the ledger knows."""
        files = lake.rows(
            f"""
            SELECT key, event, generation_id, last_modified FROM {META}.feeder_files
            WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))
            """,
            [self.stream.source, self.stream.name, list(PRESENT)],
        )
        waiting = [file for file in files if file[1] == "discovered"]
        if not waiting:
            return Waiting(reason="no file waits")
        newest = max((found for *_, found, _ in files if found is not None), default=0)
        for key, event, generation, _ in files:
            of_newest = generation is None or generation == newest
            if event == "quarantined" and of_newest:
                return Waiting(reason=f"generation {newest} is not whole: {key} is quarantined")
            if event in ("copied", "empty") and not of_newest:
                return Waiting(
                    reason=f"generation {newest} is not whole: {key} of generation {generation} "
                    "is still there"
                )
        settled_at = max(modified for *_, modified in waiting) + timedelta(
            seconds=self.stream.feeder.settle_seconds
        )
        if settled_at > now:
            reason = f"generation {newest} settles until {settled_at:%H:%M:%S}"
            return Waiting(reason=reason, wake_at=settled_at)
        return Waiting(work="a whole generation waits")

    def noticed(self, lake: Lake, object_count: int) -> str | None:
        """What has gone tells as much as what is new."""
        if object_count < len(files_with(lake, self.stream, PRESENT)):
            return "files of an older generation are gone"
        return None

    def batches(self, lake: Lake, now: datetime) -> list[list[PendingFile]]:
        """All files of a generation in one commit, once it is whole: readers see it at once."""
        found = self.waiting(lake, now)
        if found.work is None:
            log.info("%s: %s", self.stream.id, found.reason)
            return []
        return [pending_files(lake, self.stream)]

    def cut(self, queue: Sequence[PendingFile]) -> list[list[PendingFile]]:
        """A generation is one commit."""
        return [list(queue)] if queue else []

    def choose(
        self, lake: Lake, files: Sequence[PendingFile]
    ) -> tuple[Sequence[PendingFile], list[Outcome]]:
        """The files of the newest generation; those of older ones are ignored."""
        newest = lake.value(
            f"""
            SELECT max(generation_id) FROM {META}.feeder_files
            WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))
            """,
            [self.stream.source, self.stream.name, list(PRESENT)],
        )
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

    def make_room(self, lake: Lake, landing: Sequence[Outcome], *, is_whole: bool) -> None:
        """Take the rows of other generations out.

        Files of the same generation that have landed before, and do not land again, stay.
        """
        if not is_whole:
            raise CommitConflictError(f"{self.stream.id}: files of the generation have gone")
        newest = landing[0].file.generation_id
        landed = lake.value(
            f"""
            SELECT count(*) FROM {META}.feeder_files
            WHERE source = ? AND stream = ? AND event = 'copied' AND generation_id = ?
            """,
            [self.stream.source, self.stream.name, newest],
        )
        table = identifier(LAKE, "staging", self.stream.landing_table)
        if landed:
            lake.con.execute(
                f"DELETE FROM {table} WHERE _airbyte_generation_id IS DISTINCT FROM ?", [newest]
            )
        else:
            lake.con.execute(f"DELETE FROM {table}")
