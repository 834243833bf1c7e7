"""What happened to a stream over time: files, rows, bytes and lag, in equal parts of a span."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.ledger.schema import was_fed
from lotus_lake.observe.spans import SPANS


@dataclass(frozen=True, slots=True)
class Part:
    """What happened in a part of a span.

    Attributes:
        since: Its beginning.
        files: Files that landed; a file that landed again counts again.
        rows: Their rows.
        size_bytes: Their size.
        refused: Files that went into quarantine or lost their object.
        lag_seconds: Median time from the writing of an object to its landing; `None` if none did.
    """

    since: datetime
    files: int = 0
    rows: int = 0
    size_bytes: int = 0
    refused: int = 0
    lag_seconds: float | None = None


def read_activity(
    lake: Lake, stream: Stream, span: str, now: datetime | None = None
) -> tuple[Part, ...]:
    """The parts of the span that ends with the present part, in order.

    Args:
        lake: Open lake; read-only will do.
        stream: The stream.
        span: One of `SPANS`.
        now: The end; this moment by default.
    """
    length, part = SPANS[span]
    seconds = int(part.total_seconds())
    last = int((now or datetime.now(UTC)).timestamp()) // seconds
    first = last - int(length / part) + 1
    found = {}
    if was_fed(lake, stream):
        since = datetime.fromtimestamp(first * seconds, UTC)
        rows = lake.rows(_PARTS, [seconds, stream.source, stream.name, since])
        found = {number: values for number, *values in rows}
    return tuple(
        Part(datetime.fromtimestamp(number * seconds, UTC), *found.get(number, ()))
        for number in range(first, last + 1)
    )


_PARTS = f"""
SELECT floor(epoch(recorded_at) / ?)::BIGINT AS part,
       count(*) FILTER (event IN {LANDED_SQL}),
       coalesce(sum(row_count) FILTER (event IN {LANDED_SQL}), 0)::BIGINT,
       coalesce(sum(size_bytes) FILTER (event IN {LANDED_SQL}), 0)::BIGINT,
       count(*) FILTER (event IN ('quarantined', 'missing')),
       median(greatest(epoch(recorded_at) - epoch(last_modified), 0))
           FILTER (event IN {LANDED_SQL})
FROM {META}.file_events WHERE source = ? AND stream = ? AND recorded_at >= ?
GROUP BY part
"""
