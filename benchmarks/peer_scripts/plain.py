"""DuckDB and a list of the files that were taken, both in one transaction: the careful script."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peer_scripts.lake import open_lake

prefix, folder = sys.argv[1], Path(sys.argv[2])
with open_lake(folder, f"{prefix}/**/*.parquet") as con:
    con.execute("CREATE TABLE IF NOT EXISTS lake.taken (file VARCHAR)")
    con.execute("BEGIN")
    new = con.execute(
        "SELECT file FROM glob(?) WHERE file NOT IN (FROM lake.taken)", [f"{prefix}/**/*.parquet"]
    ).fetchall()
    for (file,) in new:
        con.execute("CALL ducklake_add_data_files('lake', 'orders', ?)", [file])
        con.execute("INSERT INTO lake.taken VALUES (?)", [file])
    con.execute("COMMIT")
