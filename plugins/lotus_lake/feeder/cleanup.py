"""Task `cleanup`: retire raw files that are old and consumed.

Retiring deletes a day's rows from the landing table; because whole files go, DuckLake just closes
them. The objects themselves are deleted later (`lake_maintenance`), when the snapshots that can
still see them have expired and DuckLake has put them on its list. Objects that DuckLake never
registered, because they are empty or landed as a copy, are put on the same list.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import duckdb

from lotus_lake.bucket.keys import partition_path
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.strategy import strategy_of
from lotus_lake.lake.data_files import schedule_deletion
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import LANDED, LANDED_SQL, FileEvent, files_of_day
from lotus_lake.ledger.guard import Guard, read_guard
from lotus_lake.ledger.watermarks import watermarks
from lotus_lake.sql import identifier, json_array

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retirement:
    """What was retired, and what was old enough but is kept."""

    days: int = 0
    files: int = 0
    kept_days: int = 0
    reason: str | None = None


def retire_files(lake: Lake, stream: Stream, consumers: Sequence[str], run_id: str) -> Retirement:
    """Retire the days older than `retention_days` before the cursor that every consumer has read.

    Args:
        lake: Open lake.
        stream: The stream.
        consumers: Processed models that read the stream; without any, nothing is retired.
        run_id: Who did it, for the ledger.
    """
    # The objects of a branch are its origin's.
    retires = strategy_of(stream).retires and not lake.settings.branch
    old = _old_days(lake, stream) if retires else {}
    if not old:
        return Retirement()
    marks = watermarks(lake, consumers)
    if not marks:
        return _kept(Retirement(kept_days=len(old), reason="no processed model reads this stream"))
    slowest = min(marks, key=lambda model: marks[model])
    ready = [day for day, newest in old.items() if newest <= marks[slowest]]
    files, failed = 0, None
    for day in ready:
        try:
            files += _retire_day(lake, stream, day, consumers, run_id)
        except duckdb.Error as error:  # an object of this day is gone; other days can go
            log.warning("%s could not be retired: %s", day, error)
            failed = error
    if failed is not None:
        raise failed
    kept = len(old) - len(ready)
    reason = f"{slowest} has not consumed them" if kept else None
    log.info("retired %d files of %d days", files, len(ready))
    return _kept(Retirement(len(ready), files, kept, reason))


def _kept(retirement: Retirement) -> Retirement:
    """Say so when a consumer has stopped: nothing of its stream is retired any more."""
    if retirement.reason:
        log.warning(
            "%d days are old enough to retire, but kept: %s",
            retirement.kept_days,
            retirement.reason,
        )
    return retirement


def _old_days(lake: Lake, stream: Stream) -> dict[date, int]:
    """Days with registered files past retention, and the newest snapshot each landed in."""
    reached = read_guard(lake, stream).cursor.reached
    if reached is None:
        return {}
    return dict(
        lake.rows(
            f"""
            SELECT partition_date, max(snapshot_id) FROM {META}.feeder_files
            WHERE source = ? AND stream = ? AND event IN {LANDED_SQL} AND partition_date < ?
            GROUP BY partition_date ORDER BY partition_date
            """,
            [stream.source, stream.name, reached - timedelta(days=stream.feeder.retention_days)],
        )
    )


def _retire_day(
    lake: Lake, stream: Stream, day: date, consumers: Sequence[str], run_id: str
) -> int:
    never_registered: list[str] = []

    def decide(_: Guard) -> Change | None:
        files = files_of_day(lake, stream, (*LANDED, "empty"), day)
        landed = [snapshot for file, snapshot in files if file.event in LANDED]
        # A file of this day may have landed since the days were chosen, and a model may have to
        # read again what it had read by then: a rewind, a promotion and this move the same guard.
        if not landed or max(landed) > min(watermarks(lake, consumers).values()):
            return None
        _take_out(lake, stream, [file for file, _ in files if file.event in LANDED], day)
        never_registered[:] = [
            lake.settings.uri(file.key) for file, _ in files if file.event in ("copied", "empty")
        ]
        return Change([replace(file, event="retired") for file, _ in files])

    retired = commit(lake, stream, f"retire {day}", run_id, decide)
    if retired:
        schedule_deletion(lake, never_registered)
    return len(retired)


def _take_out(lake: Lake, stream: Stream, files: Sequence[FileEvent], day: date) -> None:
    """Delete the rows of files from the landing table: as they are whole, DuckLake closes them.

    DuckLake opens the footer of every file that the condition on columns leaves. Files below
    Hive's folders have their day in columns; of others, no column says which they are.
    """
    addresses = [file.data_file or lake.settings.uri(file.key) for file in files]
    folder, pruned = f"/{partition_path(day)}/", ""
    if all(folder in address for address in addresses):
        pruned = f"year = {day.year} AND month = '{day:%m}' AND day = '{day:%d}' AND "
    lake.con.execute(
        f"""
        DELETE FROM {identifier(LAKE, "staging", stream.landing_table)}
        WHERE {pruned}filename IN (SELECT unnest(?::JSON::VARCHAR[]))
        """,
        [json_array(addresses)],
    )
