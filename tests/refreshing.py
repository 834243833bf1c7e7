"""A stream of full refreshes, as Airbyte writes their files and deletes those of the one before."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from lotus_lake.config.streams import StreamFile
from tests.feeds import SHAPE, Feed, some_rows

GENERATION_SHAPE = {**SHAPE, "_airbyte_generation_id": pa.int64()}


@dataclass
class Refreshes:
    """A stream that is fed by full refreshes, as Airbyte writes and deletes them."""

    feed: Feed
    rows: dict[int, list[str]] = field(default_factory=dict)

    def write(
        self, generation: int, *names: str, rows: int = 2, at: datetime | None = None
    ) -> list[str]:
        """Files of a generation appear, whose rows were read at some time."""
        changes: dict[str, Any] = {"_airbyte_generation_id": generation} | (
            {} if at is None else {"_airbyte_extracted_at": at}
        )
        keys = []
        for name in names:
            some = [{**row, **changes} for row in some_rows(rows)]
            keys.append(self.feed.put(name, some, shape=GENERATION_SHAPE))
            self.rows.setdefault(generation, []).extend(row["_airbyte_raw_id"] for row in some)
        return keys

    def delete(self, *keys: str) -> None:
        """The sync has succeeded: objects of older generations go."""
        for key in keys:
            self.feed.client.delete_object(Bucket=self.feed.settings.bucket, Key=key)

    def expected(self, generation: int) -> Counter[str]:
        return Counter(self.rows[generation])


def refreshes(feed: Feed, **options: object) -> Refreshes:
    """The stream of a feed, made to overwrite."""
    path = feed.settings.streams_dir / feed.stream.source / f"{feed.stream.name}.json"
    document = json.loads(path.read_text()) | {"destination_sync_mode": "overwrite"}
    document["feeder"] = {"settle_seconds": 0, **options}
    path.write_text(json.dumps(document))
    return Refreshes(Feed(feed.settings, StreamFile(path).load(), feed.client))
