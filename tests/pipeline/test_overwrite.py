"""The processed table of an overwrite stream is its newest generation and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.ledger.watermarks import has_unprocessed
from lotus_lake.repair.reconcile import reconcile
from tests.catalogs import on_sqlite
from tests.feeds import Feed
from tests.pipeline.driver import DBT_DIR, PROJECT, Pipeline
from tests.refreshing import Refreshes, refreshes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MODEL = "int_shop__orders"
SQL = """\
{{ config(materialized='table', tags=['shop__orders']) }}

with landed as not materialized (
    select * from {{ landed_rows('shop', 'orders') }}
),

renamed as not materialized (
    select
        id as order_id,
        status,
        _airbyte_generation_id,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        'epoch'::timestamptz as _source_updated_at,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'order_id') }}
)

select * from newest
"""
SOURCES = """\
version: 2
sources:
  - name: shop
    database: lakehouse
    schema: staging
    tables:
      - name: orders
        identifier: stg_shop__orders
"""


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A lake fed by a stream of the test's own."""
    return environment | {
        "LAKE_PROJECT_DIR": str(PROJECT),
        "LAKE_STREAMS_DIR": str(tmp_path / "streams"),
    }


@pytest.fixture
def pipeline(environment: dict[str, str], client: S3Client, tmp_path: Path) -> Pipeline:
    """This project's dbt project with the model of that stream alone."""
    own = shutil.ignore_patterns("models", "tests", "target", "logs")
    folder = Path(shutil.copytree(DBT_DIR, tmp_path / "dbt", ignore=own))
    models = folder / "models" / "processed" / "shop"
    models.mkdir(parents=True)
    (models / f"{MODEL}.sql").write_text(SQL)
    (models / "_shop__sources.yml").write_text(SOURCES)
    target = tmp_path / "target"
    target.mkdir()
    return Pipeline(environment, client, target, folder)


@pytest.fixture
def stream(feed: Feed) -> Refreshes:
    """The stream."""
    return refreshes(feed)


@on_sqlite
def test_the_processed_table_is_the_newest_generation(
    pipeline: Pipeline, stream: Refreshes
) -> None:
    old: list[str] = []
    for generation, files in ((1, 2), (2, 1), (3, 3)):
        names = [f"gen{generation}_{number}.parquet" for number in range(files)]
        new = stream.write(generation, *names, rows=2 + generation)
        stream.delete(*old)
        old = new
        land_and_build(pipeline, stream)
        assert rows_by_generation(pipeline) == [(generation, 2 + generation, 2 + generation)]


@on_sqlite
def test_the_processed_table_is_empty_once_the_generation_is(
    pipeline: Pipeline, stream: Refreshes
) -> None:
    old = stream.write(1, "gen1_0.parquet")
    land_and_build(pipeline, stream)
    stream.delete(*old)
    old = stream.write(2, "gen2_0.parquet", rows=0)
    land_and_build(pipeline, stream)
    assert rows_by_generation(pipeline) == []
    stream.delete(*old)
    old = stream.write(3, "gen3_0.parquet")
    land_and_build(pipeline, stream)
    assert rows_by_generation(pipeline) == [(3, 2, 2)]
    stream.delete(*old)
    with open_lake(pipeline.settings) as lake:
        stream.feed.run(lake)
        assert not has_unprocessed(lake, stream.feed.stream, [MODEL])
        reconcile(lake, stream.feed.stream, stream.feed.client, "test", empty=True)
    land_and_build(pipeline, stream)
    assert rows_by_generation(pipeline) == []


def land_and_build(pipeline: Pipeline, stream: Refreshes) -> None:
    with open_lake(pipeline.settings) as lake:
        stream.feed.run(lake)
        assert has_unprocessed(lake, stream.feed.stream, [MODEL])
    pipeline.dbt("run", MODEL)
    with open_lake(pipeline.settings) as lake:
        assert not has_unprocessed(lake, stream.feed.stream, [MODEL])


def rows_by_generation(pipeline: Pipeline) -> list[tuple[int, int, int]]:
    """Generation, rows and keys of the processed table."""
    with open_lake(pipeline.settings) as lake:
        return lake.rows(
            "SELECT _airbyte_generation_id, count(*), count(DISTINCT order_id) "
            f"FROM lakehouse.main.{MODEL} GROUP BY 1"
        )
