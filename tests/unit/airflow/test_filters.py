"""Search, filters, order and pages of the Lake page, for a thousand streams."""

from __future__ import annotations

from typing import Any

import pytest

from lotus_lake.airflow.page.filters import PAGE_SIZE, SORTS, Choice, askable, choose, visible
from lotus_lake.project.manifest import Model


def row(number: int) -> dict[str, Any]:
    source, name = f"source_{number % 10}", f"stream_{number}"
    is_bad = number % 100 == 0
    return {
        "stream_id": f"{source}__{name}",
        "verdict": {
            "state": "broken" if is_bad else "fresh",
            "level": "error" if is_bad else "ok",
            "reason": "",
        },
        "status": {
            "stream": f"{source}/{name}",
            "last_landed_at": f"2026-03-{1 + number % 28:02}T00:00:00+00:00" if number else None,
            "waiting_bytes": number,
            "lag_files": None if number % 2 else number,
        },
        "rows_today": number % 7,
    }


STREAMS = [row(number) for number in range(1000)]


def test_the_worst_are_first_and_every_stream_is_on_one_page() -> None:
    pages = [choose(STREAMS, Choice(page=page)) for page in range(1, 21)]
    ids = [found["stream_id"] for page in pages for found in page.rows]
    assert len(ids) == len(set(ids)) == 1000
    assert {found["verdict"]["state"] for found in pages[0].rows[:10]} == {"broken"}
    assert pages[0].states == {"broken": 10, "fresh": 990}
    assert (pages[0].pages, pages[0].total, len(pages[0].sources)) == (20, 1000, 10)


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_an_order_of_all(sort: str) -> None:
    found = [
        found["stream_id"]
        for page in range(1, 21)
        for found in choose(STREAMS, Choice(sort=sort, page=page)).rows
    ]
    assert sorted(found) == sorted(stream["stream_id"] for stream in STREAMS)


def test_search_and_filters_meet() -> None:
    found = choose(STREAMS, Choice(q="Stream_30 source", source="source_0", state="broken"))
    assert [stream["stream_id"] for stream in found.rows] == ["source_0__stream_300"]
    assert found.states == {"broken": 1, "fresh": 1}  # of what is searched for, in any state


def test_a_page_that_is_not_there_is_the_last_one() -> None:
    assert choose(STREAMS, Choice(page=999)).page == 20
    assert choose([], Choice(page=999)).page == 1


def test_an_address_says_what_is_chosen_and_nothing_else() -> None:
    choice = Choice.of({"q": " a b ", "state": "broken", "sort": "x", "page": "3", "evil": "1"})
    assert choice == Choice("a b", "", "broken", "state", 3)
    assert choice.address() == "?q=a+b&state=broken"
    assert choice.address(page=4, state="") == "?q=a+b&page=4"
    assert Choice.of({"page": "9" * 30}).page == 1


def test_streams_of_dags_that_are_not_readable_are_not_counted() -> None:
    readable = {stream["stream_id"] for stream in STREAMS[:3]}
    seen = visible(STREAMS, readable, paused_dags={STREAMS[1]["stream_id"]})
    assert [stream["verdict"]["state"] for stream in seen] == ["broken", "paused", "fresh"]
    assert STREAMS[1]["verdict"]["state"] == "fresh"  # what is kept for others stays as it is
    found = choose(seen, Choice())
    assert (found.known, found.total, len(found.rows)) == (3, 3, 3)
    assert PAGE_SIZE == 50


def test_a_table_can_be_asked_about_if_all_dags_behind_it_can_be_read() -> None:
    def model(name: str, layer: str, tags: tuple[str, ...], parents: tuple[str, ...]) -> Model:
        return Model(name, layer, "sales", tags, parents, "")

    models = {
        found.name: found
        for found in (
            model("int_a", "processed", ("shop__a", "nightly"), ()),
            model("int_b", "processed", ("shop__b",), ()),
            model("int_untagged", "processed", (), ()),
            model("fct_a", "enriched", (), ("int_a",)),
            model("fct_ab", "enriched", (), ("fct_a", "int_b")),
            model("fct_u", "enriched", (), ("int_untagged",)),
        )
    }
    every = {"shop__a", "shop__b", "enriched__sales"}
    assert askable(models, every) == ["fct_a", "fct_ab", "int_a", "int_b"]
    assert askable(models, every - {"shop__b"}) == ["fct_a", "int_a"]
    assert askable(models, every - {"enriched__sales"}) == ["int_a", "int_b"]
    assert askable(models, set()) == []
