"""Processed tables after going back: nothing is lost, nothing doubles, readers go on reading."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.repair.rewind import Point, plan_rewind, rewind
from samples import History, SampleFile
from tests import children
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, DbtError, Pipeline, chosen_streams

ORDERS, REFUNDS = STREAMS = ("shopify__orders", "shopify__order_refunds")
MODEL = "int_shopify__orders"
TABLES = (MODEL, "int_shopify__order_refunds", "fct_sales")
READ_SECONDS = 120.0


@pytest.fixture
def orders(history: History) -> list[SampleFile]:
    """The files of the orders."""
    return [file for file in history.files if f"{file.source}__{file.stream}" == ORDERS]


@pytest.fixture
def short_retention(environment: dict[str, str], tmp_path: Path) -> None:
    """The stream, retiring its files a day after the cursor has passed them."""
    source, name = ORDERS.split("__")
    document = json.loads((PROJECT / "include" / "streams" / source / f"{name}.json").read_text())
    copy = tmp_path / "streams" / source / f"{name}.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps(document | {"feeder": {"retention_days": 1}}))
    environment["LAKE_STREAMS_DIR"] = str(tmp_path / "streams")


@pytest.mark.parametrize("feed_again", [False, True])
@on_sqlite
def test_going_back_gives_what_loading_from_zero_gives(
    pipeline: Pipeline, history: History, orders: list[SampleFile], feed_again: bool
) -> None:
    for part in (orders[::2], orders[1::2]):
        pipeline.drop(part)
        pipeline.feed(ORDERS)
        pipeline.dbt("run", MODEL)
    before = _fingerprint(pipeline)
    _go_back(pipeline, Point(), feed_again=feed_again)
    assert pipeline.feed(ORDERS)[ORDERS].unprocessed
    pipeline.dbt("run", MODEL)
    assert _fingerprint(pipeline) == before
    assert pipeline.wrong_tables(history, [MODEL]) == {}
    pipeline.dbt("run", MODEL, "--full-refresh")
    assert _fingerprint(pipeline) == before


@on_sqlite
@pytest.mark.usefixtures("short_retention")
def test_a_full_refresh_that_would_lose_retired_records_is_refused(
    pipeline: Pipeline, history: History, orders: list[SampleFile]
) -> None:
    pipeline.drop(orders)
    pipeline.feed(ORDERS)
    pipeline.dbt("run", MODEL)
    pipeline.feed(ORDERS)  # retires what is old and consumed
    with pytest.raises(DbtError, match=r"files with \d+ rows have been retired from it"):
        pipeline.dbt("run", MODEL, "--full-refresh")
    assert pipeline.wrong_tables(history, [MODEL]) == {}
    pipeline.dbt("run", MODEL)
    assert pipeline.wrong_tables(history, [MODEL]) == {}
    pipeline.dbt("run", MODEL, "--full-refresh", "--vars", "{without_retired: true}")
    assert pipeline.wrong_tables(history, [MODEL]) != {}


@on_sqlite
@pytest.mark.usefixtures("short_retention")
def test_a_table_that_has_vanished_is_not_made_again_without_its_retired_records(
    pipeline: Pipeline, orders: list[SampleFile]
) -> None:
    pipeline.drop(orders)
    pipeline.feed(ORDERS)
    pipeline.dbt("run", MODEL)
    pipeline.feed(ORDERS)  # retires what is old and consumed
    with open_lake(pipeline.settings) as lake:
        lake.commit("drop it", lambda: lake.con.execute(f"DROP TABLE lakehouse.main.{MODEL}"))
    with pytest.raises(DbtError, match=r"files with \d+ rows have been retired from it"):
        pipeline.dbt("run", MODEL)


def test_readers_see_whole_tables_while_they_are_rebuilt(
    pipeline: Pipeline, history: History
) -> None:
    pipeline.drop([f for f in history.files if f"{f.source}__{f.stream}" in STREAMS])
    pipeline.feed(*STREAMS)
    pipeline.dbt("run", *TABLES)
    stop = children.context.Event()
    seen = children.context.Queue()
    reader = children.start(_read, pipeline.settings, (MODEL, "fct_sales"), stop, seen)
    assert seen.get(timeout=READ_SECONDS) == "reading"
    pipeline.dbt("run", *TABLES, "--full-refresh")
    stop.set()
    reads, different, errors = seen.get(timeout=READ_SECONDS)
    assert children.finish(reader) == [0]
    assert errors == []
    assert reads > 10
    assert different == 1  # the very same rows, however often they are written


def _read(settings: Settings, tables: Sequence[str], stop: object, seen: object) -> None:
    """Child: read tables again and again, each time in one query."""
    with open_lake(settings, read_only=True) as lake:
        reads, results, errors = 0, set(), []
        seen.put("reading")  # type: ignore[attr-defined]
        while not stop.is_set():  # type: ignore[attr-defined]
            try:
                results.add(
                    tuple(
                        lake.value(
                            "SELECT md5(list(row ORDER BY row)::VARCHAR) FROM (SELECT "
                            f"(t.order_id, t.order_date, t.gross_sales) AS row FROM "
                            f"lakehouse.main.{table} AS t)"
                        )
                        for table in tables
                    )
                )
            except duckdb.Error as error:
                errors.append(str(error))
            reads += 1
            time.sleep(0.02)
    seen.put((reads, len(results), errors[:3]))  # type: ignore[attr-defined]


def _go_back(pipeline: Pipeline, point: Point, *, feed_again: bool) -> None:
    (stream,) = chosen_streams(pipeline.settings, [ORDERS])
    with open_lake(pipeline.settings) as lake:
        plan = plan_rewind(lake, stream, point, [MODEL])
        client = pipeline.client if feed_again else None
        assert rewind(lake, stream, plan, "by hand", client) == (plan.files if feed_again else 0)


def _fingerprint(pipeline: Pipeline) -> str:
    """A hash of every row, without the snapshot that brought it."""
    with open_lake(pipeline.settings) as lake:
        rows = lake.rows(
            f"SELECT * EXCLUDE (_lake_snapshot_id) FROM lakehouse.main.{MODEL} ORDER BY ALL"
        )
    assert rows
    return sha256(repr(rows).encode()).hexdigest()
