"""The grammar of raw keys."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lotus_lake.bucket.keys import (
    is_folder_marker,
    key_problem,
    natural_order,
    partition_date,
    partition_path,
    window_start,
)

PREFIX = "raw/shopify/orders/"
DAY = "year=2026/month=03/day=01/"

days = st.dates()
file_names = st.from_regex(r"[A-Za-z0-9._=-]{0,20}\.parquet(-[0-9]{1,3})?", fullmatch=True)
any_text = st.text(max_size=30)


def near(day: date) -> st.SearchStrategy[date]:
    """Days within two months."""
    ordinal = day.toordinal()
    around = st.integers(max(1, ordinal - 60), min(date.max.toordinal(), ordinal + 60))
    return around.map(date.fromordinal)


@given(days, file_names)
def test_a_key_made_for_a_day_is_of_that_day(day: date, name: str) -> None:
    key = f"{PREFIX}{partition_path(day)}/{name}"
    assert partition_date(PREFIX, key) == day
    assert key_problem(PREFIX, key) is None


@given(st.from_regex(r"year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}", fullmatch=True), file_names)
def test_a_key_with_a_day_is_the_key_made_for_that_day(folder: str, name: str) -> None:
    day = partition_date(PREFIX, f"{PREFIX}{folder}/{name}")
    if day is None:
        with pytest.raises(ValueError, match=r"month|day|year"):
            date(*(int(number) for number in re.findall(r"\d+", folder)))
    else:
        assert partition_path(day) == folder


@given(any_text, any_text)
def test_any_text_has_a_problem_or_a_day(prefix: str, text: str) -> None:
    key = f"{prefix}/{text}"
    if key_problem(f"{prefix}/", key) is None:
        assert partition_date(f"{prefix}/", key) is not None


@given(st.lists(st.integers(0, 10**9), unique=True))
def test_part_numbers_sort_as_numbers(numbers: list[int]) -> None:
    keys = [f"{PREFIX}{DAY}part_{number}.parquet" for number in numbers]
    assert sorted(keys, key=natural_order) == [
        f"{PREFIX}{DAY}part_{number}.parquet" for number in sorted(numbers)
    ]


@given(any_text, any_text)
def test_natural_order_tells_any_two_keys_apart(one: str, other: str) -> None:
    assert (natural_order(one) == natural_order(other)) == (one == other)


def test_natural_order_takes_digits_that_are_no_numbers() -> None:
    assert natural_order("1²3") != natural_order("123")


@given(days, st.integers(1, 3650), st.data(), file_names)
def test_a_window_holds_its_partitions_and_nothing_older(
    cursor: date, lookback_days: int, data: st.DataObject, name: str
) -> None:
    assume(cursor.toordinal() > lookback_days)
    first_day = cursor - timedelta(days=lookback_days)
    day = data.draw(days | st.sampled_from([first_day, cursor]) | near(first_day), label="day")
    start = window_start(PREFIX, cursor, lookback_days)
    assert start is not None
    key = f"{PREFIX}{partition_path(day)}/{name}"
    assert (key > start) == (day >= first_day)


def test_a_stream_without_a_cursor_has_no_window() -> None:
    assert window_start(PREFIX, None, 30) is None


def test_a_window_that_would_start_before_the_calendar_is_everything() -> None:
    assert window_start(PREFIX, date(1, 1, 5), 30) is None


@pytest.mark.parametrize(
    "name",
    [
        "part_0.parquet",
        "part_10.parquet",
        "2026_03_01_1772323200000_0.parquet",
        "part_0.parquet-1",
        "0b83b2f5-93a8-4b5e-a9f4-2f4a2fd0a0f4.parquet",
    ],
)
def test_the_names_that_airbyte_writes_are_fine(name: str) -> None:
    assert key_problem(PREFIX, PREFIX + DAY + name) is None


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (PREFIX + DAY + "a*.parquet", "not safe to register: '*'"),
        (PREFIX + DAY + "a[1].parquet", "not safe to register: '[' ']'"),
        (PREFIX + DAY + "a&b.parquet", "not safe to register: '&'"),
        (PREFIX + DAY + "a b.parquet", "not safe to register: ' '"),
        (PREFIX + DAY + "a'b.parquet", 'not safe to register: "\'"'),
        (PREFIX + DAY + "é.parquet", "not safe to register: 'é'"),
        (PREFIX + DAY + "a?\n.parquet", r"not safe to register: '\n' '?'"),
        (PREFIX + "year=٢٠٢٦/month=03/day=01/a.parquet", "not safe to register"),
        (PREFIX + DAY + "part_0.csv", "does not name a Parquet file"),
        (PREFIX + DAY + "_SUCCESS", "does not name a Parquet file"),
        (PREFIX + DAY, "does not name a Parquet file"),
        (PREFIX + DAY + "more/part_0.parquet", "is not {prefix}year="),
        (PREFIX + "part_0.parquet", "is not {prefix}year="),
        (PREFIX + "year=2026/month=3/day=1/part_0.parquet", "is not {prefix}year="),
        (PREFIX + "year=2026/month=02/day=30/part_0.parquet", "is not {prefix}year="),
        (PREFIX + "year=2026/month=03/part_0.parquet", "is not {prefix}year="),
        ("raw/shopify/orders_old/" + DAY + "part_0.parquet", "is not {prefix}year="),
    ],
)
def test_a_key_that_cannot_be_registered_is_told_why(key: str, problem: str) -> None:
    assert problem in str(key_problem(PREFIX, key))


def test_only_a_trailing_slash_marks_a_folder() -> None:
    assert is_folder_marker(PREFIX + DAY)
    assert not is_folder_marker(PREFIX + DAY + "part_0.parquet")
