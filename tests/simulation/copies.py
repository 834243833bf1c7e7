"""Copies of a lake as it was on some days, measured side by side.

A measurement on day 30 does not compare with one of day 1 that was made an hour before on a busy
machine. So a lake is copied as it is at the end of some days, and all copies are measured in turns
in the end.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from lotus_lake.catalog import open_lake
from lotus_lake.settings import CatalogAddress, Settings

ROUNDS = 200


def copy_lake(settings: Settings, folder: Path) -> Settings:
    """Copy a lake with a SQLite catalog; its files are linked, as DuckLake never changes one."""
    data_path = f"{folder / 'data'}/"
    shutil.copytree(settings.data_path, data_path, copy_function=os.link)
    catalog = folder / "catalog.sqlite"
    with (
        closing(sqlite3.connect(f"file:{settings.catalog.address}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(catalog)) as target,
    ):
        source.backup(target)
        target.execute(
            "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [data_path]
        )
        target.commit()
    address = CatalogAddress("sqlite", str(catalog))
    return replace(settings, catalog=address, data_path=data_path)


def compare(
    copies: Mapping[str, Settings], queries: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU of each query on each copy: the median of rounds over all copies."""
    spent: dict[str, dict[str, list[float]]] = {
        name: {query: [] for query in queries} for name in copies
    }
    with ExitStack() as stack:
        lakes = {name: stack.enter_context(open_lake(copies[name])) for name in copies}
        for turn in range(ROUNDS + 1):
            for name, lake in lakes.items():
                for query, sql in queries.items():
                    started = time.process_time()
                    lake.rows(sql)
                    if turn:  # the first one fills the caches
                        spent[name][query].append((time.process_time() - started) * 1000)
    return {
        name: {query: round(statistics.median(times), 1) for query, times in of_copy.items()}
        for name, of_copy in spent.items()
    }
