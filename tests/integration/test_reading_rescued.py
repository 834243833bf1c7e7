"""What was rescued is read back by models, after its day has left the landing table, too."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.scaffold.columns import VALIDITY, model_columns
from lotus_lake.scaffold.model_sql import history_sql, model_sql
from tests.catalogs import on_sqlite
from tests.feeds import DAY, SHAPE, Feed, some_rows
from tests.property import processed

FIELDS = {
    "id": {"type": "integer"},
    "amount": {"type": "integer"},
    "home": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}},
    },
}
PRICE = pa.struct({"value": pa.float64(), "currency": pa.string()})
PRICES = [{"value": 2.5, "currency": "EUR"}, {"value": None, "currency": "it's"}]
# What `amount` has been over the years; it was an integer when the stream was set up.
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), ["7", "7.5", '"7"', "no. 7", json.dumps(PRICES[0]), "", "007", None]),
    "fraction": (pa.float64(), [7.0, 7.5, float("nan"), 1e300, None]),
    "object": (PRICE, [*PRICES, None]),
    "list": (pa.list_(pa.int64()), [[1, 2], [], None]),
    "integer": (pa.int64(), [7, -3, None]),
}
BACK = """
select
    order_id,
    coalesce(amount::varchar, {{ rescued('amount') }}) as as_text,
    coalesce(amount, {{ rescued('amount', 'double') }}) as as_number,
    {{ rescued('amount', 'struct(value double, currency varchar)') }} as as_price,
    coalesce(home_zip::varchar, {{ rescued("home.zip", entries='orders._lake_rescued') }}) as zip,
    home_city
from """


def as_text(value: Any) -> str | None:
    """A value as text, in Python."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return str(int(value)) if value == 7 else repr(value).replace("e+", "e")


def as_number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def as_price(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value if isinstance(value, dict) else None


def expected(values: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [
        (number, as_text(v), as_number(v), as_price(v), f"SE-{number}", "Lund")
        for number, v in enumerate(values)
    ]


def put_type(feed: Feed, name: str, first_id: int, day: int) -> list[Any]:
    """A file in which `amount` has one of its types, of its own day; returns the values."""
    kind, values = TYPES[name]
    home = {"city": "Lund"}
    rows = [
        {**row, "id": first_id + row["id"], "amount": value}
        for row, value in zip(some_rows(len(values)), values, strict=True)
    ]
    rows = [{**row, "home": {**home, "zip": f"SE-{row['id']}"}} for row in rows]
    shape = {**SHAPE, "amount": kind, "home": pa.struct({"city": pa.string(), "zip": pa.string()})}
    feed.put(f"{name}.parquet", rows, shape=shape, day=DAY + timedelta(days=day))
    return values


def process(feed: Feed, lake: Lake) -> None:
    """Run the models of the stream as they are scaffolded."""
    stream = feed.stream
    model, every = model_columns(stream, {}), model_columns(stream, {}, reserved=VALIDITY)
    processed.process(lake, stream, model_sql(stream, model), list(model.key))
    processed.process(
        lake, stream, history_sql(stream, every), list(model.key), strategy="versions"
    )


def retire(feed: Feed, lake: Lake) -> None:
    """Retire all days but the last one, which is far from the others."""
    models = [processed.model(feed.stream), processed.history(feed.stream)]
    assert retire_files(lake, feed.stream, models, "run").files == len(feed.sent) - 1
    assert feed.landed(lake) == feed.rows_of([list(feed.sent)[-1]])


def assert_read_back(feed: Feed, lake: Lake, order: Iterable[str]) -> None:
    values: list[Any] = []
    for day, name in enumerate(order):
        values += put_type(feed, name, len(values), day)
        feed.run(lake)
        if day != 1:  # two of them arrive between two runs
            process(feed, lake)
    feed.put("last.parquet", [{**some_rows(1)[0], "id": -1}], day=DAY + timedelta(days=100))
    feed.run(lake)
    process(feed, lake)
    retire(feed, lake)
    for name in (processed.model(feed.stream), processed.history(feed.stream)):
        table = f"{LAKE}.main.{name} as orders where order_id >= 0 order by order_id"
        found = processed.read(lake, feed.stream, BACK + table)
        assert list(map(repr, found)) == list(map(repr, expected(values)))


@pytest.mark.parametrize("order", [["text", "object", "integer"], ["fraction", "list", "text"]])
def test_a_new_model_reads_rescued_values_of_retired_days(
    make_feed: Callable[..., Feed], lake: Lake, order: list[str]
) -> None:
    assert_read_back(make_feed(fields=FIELDS, retention_days=30), lake, order)


@on_sqlite
@pytest.mark.parametrize("order", list(itertools.permutations(TYPES, 3))[::7])
def test_whatever_order_the_types_arrive_in(
    make_feed: Callable[..., Feed], lake: Lake, order: list[str]
) -> None:
    assert_read_back(make_feed(fields=FIELDS, retention_days=30), lake, order)


@on_sqlite
def test_versions_that_differ_only_in_what_was_rescued_are_versions(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(fields=FIELDS)
    for number, amount in enumerate(["x", "y", "y", "7"]):
        row = {**some_rows(1)[0], "id": 1, "amount": amount}
        row["_airbyte_extracted_at"] = datetime(2026, 3, 10, 12, number, tzinfo=UTC)
        feed.put(f"part_{number}.parquet", [row], shape={**SHAPE, "amount": pa.string()})
        feed.run(lake)
        process(feed, lake)
    found = processed.read(
        lake,
        feed.stream,
        "select amount, {{ rescued('amount') }}, coalesce(len(_lake_repeats), 0) "
        f"from {LAKE}.main.{processed.history(feed.stream)} order by valid_from",
    )
    assert found == [(None, "x", 0), (None, "y", 1), (7, None, 0)]


@on_sqlite
def test_a_model_gains_the_column_and_one_without_it_goes_on(feed: Feed, lake: Lake) -> None:
    columns = model_columns(feed.stream, {})
    carries = model_sql(feed.stream, columns)
    without = carries.replace("        _lake_rescued,\n", "")
    assert without != carries
    for number, query in enumerate([without, without, carries]):
        row = {**some_rows(1)[0], "id": number, "amount": "x"}
        feed.put(f"part_{number}.parquet", [row], shape={**SHAPE, "amount": pa.string()})
        feed.run(lake)
        if query == carries:  # as dbt does with `append_new_columns`
            lake.con.execute(
                f"ALTER TABLE {LAKE}.main.{processed.model(feed.stream)} ADD COLUMN _lake_rescued "
                "STRUCT(path VARCHAR, value VARCHAR, expected VARCHAR, arrived VARCHAR)[]"
            )
        processed.process(lake, feed.stream, query, list(columns.key))
    query = "select order_id, amount, {{ rescued('amount') }} "
    table = f"from {LAKE}.main.{processed.model(feed.stream)} order by order_id"
    assert processed.read(lake, feed.stream, query + table) == [
        (0, None, None), (1, None, None), (2, None, "x"),
    ]  # fmt: skip
