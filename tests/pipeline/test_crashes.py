"""Processes that die, fail or run side by side: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from random import Random

import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META
from samples import History, SampleFile
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, WORKING, DbtError, Pipeline

ORDERS, REFUNDS = STREAMS = ("shopify__orders", "shopify__order_refunds")
MODEL = "int_shopify__orders"
TABLES = (MODEL, "int_shopify__order_refunds", "fct_sales")
KILLS = 8


@pytest.fixture
def files(history: History) -> list[SampleFile]:
    """The files of the orders and the refunds."""
    return [file for file in history.files if f"{file.source}__{file.stream}" in STREAMS]


@pytest.fixture
def orders(files: list[SampleFile]) -> list[SampleFile]:
    """The files of the orders."""
    return [file for file in files if file.stream == "orders"]


@pytest.fixture
def single_file_batches(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The streams, registering every file in a commit of its own: many moments to die at."""
    for path in (PROJECT / "include" / "streams" / "shopify").glob("order*.json"):
        document = json.loads(path.read_text()) | {"feeder": {"batch_files": 1, "max_batches": 100}}
        copy = tmp_path / "streams" / "shopify" / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(document))
    environment["LAKE_STREAMS_DIR"] = str(tmp_path / "streams")
    return environment


@on_sqlite
@pytest.mark.usefixtures("single_file_batches")
def test_kills_at_any_moment_lose_and_double_nothing(
    pipeline: Pipeline, history: History, files: list[SampleFile]
) -> None:
    rng = Random(9)
    portions = [files[number::KILLS] for number in range(KILLS)]
    pipeline.feed(*STREAMS)
    ends = []
    for number, portion in enumerate(portions):
        pipeline.drop(portion)
        if number % 2 == 0:
            ends.append(pipeline.start_feeding(*STREAMS).kill_after(WORKING, rng.uniform(0, 0.8)))
        else:
            ends.append(pipeline.start_dbt("run", *TABLES).kill_after("1 of", rng.uniform(0, 1)))
    assert ends.count(-signal.SIGKILL) >= KILLS // 2

    assert all(state.backlog_files == 0 for state in pipeline.feed(*STREAMS).values())
    pipeline.dbt("build", *TABLES)
    assert pipeline.wrong_tables(history, TABLES) == {}
    assert _landed_rows(pipeline) == sum(file.row_count for file in files)
    assert _registrations(pipeline) == {file.key: 1 for file in files}


@on_sqlite
def test_what_a_failed_build_missed_the_next_one_catches_up(
    pipeline: Pipeline, history: History, orders: list[SampleFile]
) -> None:
    first, second, third = _thirds(orders)
    _land(pipeline, first)
    pipeline.dbt("run", MODEL)
    _land(pipeline, second)
    with pytest.raises(DbtError, match=r"PASS=0 WARN=0 ERROR=1"):
        pipeline.dbt("run", MODEL, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    _land(pipeline, third)
    pipeline.dbt("run", MODEL)
    assert "table_insertions" in _compiled(pipeline)
    assert pipeline.wrong_tables(history, [MODEL]) == {}


@on_sqlite
def test_an_increment_is_right_when_the_snapshot_it_starts_from_has_expired(
    pipeline: Pipeline, history: History, orders: list[SampleFile]
) -> None:
    first, second, third = _thirds(orders)
    _land(pipeline, [*first, *second])
    pipeline.dbt("run", MODEL)
    _land(pipeline, third)
    with open_lake(pipeline.settings) as lake:
        (old,) = lake.rows(
            "SELECT list(snapshot_id) FROM lakehouse.snapshots() "
            "WHERE snapshot_id < (SELECT id FROM lakehouse.current_snapshot())"
        )
        lake.rows("CALL ducklake_expire_snapshots('lakehouse', versions => ?)", old)
        assert lake.value("SELECT count(*) FROM lakehouse.snapshots()") == 1
    pipeline.dbt("run", MODEL)
    assert "table_insertions" not in _compiled(pipeline)
    assert pipeline.wrong_tables(history, [MODEL]) == {}


def test_two_runs_of_a_model_at_once_double_no_row(
    pipeline: Pipeline, history: History, orders: list[SampleFile]
) -> None:
    # Into an empty table: a merge that updates rows conflicts by itself, one that inserts does not.
    pipeline.feed(ORDERS)
    pipeline.dbt("run", MODEL)
    _land(pipeline, orders)
    runs = [pipeline.start_dbt("run", MODEL, target=pipeline.second_target()) for _ in range(2)]
    failed = [run.output for run in runs if run.wait() != 0]
    if pipeline.settings.catalog.kind == "sqlite":
        assert failed == []  # the second one has waited for the first one's lock
    else:
        assert len(failed) < len(runs)
        assert all("conflict" in output for output in failed)
    assert pipeline.wrong_tables(history, [MODEL]) == {}


def _thirds(files: list[SampleFile]) -> tuple[list[SampleFile], ...]:
    return tuple(files[number::3] for number in range(3))


def _land(pipeline: Pipeline, orders: list[SampleFile]) -> None:
    pipeline.drop(orders)
    pipeline.feed(ORDERS)


def _compiled(pipeline: Pipeline) -> str:
    """The SQL that dbt's last run made of the model."""
    (file,) = pipeline.target.glob(f"compiled/**/{MODEL}.sql")
    return file.read_text()


def _landed_rows(pipeline: Pipeline) -> int:
    return sum(
        pipeline.value(f"SELECT count(*) FROM lakehouse.staging.stg_{stream}") for stream in STREAMS
    )


def _registrations(pipeline: Pipeline) -> dict[str, int]:
    prefix = pipeline.settings.raw_prefix
    with open_lake(pipeline.settings) as lake:
        rows = lake.rows(
            f"SELECT key, count(*) FROM {META}.file_events "
            "WHERE event IN ('registered', 'empty') GROUP BY key"
        )
    return {key.removeprefix(prefix): count for key, count in rows}
