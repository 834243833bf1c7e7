"""Whole histories: the tables hold what the generator computes from its records."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import Any

import pytest

from lotus_lake.lake.connection import open_lake
from samples import History, SampleFile, generate
from samples.demo_tables import MODELS
from samples.expected import ENRICHED
from samples.expected_marketing import INPUTS
from tests.catalogs import on_postgres, on_sqlite
from tests.pipeline.driver import Pipeline

STREAMS = ("shopify__orders", "shopify__order_refunds", "klaviyo__profiles")
TABLES = (*(f"int_{stream}" for stream in STREAMS), "fct_sales")
BUILDS = 5


@on_sqlite
def test_every_table_of_a_large_history_is_as_its_records_say(pipeline: Pipeline) -> None:
    history = generate(seed=11, scale=10)
    pipeline.drop(history.files)
    states = pipeline.feed()
    assert len(states) == len(MODELS) - len(ENRICHED)
    assert sum(s.registered + s.empty for s in states.values()) == len(history.files)
    pipeline.dbt("build", "resource_type:model", "resource_type:test")
    assert pipeline.wrong_tables(history, MODELS) == {}
    assert all(history.expected(model) for model in MODELS)


@on_postgres
def test_any_order_of_arrival_and_any_batches_lead_to_the_same_tables(
    pipeline: Pipeline, history: History
) -> None:
    rng = Random(20260301)
    groups = _groups([file for file in history.files if _stream_id(file) in STREAMS], rng)
    builds = {*rng.sample(range(len(groups) - 1), BUILDS - 1), len(groups) - 1}
    assert len(groups) > 2 * BUILDS
    pipeline.feed(*STREAMS)  # creates the landing tables: a stream's first files may come late
    for number, group in enumerate(groups):
        pipeline.drop(group)
        states = pipeline.feed(*sorted({_stream_id(file) for file in group}))
        assert sum(state.backlog_files + state.quarantined for state in states.values()) == 0
        if number in builds:
            pipeline.dbt("run", *TABLES)
            assert pipeline.wrong_tables(history, TABLES) == {}

    rows, snapshot = _fingerprints(pipeline), _snapshot(pipeline)
    pipeline.feed(*STREAMS)
    assert _snapshot(pipeline) == snapshot  # a feeder that finds nothing commits nothing
    pipeline.dbt("run", *TABLES)
    assert _fingerprints(pipeline) == rows


MARKETING = ("fct_campaign_touches", "fct_campaign_performance")


@on_sqlite
@pytest.mark.parametrize("seed", [1, 2])
def test_late_inputs_of_an_incremental_enriched_model_lead_to_what_a_full_build_gives(
    pipeline: Pipeline, history: History, seed: int
) -> None:
    rng = Random(seed)
    inputs = [name.removeprefix("int_") for name in INPUTS]
    files = [file for file in history.files if _stream_id(file) in inputs]
    rng.shuffle(files)
    pipeline.feed(*inputs)
    # Late files are about days that have been built long before.
    for part in range(4):
        pipeline.drop(files[part::4])
        pipeline.feed(*inputs)
        output = pipeline.dbt("build", *INPUTS, *MARKETING, "--exclude", "resource_type:unit_test")
        assert "ERROR=0" in output
        assert pipeline.wrong_tables(history, MARKETING) == {}
    built = _all_rows(pipeline)
    assert all(built.values())
    pipeline.dbt("run", "--full-refresh", *MARKETING)
    assert _all_rows(pipeline) == built
    # With nothing new, a run works nothing out again.
    pipeline.dbt("run", *MARKETING)
    assert _all_rows(pipeline) == built


def _all_rows(pipeline: Pipeline) -> dict[str, list[Any]]:
    with open_lake(pipeline.settings) as lake:
        return {
            model: lake.rows(f"SELECT * FROM lakehouse.main.{model} ORDER BY ALL")
            for model in MARKETING
        }


def _stream_id(file: SampleFile) -> str:
    return f"{file.source}__{file.stream}"


def _groups(files: list[SampleFile], rng: Random) -> list[list[SampleFile]]:
    """The files in a random order, one by one or a few at a time."""
    rng.shuffle(files)
    groups = []
    while files:
        size = rng.choice((1, 2, 4, 8, 12))
        groups.append(files[:size])
        files = files[size:]
    return groups


def _fingerprints(pipeline: Pipeline) -> dict[str, str]:
    """A hash of every row and column, those that only the increment needs included."""
    found = {}
    with open_lake(pipeline.settings) as lake:
        for table in TABLES:
            rows = lake.rows(f"SELECT * FROM lakehouse.main.{table} ORDER BY ALL")
            assert rows
            found[table] = sha256(repr(rows).encode()).hexdigest()
    return found


def _snapshot(pipeline: Pipeline) -> int:
    return int(pipeline.value("SELECT id FROM lakehouse.current_snapshot()"))
