"""Queues that get longer although files land: more arrives than the stream can feed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.observe.states import GROWING_HOURS

_FILE = "source, stream, key, etag, size_bytes"
_HOURS = range(GROWING_HOURS + 1)
_WAITED = ", ".join(
    f"arg_max(event, version) FILTER (recorded_at <= ?) = 'discovered' AS waited_{hour}"
    for hour in _HOURS
)
_GROWS = " AND ".join(
    f"count(*) FILTER (waited_{before}) < count(*) FILTER (waited_{after})"
    for before, after in pairwise(_HOURS)
)
# What was waiting before the first hour, and has had no event since, waits at the end as well.
_GROWING = f"""
WITH asked AS (SELECT unnest(?::VARCHAR[]) AS label),
     events AS (FROM {META}.file_events WHERE source || '/' || stream IN (FROM asked)),
     files AS (
         SELECT {_FILE}, {_WAITED},
                count(*) FILTER (event IN {LANDED_SQL} AND recorded_at > ?) > 0 AS has_landed
         FROM events SEMI JOIN (FROM events WHERE recorded_at > ?) AS recent USING ({_FILE})
         GROUP BY {_FILE}
     )
SELECT source || '/' || stream FROM files
GROUP BY source, stream HAVING bool_or(has_landed) AND {_GROWS}
"""


def growing_streams(lake: Lake, waiting: Iterable[str], now: datetime) -> set[str]:
    """The streams whose queue was longer at the end of each of the last hours than before it.

    Files that no run has listed yet are in no queue.

    Args:
        lake: Open lake; read-only will do.
        waiting: The streams in whose queue there are files, as `source/stream`.
        now: The end of the last hour.
    """
    asked = list(waiting)
    if not asked:
        return set()
    times = [now - timedelta(hours=GROWING_HOURS - hour) for hour in _HOURS]
    found = lake.rows(_GROWING, [asked, *times, times[0], times[0]])
    return {label for (label,) in found}
