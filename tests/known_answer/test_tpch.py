"""A known answer at volume: TPC-H, sent through the whole path, gives the published answers.

The scale factor is that of the environment variable `TPCH_SCALE`: 0.01, 0.1 (the default, 866,602
records) or 1. If it is not set, only over SQLite: no answer depends on the catalog.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.sql import identifier, literal
from tests.catalogs import on_sqlite
from tests.known_answer.splits import SplitFile, late_files, shuffled_waves
from tests.known_answer.tpch import SOURCE, TABLES, Truth, columns, load_extension, wrong_answers
from tests.pipeline.driver import Pipeline

# What scale 1 takes on a busy machine.
pytestmark = [pytest.mark.timeout(1800)]
if not os.environ.get("TPCH_SCALE"):
    pytestmark.append(on_sqlite)

WAVES = 3
SEED = 20260312


def test_the_answers_to_tpchs_queries_are_the_published_ones(
    pipeline: Pipeline, files: list[SplitFile], truth: Truth
) -> None:
    waves = shuffled_waves(files, WAVES, SEED)
    assert all(late_files(wave, waves[0]) for wave in waves[1:])
    for wave in waves:
        _arrive(pipeline, wave)
        states = pipeline.feed()
        assert len(states) == len(TABLES)
        assert all(state.backlog_files == 0 for state in states.values())
        pipeline.dbt("run")

    with open_lake(pipeline.settings) as lake:
        assert _fates(lake) == sorted((file.key, file.event, file.row_count) for file in files)
        kept = _rows_to_keep(lake)
        assert _landed_rows(lake) == kept
        # Some days were retired while others of their files were still to arrive.
        assert 0 < sum(kept.values()) < sum(file.row_count for file in files)
        _show_processed_tables(lake, truth)
        none = {table.name: (0, 0) for table in TABLES}
        assert {table.name: _differences(lake, table.name) for table in TABLES} == none
        assert list(wrong_answers(lake.con, truth.scale)) == []


def _arrive(pipeline: Pipeline, wave: Sequence[SplitFile]) -> None:
    settings = pipeline.settings
    for file in wave:
        key = f"{settings.raw_prefix}{file.key}"
        pipeline.client.upload_file(str(file.path), settings.bucket, key)


def _fates(lake: Lake) -> list[tuple[str, str, int]]:
    """What the feeder did with each file, and how many rows it found; sorted."""
    rows = lake.rows(
        f"SELECT key, event, coalesce(row_count, 0) FROM {META}.file_events "
        "WHERE event IN ('registered', 'empty', 'quarantined')"
    )
    prefix = lake.settings.raw_prefix
    return sorted((key.removeprefix(prefix), event, count) for key, event, count in rows)


def _landed_rows(lake: Lake) -> dict[str, int]:
    """Rows in each landing table."""
    return {
        table.name: lake.value(f"SELECT count(*) FROM {STAGING}.stg_{SOURCE}__{table.name}")
        for table in TABLES
    }


def _rows_to_keep(lake: Lake) -> dict[str, int]:
    """Rows of the files of each stream that are not retired."""
    query = (
        f"SELECT coalesce(sum(row_count), 0) FROM {META}.feeder_files "
        "WHERE stream = ? AND event = 'registered'"
    )
    return {table.name: lake.value(query, [table.name]) for table in TABLES}


def _show_processed_tables(lake: Lake, truth: Truth) -> None:
    """Make the processed tables known by the names that TPC-H's queries use, beside `truth`."""
    load_extension(lake.con)
    lake.rows(f"ATTACH {literal(str(truth.file))} AS truth (READ_ONLY)")
    for table in TABLES:
        names = ", ".join(map(identifier, columns(lake.con, "truth", table.name)))
        lake.rows(f"CREATE TEMP VIEW {table.name} AS SELECT {names} FROM {LAKE}.main.{table.model}")


def _differences(lake: Lake, table: str) -> tuple[int, int]:
    """How many rows of a processed table are wrong, and how many are missing."""
    found, true = f"FROM {table}", f"FROM truth.{table}"
    return (
        lake.value(f"SELECT count(*) FROM ({found} EXCEPT ALL {true})"),
        lake.value(f"SELECT count(*) FROM ({true} EXCEPT ALL {found})"),
    )
