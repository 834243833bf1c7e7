"""The algorithm of the Dagster system that this one replaces.

Discovery is a glob per day from the cursor's day to today, and one glob of everything without a
cursor. The size of each file is one read of its metadata. Each file is registered by one call, in
one commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from benchmarks.store import BUCKET
from lotus_lake.bucket.keys import partition_path
from lotus_lake.lake.session import LAKE, Lake


def discover(lake: Lake, prefix: str, cursor: date | None, today: date) -> list[str]:
    """Addresses of the files at and after the cursor's day, or of all."""
    if cursor is None:
        return _glob(lake, f"s3://{BUCKET}/{prefix}**/*.parquet")
    days = (cursor + timedelta(days=number) for number in range((today - cursor).days + 1))
    return [
        uri
        for day in days
        for uri in _glob(lake, f"s3://{BUCKET}/{prefix}{partition_path(day)}/*.parquet")
    ]


def sizes(lake: Lake, uris: Sequence[str]) -> dict[str, int]:
    """Size of each file, by one read of its metadata each."""
    return {
        uri: lake.value("SELECT file_size_bytes FROM parquet_file_metadata(?)", [uri])
        for uri in uris
    }


def register(lake: Lake, table: str, uris: Sequence[str]) -> None:
    """Register files, one call and commit each."""
    for uri in uris:
        lake.con.execute(
            # Our landing table has a column that no file has.
            "CALL ducklake_add_data_files(?, ?, ?, schema => 'staging', allow_missing => true)",
            [LAKE, table, uri],
        )


def _glob(lake: Lake, pattern: str) -> list[str]:
    return [uri for (uri,) in lake.rows("SELECT file FROM glob(?)", [pattern])]
