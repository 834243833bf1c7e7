"""`on_schema_change: ask`: files that would change the landing table wait for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pytest

from lotus_lake.lake.session import STAGING, Lake
from lotus_lake.ledger.schema_changes import read_changes
from lotus_lake.repair.approvals import SchemaQuestion, accept, open_questions
from lotus_lake.repair.quarantine import drop, retry
from tests.feeds import SHAPE, Feed, Shape, some_rows

VAT: Shape = {**SHAPE, "vat": pa.float64()}
HOSTILE = "{{ 7 * 7 }}<script>"


def rows(count: int, **values: object) -> list[Mapping[str, object]]:
    return [{**row, **values} for row in some_rows(count)]


@pytest.fixture
def asking(make_feed: Callable[..., Feed], lake: Lake) -> Feed:
    """A stream that asks, with a landed file, and two that would change the table."""
    feed = make_feed("orders", on_schema_change="ask")
    feed.put("part_0.parquet", 3)
    feed.run(lake)
    feed.put("part_1.parquet", rows(2, vat=1.5), shape=VAT)
    feed.put("part_2.parquet", rows(4, vat=2.5), shape=VAT)
    feed.put("part_3.parquet", 5)
    feed.run(lake)
    return feed


def landed(feed: Feed, lake: Lake) -> int:
    return int(
        lake.value(
            f"SELECT count(*) FROM {STAGING}.{feed.stream.landing_table} WHERE id IS NOT NULL"
        )
    )


def test_others_land_and_one_question_names_those_that_wait(asking: Feed, lake: Lake) -> None:
    assert landed(asking, lake) == 8
    question = SchemaQuestion(
        "shop", "orders", "new column vat DOUBLE", 2,
        (asking.key("part_1.parquet"), asking.key("part_2.parquet")),
    )  # fmt: skip
    assert open_questions(lake) == [question]
    asking.put("part_4.parquet", rows(1, vat=3.5), shape=VAT)
    asking.run(lake)
    (later,) = open_questions(lake)
    assert (later.id, later.files) == (question.id, 3)


def test_what_is_accepted_lands_and_so_does_what_comes_after(asking: Feed, lake: Lake) -> None:
    (question,) = open_questions(lake)
    assert accept(lake, asking.stream, question.change, "by anna") == 2
    asking.run(lake)
    assert open_questions(lake) == []
    assert landed(asking, lake) == 14
    table = f"{STAGING}.{asking.stream.landing_table}"
    assert lake.value(f"SELECT sum(vat) FROM {table}") == 2 * 1.5 + 4 * 2.5
    (change,) = read_changes(lake, asking.stream)
    assert (change.column_path, change.key) == ("vat", asking.key("part_1.parquet"))
    asking.put("part_4.parquet", rows(1, vat=3.5), shape=VAT)
    asking.run(lake)
    assert landed(asking, lake) == 15
    assert accept(lake, asking.stream, question.change, "by bert") == 0


def test_an_accepted_file_may_change_nothing_but_what_it_needs_itself(
    asking: Feed, lake: Lake
) -> None:
    (question,) = open_questions(lake)
    accept(lake, asking.stream, question.change, "by anna")
    asking.put("part_4.parquet", rows(1, tax=1.0), shape={**SHAPE, "tax": pa.float64()})
    asking.run(lake)
    (other,) = open_questions(lake)
    assert other.change == "new column tax DOUBLE"
    assert other.id != question.id


def test_a_column_that_has_to_become_wider_is_asked_about(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed("orders", on_schema_change="ask")
    shape = {name: kind for name, kind in SHAPE.items() if name != "amount"}
    feed.put("part_0.parquet", rows(2, pieces=1), shape={**shape, "pieces": pa.int32()})
    feed.run(lake)
    (question,) = open_questions(lake)
    accept(lake, feed.stream, question.change, "by anna")
    feed.run(lake)
    feed.put("part_1.parquet", rows(3, pieces=2**40), shape={**shape, "pieces": pa.int64()})
    feed.run(lake)
    (question,) = open_questions(lake)
    assert question.change == "column pieces becomes BIGINT"
    accept(lake, feed.stream, question.change, "by anna")
    feed.run(lake)
    assert landed(feed, lake) == 5
    assert open_questions(lake) == []


def test_rejected_files_stay_and_a_person_may_still_drop_or_retry_them(
    asking: Feed, lake: Lake
) -> None:
    first, second = asking.key("part_1.parquet"), asking.key("part_2.parquet")
    assert retry(lake, asking.stream, [first], "by bert") == 1
    asking.run(lake)
    (question,) = open_questions(lake)
    assert question.files == 2
    drop(lake, asking.stream, [first], "by bert")
    assert retry(lake, asking.stream, [second], "by bert", accept=True) == 1
    asking.run(lake)
    assert open_questions(lake) == []
    assert landed(asking, lake) == 12


def test_names_of_the_source_are_words_of_the_question(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed("orders", on_schema_change="ask")
    feed.put("part_0.parquet", rows(1, **{HOSTILE: 1.0}), shape={**SHAPE, HOSTILE: pa.float64()})
    feed.run(lake)
    (question,) = open_questions(lake)
    assert question.change == f"new column {HOSTILE} DOUBLE"
    assert accept(lake, feed.stream, question.change, "by anna") == 1
    feed.run(lake)
    assert landed(feed, lake) == 1
