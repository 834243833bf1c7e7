"""Copies of a lake as it was on some days, measured side by side.

A measurement on day 30 does not compare with one of day 1 that was made an hour before on a busy
machine. So a lake is copied as it is at the end of some days, and all copies are measured in turns
in the end. Its bucket is copied, too, so that a poll finds nothing in it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lotus_lake.config.connections import CatalogAddress
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.sql import literal
from tests.servers import PostgresServer, postgres_program

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROUNDS = 50


def copy_lake(
    settings: Settings, folder: Path, client: S3Client, postgres: PostgresServer | None = None
) -> Settings:
    """Copy a lake; its files are linked, as DuckLake never changes one.

    Landing tables still name the objects of the first bucket.

    Args:
        settings: Of the lake.
        folder: New folder for the copy; its name is that of the new bucket.
        client: The store.
        postgres: The server of the catalog, if it is in one.
    """
    data_path = f"{folder / 'data'}/"
    shutil.copytree(settings.data_path, data_path, copy_function=os.link)
    move = f"UPDATE ducklake_metadata SET value = {literal(data_path)} WHERE key = 'data_path'"
    if postgres:
        address = postgres.create_database(folder.name)
        dump = str(folder / "dump")
        postgres_program("pg_dump", "--format=custom", f"--file={dump}", settings.catalog.address)
        postgres_program("pg_restore", "--exit-on-error", f"--dbname={address}", dump)
        postgres.execute(address, move)
    else:
        address = str(folder / "catalog.sqlite")
        with (
            closing(sqlite3.connect(f"file:{settings.catalog.address}?mode=ro", uri=True)) as now,
            closing(sqlite3.connect(address)) as copy,
        ):
            now.backup(copy)
            copy.execute(move)
            copy.commit()
    bucket = folder.name
    client.create_bucket(Bucket=bucket)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket):
        for item in page.get("Contents", ()):
            source_object = {"Bucket": settings.bucket, "Key": item["Key"]}
            client.copy_object(Bucket=bucket, Key=item["Key"], CopySource=source_object)
    return replace(
        settings,
        catalog=CatalogAddress(settings.catalog.kind, address),
        data_path=data_path,
        raw_uri=settings.raw_uri.replace(f"s3://{settings.bucket}/", f"s3://{bucket}/"),
    )


def compare(
    copies: Mapping[str, Settings], runs: Mapping[str, Callable[[Lake], object]]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Milliseconds of CPU and of time of each run on each copy: medians of rounds over all copies.

    CPU is that of this process: a server's is in the time only.
    """
    spent: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {run: [] for run in runs} for name in copies
    }
    with ExitStack() as stack:
        lakes = {name: stack.enter_context(open_lake(copies[name])) for name in copies}
        for turn in range(ROUNDS + 1):
            for name, lake in lakes.items():
                for run, function in runs.items():
                    cpu, started = time.process_time(), time.perf_counter()
                    function(lake)
                    if turn:  # the first one fills the caches
                        spent[name][run].append(
                            (time.process_time() - cpu, time.perf_counter() - started)
                        )
    return {
        name: {run: _medians(found) for run, found in of_copy.items()}
        for name, of_copy in spent.items()
    }


def _medians(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    cpu, seconds = (round(statistics.median(some) * 1000, 1) for some in zip(*found, strict=True))
    return cpu, seconds
