"""Streams whose full refreshes replace each other (`destination_sync_mode: overwrite`).

Airbyte writes the files of a new generation beside those of the old one, and deletes the old ones
once the sync has succeeded. So a generation is taken for whole when the files of older ones are
gone and no file of it has appeared for `settle_seconds`. It lands as copies, because its objects
are going to be deleted, in one commit that takes the rows of the old generation out: a reader sees
one generation or the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from lotus_lake.config.streams import Stream
from lotus_lake.errors import SchemaMismatchError
from lotus_lake.feeder.footers import raise_if_not_of_file
from lotus_lake.feeder.outcomes import Outcome
from lotus_lake.lake.connection import LAKE, META, Lake
from lotus_lake.ledger.files import PendingFile
from lotus_lake.sql import identifier

# What the ledger says of objects that are in the bucket.
PRESENT = ("discovered", "copied", "empty", "quarantined", "ignored")


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a generation is whole.

    Attributes:
        reason: Why none can land now; `None` when one can.
        settled_at: When it will have settled, if that is all that is missing.
    """

    reason: str | None = None
    settled_at: datetime | None = None


def readiness(lake: Lake, stream: Stream, now: datetime) -> Readiness:
    """Whether files wait that make a whole generation, as far as the ledger knows."""
    files = lake.rows(
        f"SELECT key, event, generation_id, last_modified FROM {META}.feeder_files "
        "WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))",
        [stream.source, stream.name, list(PRESENT)],
    )
    waiting = [file for file in files if file[1] == "discovered"]
    if not waiting:
        return Readiness("no file waits")
    newest = max((generation for *_, generation, _ in files if generation is not None), default=0)
    for key, event, generation, _ in files:
        of_newest = generation is None or generation == newest
        if event == "quarantined" and of_newest:
            return Readiness(f"generation {newest} is not whole: {key} is quarantined")
        if event in ("copied", "empty") and not of_newest:
            return Readiness(
                f"generation {newest} is not whole: {key} of generation {generation} is still there"
            )
    settled_at = max(modified for *_, modified in waiting) + timedelta(
        seconds=stream.feeder.settle_seconds
    )
    if settled_at > now:
        return Readiness(f"generation {newest} settles until {settled_at:%H:%M:%S}", settled_at)
    return Readiness()


def read_generations(lake: Lake, keys: Sequence[str]) -> dict[str, int]:
    """Generation of each object, from the statistics in its footer; broken files have none."""
    by_uri = {lake.settings.uri(key): key for key in keys}
    try:
        rows = lake.rows(
            "SELECT file_name, max(stats_max_value::BIGINT) FROM parquet_metadata(?) "
            "WHERE path_in_schema = '_airbyte_generation_id' GROUP BY file_name",
            [list(by_uri)],
        )
    except duckdb.Error as error:
        raise_if_not_of_file(error)
        if len(keys) == 1:
            return {}
        middle = len(keys) // 2
        return read_generations(lake, keys[:middle]) | read_generations(lake, keys[middle:])
    return {by_uri[uri]: generation for uri, generation in rows if generation is not None}


def newest_only(
    lake: Lake, stream: Stream, waiting: Sequence[PendingFile]
) -> tuple[list[PendingFile], list[Outcome]]:
    """The waiting files of the newest generation; those of older ones are ignored."""
    newest = lake.value(
        f"SELECT max(generation_id) FROM {META}.feeder_files "
        "WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))",
        [stream.source, stream.name, list(PRESENT)],
    )
    files = [file for file in waiting if file.generation_id in (None, newest)]
    older = [
        Outcome(file, "ignored", note=f"generation {newest} has replaced it")
        for file in waiting
        if file not in files
    ]
    return files, older


def without_half(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What to commit: all of a generation, or, when a file of it cannot land, nothing of it."""
    if any(outcome.event == "quarantined" for outcome in outcomes):
        return [outcome for outcome in outcomes if outcome.event in ("quarantined", "ignored")]
    return list(outcomes)


def check_whole(stream: Stream, outcomes: Sequence[Outcome]) -> None:
    """Say that a generation could not land; the one before stays.

    Raises:
        SchemaMismatchError: Names the file.
    """
    for outcome in outcomes:
        if outcome.event == "quarantined":
            raise not_whole(stream, outcome, outcome.note or "")


def not_whole(stream: Stream, outcome: Outcome, reason: str) -> SchemaMismatchError:
    """The error about a file that keeps its generation from landing."""
    return SchemaMismatchError(
        f"{stream.id}: generation {outcome.file.generation_id} is not whole: "
        f"{outcome.file.key}: {reason}",
        hint="the generation before stays; mend the file and `lotus-lake quarantine retry`, or let "
        "Airbyte sync again",
    )


def make_room(lake: Lake, stream: Stream, outcomes: Sequence[Outcome]) -> None:
    """Take the rows of other generations out; call it in the transaction that brings the new ones.

    Files of the same generation that have landed before, and do not land again, stay.
    """
    newest = outcomes[0].file.generation_id
    landed = lake.value(
        f"SELECT count(*) FROM {META}.feeder_files "
        "WHERE source = ? AND stream = ? AND event = 'copied' AND generation_id = ?",
        [stream.source, stream.name, newest],
    )
    table = identifier(LAKE, "staging", stream.landing_table)
    if landed:
        lake.con.execute(
            f"DELETE FROM {table} WHERE _airbyte_generation_id IS DISTINCT FROM ?", [newest]
        )
    else:
        lake.con.execute(f"DELETE FROM {table}")
