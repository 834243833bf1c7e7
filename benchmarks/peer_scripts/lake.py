"""A DuckLake of a script's own, with a table of the columns of the first file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


@contextmanager
def open_lake(folder: Path, pattern: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the lake of a folder as `lake`, and access to the bucket.

    Args:
        folder: Where its catalog and data are, or will be.
        pattern: Glob of files whose columns the table `orders` is to have.
    """
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        for extension in ("httpfs", "sqlite_scanner", "ducklake"):
            con.execute(f"LOAD {extension}")
        con.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{os.environ['AWS_ACCESS_KEY_ID']}', "
            f"SECRET '{os.environ['AWS_SECRET_ACCESS_KEY']}', ENDPOINT '{endpoint}', "
            "USE_SSL false, URL_STYLE 'path')"
        )
        con.execute(
            f"ATTACH 'ducklake:sqlite:{folder}/catalog.sqlite' AS lake (DATA_PATH '{folder}/data')"
        )
        con.execute(
            "CREATE TABLE IF NOT EXISTS lake.orders AS SELECT * FROM read_parquet(?, "
            "hive_partitioning => true) LIMIT 0",
            [pattern],
        )
        yield con
