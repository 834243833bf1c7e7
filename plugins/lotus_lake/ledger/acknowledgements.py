"""What people have seen of streams and files that need one, and who: `meta.acknowledgements`.

A stream or file stays as it is. Only what is new since then is alerted again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import REFUSED
from lotus_lake.sql import json_array

_NAME = "acknowledgements"
_TABLE = f"""
CREATE TABLE IF NOT EXISTS {META}.{_NAME} (
    source VARCHAR, stream VARCHAR, key VARCHAR, reason VARCHAR, seen_at TIMESTAMPTZ,
    acknowledged_by VARCHAR, dag_run_id VARCHAR
)
"""
# Files that need a person and that nobody has seen as they are now. One that is tried again without
# anybody, and is refused once more, is as it was.
_UNSEEN = f"""
WITH seen AS (FROM {META}.{_NAME}),
     streams AS (
         SELECT source, stream, max(seen_at) FILTER (key IS NULL) AS at FROM seen
         GROUP BY source, stream
     ),
     files AS (
         SELECT source, stream, key, max(seen_at) AS at FROM seen WHERE key IS NOT NULL
         GROUP BY source, stream, key
     )
SELECT source || '/' || stream, event, count(*)
FROM {META}.feeder_files AS found JOIN streams USING (source, stream)
LEFT JOIN files USING (source, stream, key)
WHERE event IN ('quarantined', 'missing')
AND CASE WHEN remark IS NOT DISTINCT FROM ? THEN discovered_at ELSE updated_at END
    > greatest(coalesce(streams.at, '-infinity'), coalesce(files.at, '-infinity'))
GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What somebody has seen.

    Attributes:
        at: As of when.
        by: Who.
        reasons: What was said of it then; of a stream, one for each thing that needed a person.
    """

    at: datetime
    by: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What people have seen of a stream.

    Attributes:
        latest: The latest time that somebody has acknowledged the stream as a whole.
        unseen: Files that nobody has seen as they are, by their event.
    """

    latest: Acknowledgement | None = None
    unseen: Mapping[str, int] = field(default_factory=dict)


def note_acknowledgement(
    lake: Lake,
    stream: Stream,
    reasons: Mapping[str | None, tuple[str, ...]],
    seen: tuple[datetime, str],
    run_id: str,
) -> None:
    """Note that somebody has seen a stream, or files of it, in one commit.

    Args:
        lake: Open lake.
        stream: The stream.
        reasons: What is said of each file, by its key; of the stream as a whole by `None`.
        seen: As of when, and by whom.
        run_id: Id of the Dag run, or of the command.
    """
    rows = [(key, reason) for key, several in reasons.items() for reason in several]

    def note() -> None:
        lake.con.execute(_TABLE)
        lake.con.execute(
            f"""
            INSERT INTO {META}.{_NAME}
            SELECT ?, ?, unnest(?::JSON::VARCHAR[]), unnest(?::JSON::VARCHAR[]), ?, ?, ?
            """,
            [
                stream.source, stream.name, json_array(key for key, _ in rows),
                json_array(reason for _, reason in rows), *seen, run_id,
            ],
        )  # fmt: skip

    lake.commit(f"{stream.id}: acknowledged by {seen[1]}", note)


def read_acknowledged(lake: Lake) -> dict[str, Acknowledged]:
    """What people have seen of each stream, as `source/stream`, of which they have seen something.

    Of the files that somebody has seen, those are left out that have changed since.
    """
    if _NAME not in lake.tables("meta"):
        return {}
    unseen: dict[str, dict[str, int]] = {}
    for label, event, count in lake.rows(_UNSEEN, [REFUSED]):
        unseen.setdefault(label, {})[event] = count
    found = {label: Acknowledged(None, files) for label, files in unseen.items()}
    for label, at, by, reasons in lake.rows(
        f"""
        SELECT source || '/' || stream, seen_at, any_value(acknowledged_by), list(reason)
        FROM {META}.{_NAME} WHERE key IS NULL
        GROUP BY source, stream, seen_at ORDER BY seen_at
        """
    ):
        latest = Acknowledgement(at, by, tuple(reasons))
        found[label] = Acknowledged(latest, unseen.get(label, {}))
    for (label,) in lake.rows(f"SELECT DISTINCT source || '/' || stream FROM {META}.{_NAME}"):
        found.setdefault(label, Acknowledged())
    return found


def acknowledged_files(lake: Lake, source: str, stream: str) -> dict[str, Acknowledgement]:
    """The files of a stream that somebody has acknowledged by name, each the last time."""
    if _NAME not in lake.tables("meta"):
        return {}
    rows = lake.rows(
        f"""
        SELECT key, max(seen_at), arg_max(acknowledged_by, seen_at), arg_max(reason, seen_at)
        FROM {META}.{_NAME} WHERE source = ? AND stream = ? AND key IS NOT NULL GROUP BY key
        """,
        [source, stream],
    )
    return {key: Acknowledgement(at, by, (reason,)) for key, at, by, reason in rows}
