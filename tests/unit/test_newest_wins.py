"""The macro `newest_wins`, against the same in Python."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

_FOLDER = Path(__file__).resolve().parents[2] / "include" / "dbt" / "macros"
MACROS = "".join(
    (_FOLDER / f"{name}.sql").read_text("utf-8") for name in ("newest_wins", "kept_out")
)
# Key in two parts, extracted, updated, raw id; few values each, so that all kinds of ties come up.
Row = tuple[int | None, str | None, int, int, str]
rows = st.tuples(
    st.sampled_from([1, 2, None]),
    st.sampled_from(["a", "b", None]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["x", "y", "z"]),
)


def newest(found: Sequence[Row], key: str) -> list[tuple[object, ...]]:
    """Rows that the macro leaves, each with its place in `found`, in that order."""
    template = jinja2.Environment(autoescape=False).from_string(
        MACROS + "{{ newest_wins('versions', key) }}"
    )
    start = datetime(2026, 3, 10, tzinfo=UTC)
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE versions (one INTEGER, two VARCHAR, _airbyte_extracted_at TIMESTAMPTZ, "
            "_source_updated_at TIMESTAMPTZ, _airbyte_raw_id VARCHAR, _lake_row_id BIGINT, "
            "place BIGINT)"
        )
        for place, (one, two, extracted, updated, raw_id) in enumerate(found):
            moments = [start + timedelta(hours=hours) for hours in (extracted, updated)]
            con.execute(
                "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)",
                [one, two, *moments, raw_id, place, place],
            )
        query = template.render(key=key, is_incremental=lambda: False, model={}, config={})
        left = con.execute(f"FROM ({query}) ORDER BY place")
        assert [column[0] for column in left.description or ()] == [
            "one", "two", "_airbyte_extracted_at", "_source_updated_at", "_airbyte_raw_id", "place",
        ]  # fmt: skip
        return left.fetchall()


@given(found=st.lists(rows, max_size=12))
@example(found=[])
@example(found=[(1, "a", 0, 0, "x")] * 3)
@example(found=[(None, None, 0, 0, "x"), (None, None, 1, 0, "x"), (1, None, 0, 0, "x")])
def test_one_row_of_each_key_is_left_the_newest_and_all_without_a_key(found: list[Row]) -> None:
    expected: dict[object, int] = {}
    for place, row in sorted(enumerate(found), key=lambda item: (item[1][2:], item[0])):
        expected[place if None in row[:2] else row[:2]] = place
    left = newest(found, "one, two")
    assert [row[-1] for row in left] == sorted(expected.values())


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ((1, "a", 2, 0, "x"), (1, "b", 1, 2, "z")),
        ((1, "a", 1, 2, "x"), (1, "b", 1, 1, "z")),
        ((1, "a", 1, 1, "y"), (1, "b", 1, 1, "x")),
    ],
)
def test_when_it_was_read_comes_before_when_it_changed_and_that_before_the_raw_id(
    newer: Row, older: Row
) -> None:
    for found in ([newer, older], [older, newer]):
        assert [row[1] for row in newest(found, "one")] == ["a"]


def ordered(call: str, kind: str, values: Sequence[object]) -> list[Any]:
    """What a macro makes of values of a type."""
    macros = MACROS
    template = jinja2.Environment(autoescape=False).from_string(macros + "{{ " + call + " }}")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE versions (place BIGINT, value {kind})")
        con.executemany("INSERT INTO versions VALUES (?, ?)", list(enumerate(values)))
        found = con.execute(f"SELECT {template.render()} FROM versions ORDER BY place").fetchall()
        (nulls,) = con.execute(
            f"SELECT count(*) FROM versions WHERE {template.render()} IS NULL AND value IS NOT NULL"
        ).fetchone() or (None,)
    assert nulls == 0
    return [value for (value,) in found]


@given(values=st.lists(st.integers(-9 * 10**18, 9 * 10**18), min_size=1))
@example(values=[0, 1_700_000_000, 10**11 - 1, 10**11, 12 * 10**12, 2**53, 2**53 + 1, 2**62 + 1])
def test_whole_numbers_of_any_size_keep_their_order(values: list[int]) -> None:
    values = sorted(set(values))
    made = ordered("'epoch_us(' ~ number_as_time('value') ~ ')'", "BIGINT", values)
    assert made == sorted(set(made))


@given(values=st.lists(st.floats(allow_nan=False), min_size=1))
@example(values=[float("-inf"), -1e300, -5.5, 0.0, 1.5, 1.7e9, 1e11, 1.2e13, 9e15, float("inf")])
def test_numbers_of_any_size_are_times_in_their_order(values: list[float]) -> None:
    made = ordered("'epoch_us(' ~ number_as_time('value') ~ ')'", "DOUBLE", sorted(values))
    assert made == sorted(made)


def test_a_cursor_that_is_text_orders_by_what_it_says() -> None:
    for values in (
        ["2026-03-01", "2026-03-01T10:00:00+02:00", "2026-03-01T09:00:00Z", "2026-03-01 09:00:01"],
        ["9", "10", "100", "99999999999999999999"],
        ["mysql-bin.000009/4", "mysql-bin.000010/1"],
        ["", "a", "b"],
    ):
        made = ordered("text_version('value')", "VARCHAR", values)
        assert made == sorted(set(made))
    assert ordered("text_version('value')", "VARCHAR", [None]) == [""]
