"""A lake of very many streams that never ran: their configs, and a ledger of their files."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import StreamFile
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META
from lotus_lake.ledger.schema import create_ledger

SOURCES, FILES = 20, 30
# One stream of a hundred has a file in quarantine, and another one a file that waits for days.
QUARANTINED, STUCK, LATE = 0, 1, 2
_OPTIONS = {LATE: {"freshness": {"warn_after_seconds": 60}}}


@dataclass(frozen=True, slots=True)
class ManyStreams:
    """What was written."""

    ids: tuple[str, ...]

    def of_source(self, source: str) -> int:
        """How many streams a source has."""
        return sum(stream_id.startswith(f"{source}__") for stream_id in self.ids)


def write_many(settings: Settings, count: int) -> ManyStreams:
    """Write configs and ledger.

    Every stream has landed 30 files, a file an hour, which have been retired since: so no landing
    table is missed. Of each hundred streams, one is broken, one stuck and one late.
    """
    names = [(f"source_{number % SOURCES:02}", f"stream_{number:04}") for number in range(count)]
    for number, (source, stream) in enumerate(names):
        path = settings.streams_dir / source / f"{stream}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "stream": stream,
            "primary_key": [["id"]],
            "fields": {"id": {"type": "integer"}},
            "feeder": _OPTIONS.get(number % 100, {}),
        }
        path.write_text(json.dumps(document))
    first = StreamFile(settings.streams_dir / names[0][0] / f"{names[0][1]}.json").load()
    with open_lake(settings) as lake:
        create_ledger(lake, first)
        lake.commit("many streams", lambda: lake.con.execute(_EVENTS, [count]))
    return ManyStreams(tuple(f"{source}__{stream}" for source, stream in names))


_EVENTS = f"""
INSERT INTO {META}.file_events BY NAME
WITH events AS (
    SELECT number, file, event, age
    FROM range(?1) AS streams(number), range({FILES}) AS files(file),
    (VALUES ('discovered', 2), ('registered', 1), ('retired', 0)) AS happened(event, age)
    WHERE NOT (file = 0 AND number % 100 = {QUARANTINED} AND event != 'discovered')
    AND NOT (file = 0 AND number % 100 = {STUCK} AND event != 'discovered')
    UNION ALL
    SELECT number, 0, 'quarantined', 1 FROM range(?1) AS streams(number)
    WHERE number % 100 = {QUARANTINED}
)
SELECT format('source_{{:02}}', number % {SOURCES}) AS source,
       format('stream_{{:04}}', number) AS stream,
       format('raw/{{}}/{{}}/year=2026/month=03/day=01/{{}}.parquet', source, stream, file) AS key,
       md5(key) AS etag, 1000 + number AS size_bytes, DATE '2026-03-01' AS partition_date,
       now() - to_hours((file + CASE WHEN number % 100 = {STUCK} THEN 48 ELSE 1 END)::INTEGER)
           - to_minutes(age) AS recorded_at,
       recorded_at AS last_modified, event, file + 1 AS position,
       CASE WHEN event IN ('registered', 'retired') THEN 10 END AS row_count,
       CASE WHEN event = 'quarantined' THEN 'No magic bytes found at end of file' END AS error,
       (3 * file + 2 - age)::BIGINT AS version, 'generated' AS dag_run_id
FROM events
"""
