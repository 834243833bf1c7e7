"""A Dagster asset as the replaced system had it: globs from the cursor's day on, a call a file."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path

import dagster

from benchmarks.peer_scripts.lake import open_lake

prefix, folder, today = sys.argv[1], Path(sys.argv[2]), date.fromisoformat(sys.argv[3])


@dagster.asset
def orders() -> None:
    """The landing table."""
    cursor = folder / "cursor"
    day = date.fromisoformat(cursor.read_text()) if cursor.exists() else None
    with open_lake(folder, f"{prefix}/**/*.parquet") as con:
        patterns = [f"{prefix}/**/*.parquet"]
        if day:
            days = (day + timedelta(days=number) for number in range((today - day).days + 1))
            patterns = [f"{prefix}/{when:year=%Y/month=%m/day=%d}/*.parquet" for when in days]
        found = [row for p in patterns for row in con.execute("FROM glob(?)", [p]).fetchall()]
        known = {
            row[0]
            for row in con.execute(
                "SELECT data_file FROM ducklake_list_files('lake', 'orders')"
            ).fetchall()
        }
        for (file,) in found:
            if file not in known:
                con.execute("CALL ducklake_add_data_files('lake', 'orders', ?)", [file])
    cursor.write_text(str(today))


assert dagster.materialize([orders], instance=dagster.DagsterInstance.ephemeral()).success
