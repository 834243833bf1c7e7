"""The grammar of raw keys: path format, key, stream and day."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lotus_lake.bucket.keys import (
    Layout,
    is_folder_marker,
    layout_of,
    natural_order,
    partition_path,
)
from lotus_lake.config.path_format import (
    DEFAULT_PATH_FORMAT,
    PathFormat,
    name_in_keys,
    path_format_problem,
)
from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import StreamConfig
from lotus_lake.config.streams import Stream

AIRBYTES_DEFAULT = "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_"
# Path formats whose keys begin with a date: a window can be listed.
WINDOWED = [
    DEFAULT_PATH_FORMAT,
    AIRBYTES_DEFAULT,
    "${NAMESPACE}/${STREAM_NAME}/${YEAR}/${MONTH}/${DAY}/${HOUR}/",
    "${NAMESPACE}/${STREAM_NAME}/dt=${YEAR}-${MONTH}-${DAY}/${UUID}",
    "${NAMESPACE}/${STREAM_NAME}/${EPOCH}_{part_number}{format_extension}",
    "${NAMESPACE}/${STREAM_NAME}/{date}_{timestamp}_{part_number}{format_extension}",
    "${STREAM_NAME}_${YEAR}${MONTH}${DAY}_",
    "${YEAR}/${MONTH}/${DAY}/${NAMESPACE}/${STREAM_NAME}/${YEAR}",
]
# Their keys name a day, and are not in its order.
DATED = [
    *WINDOWED,
    "${NAMESPACE}/${STREAM_NAME}/${UUID}/${YEAR}_${MONTH}_${DAY}_",
    "${NAMESPACE}/${STREAM_NAME}/{sync_id}_{timestamp}_{part_number}{format_extension}",
    "${NAMESPACE}/${STREAM_NAME}/${DAY}-${MONTH}-${YEAR}/",
]
# Their keys name no day.
UNDATED = [
    "${NAMESPACE}/${STREAM_NAME}/",
    "${NAMESPACE}/${STREAM_NAME}/${UUID}/",
    "${NAMESPACE}_${STREAM_NAME}_{part_number}{format_extension}",
    "${NAMESPACE}/${STREAM_NAME}/${YEAR}/${MONTH}/",
]
PREFIX = "raw/shopify/orders/"
DAY = "year=2026/month=03/day=01/"
WRITTEN_AT = datetime(2026, 7, 9, 23, 30, tzinfo=UTC)

days = st.dates(date(2001, 9, 10), date(2200, 1, 1))
path_formats = st.sampled_from([*DATED, *UNDATED])
file_names = st.from_regex(r"[A-Za-z0-9._=-]{0,20}\.parquet(-[0-9]{1,3})?", fullmatch=True)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9 _.-]{0,12}", fullmatch=True)
any_text = st.text(max_size=30)


def layout(text: str = DEFAULT_PATH_FORMAT, **words: Any) -> Layout:
    document = {"stream": "orders", "primary_key": [["id"]], "fields": {"id": {}}, **words}
    stream = Stream("shopify", "orders", StreamConfig.model_validate(document))
    settings = Settings.from_env({"LAKE_RAW_URI": "s3://landing/raw"})
    return layout_of(replace(settings, path_format=text), stream)


def key_of(
    text: str, at: datetime, name: str, *, namespace: str = "shopify", stream: str = "orders"
) -> str:
    """A key as Airbyte makes it, by its documentation."""
    millis = f"{int(at.timestamp()) * 1000}"
    values = {
        "${NAMESPACE}": name_in_keys(namespace), "${STREAM_NAME}": name_in_keys(stream),
        "${YEAR}": f"{at:%Y}", "${MONTH}": f"{at:%m}", "${DAY}": f"{at:%d}",
        "${HOUR}": f"{at:%H}", "${EPOCH}": millis, "{timestamp}": millis,
        "${UUID}": "0b83b2f5-93a8-4b5e-a9f4-2f4a2fd0a0f4", "{date}": f"{at:%Y_%m_%d}",
        "{sync_id}": "17", "{part_number}": "4", "{format_extension}": ".parquet",
    }  # fmt: skip
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return "raw/" + text + ("" if ".parquet" in text else name)


def near(day: date) -> st.SearchStrategy[date]:
    """Days within two months."""
    ordinal = day.toordinal()
    return st.integers(ordinal - 60, ordinal + 60).map(date.fromordinal)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


# The path format and back


@given(path_formats, days, file_names)
def test_a_key_made_of_a_path_format_gives_its_day_back(text: str, day: date, name: str) -> None:
    found, key = layout(text), key_of(text, noon(day), name)
    assert found.takes(key)
    assert found.problem(key) is None
    assert found.day(key, WRITTEN_AT) == (day if text in DATED else WRITTEN_AT.date())


@given(st.sampled_from([*DATED, *UNDATED[:3]]), days, file_names, names, names)
def test_a_key_is_taken_by_its_own_stream_only(
    text: str, day: date, name: str, one: str, other: str
) -> None:
    assume(name_in_keys(one) != name_in_keys(other))
    key = key_of(text, noon(day), name, stream=one)
    assert layout(text, stream_name=one).takes(key)
    assert not layout(text, stream_name=other).takes(key)


@pytest.mark.parametrize("other", ["orders_archive", "orders_2026", "orders2", "order", "Orders"])
@pytest.mark.parametrize("text", [*DATED, *UNDATED])
def test_names_of_which_one_begins_with_the_other_are_told_apart(text: str, other: str) -> None:
    key = key_of(text, noon(date(2026, 3, 1)), "0.parquet", stream=other)
    assert not layout(text).takes(key)
    assert layout(text, stream_name=other).takes(key)


@pytest.mark.parametrize(
    ("words", "prefix", "is_own"),
    [
        ({}, "raw/shopify/orders/", True),
        ({"namespace": "", "stream_name": "Order Refunds"}, "raw/Order_Refunds/", True),
        ({"namespace": "Öffentlich & co"}, "raw/Offentlich_&_co/orders/", True),
        ({"namespace": "public", "stream_name": "a-b.c"}, "raw/public/a-b.c/", True),
        ({"feeder": {"path_format": "x/y/"}}, "raw/x/y/", True),
        ({"feeder": {"path_format": "x/${STREAM_NAME}//y${YEAR}/"}}, "raw/x/orders/", True),
        ({"feeder": {"path_format": "/x/${STREAM_NAME}_${YEAR}/"}}, "raw/x/orders_", False),
        ({"feeder": {"path_format": "${YEAR}/${STREAM_NAME}/"}}, "raw/", False),
    ],
)
def test_what_is_listed_follows_from_the_path_format_and_the_names(
    words: dict[str, Any], prefix: str, is_own: bool
) -> None:
    found = layout(AIRBYTES_DEFAULT, **words)
    assert (found.prefix, found.has_own_folder) == (prefix, is_own)
    assert found.takes(found.example)


def test_a_placeholder_that_comes_twice_has_one_value() -> None:
    found = layout("${STREAM_NAME}/${YEAR}/${YEAR}_${MONTH}_${DAY}_")
    assert found.day("raw/orders/2026/2026_03_01_0.parquet", WRITTEN_AT) == date(2026, 3, 1)
    assert found.day("raw/orders/2025/2026_03_01_0.parquet", WRITTEN_AT) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${STREAM}/", "unknown placeholder ${STREAM}; did you mean ${STREAM_NAME}?"),
        (
            "${STREAM_NAME}/{partnumber}",
            "unknown placeholder {partnumber}; did you mean {part_number}?",
        ),
        ("${STREAM_NAME}/${YEAR", "a brace of no placeholder in '/${YEAR'"),
        ("${NAMESPACE}/${STREAM_NAME}_", "put a slash, a date, or the file name pattern"),
        ("${STREAM_NAME}", "put a slash, a date, or the file name pattern"),
    ],
)
def test_a_path_format_that_cannot_be_used_is_told_why(text: str, problem: str) -> None:
    assert problem in str(path_format_problem(text))


@pytest.mark.parametrize("text", [*DATED, *UNDATED])
def test_path_formats_of_airbyte_can_be_used(text: str) -> None:
    assert path_format_problem(text) is None
    assert PathFormat.of(text).text == text


# Days


@given(st.from_regex(r"year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}", fullmatch=True), file_names)
def test_a_key_with_a_day_is_the_key_made_for_that_day(folder: str, name: str) -> None:
    day = layout().day(f"{PREFIX}{folder}/{name}", WRITTEN_AT)
    if day is None:
        with pytest.raises(ValueError, match=r"month|day|year"):
            date(*(int(number) for number in re.findall(r"\d+", folder)))
    else:
        assert partition_path(day) == folder


@given(path_formats, any_text)
def test_any_text_has_a_problem_or_a_day(text: str, key: str) -> None:
    found = layout(text)
    if found.problem(found.prefix + key) is None:
        assert found.day(found.prefix + key, WRITTEN_AT) is not None


# Order and window


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


@given(st.sampled_from(WINDOWED), days, st.integers(1, 3650), st.data(), file_names)
def test_a_window_holds_its_days_and_nothing_older(
    text: str, cursor: date, lookback_days: int, data: st.DataObject, name: str
) -> None:
    first_day = cursor - timedelta(days=lookback_days)
    assume(first_day > date(2001, 12, 1))
    day = data.draw(days | st.sampled_from([first_day, cursor]) | near(first_day), label="day")
    found = layout(text)
    start = found.window_start(cursor, lookback_days)
    assert start is not None
    assert start.startswith(found.prefix)
    assert (key_of(text, noon(day), name) > start) == (day >= first_day)


def test_a_window_by_month_begins_with_the_month_of_its_first_day() -> None:
    found = layout("${NAMESPACE}/${STREAM_NAME}/${YEAR}/${MONTH}/")
    assert found.window_start(date(2026, 3, 10), 30) == "raw/shopify/orders/2026/02"


@pytest.mark.parametrize("text", [*DATED[len(WINDOWED) :], *UNDATED[:3]])
def test_keys_that_do_not_begin_with_a_date_are_all_listed(text: str) -> None:
    assert layout(text).window_start(date(2026, 3, 10), 30) is None


def test_a_stream_without_a_cursor_has_no_window() -> None:
    assert layout().window_start(None, 30) is None


def test_a_window_that_would_start_before_the_calendar_is_everything() -> None:
    assert layout().window_start(date(1, 1, 5), 30) is None


# Which keys can be registered


@pytest.mark.parametrize(
    "name",
    [
        "part_0.parquet",
        "part_10.parquet",
        "2026_03_01_1772323200000_0.parquet",
        "part_0.parquet-1",
        "0b83b2f5-93a8-4b5e-a9f4-2f4a2fd0a0f4.parquet",
        "März, 100%20 (neu) + 'x'.parquet",
    ],
)
def test_the_names_that_airbyte_writes_are_fine(name: str) -> None:
    assert layout().problem(PREFIX + DAY + name) is None


def test_a_name_that_was_taken_gets_a_number_after_its_extension() -> None:
    found = layout("${STREAM_NAME}/{part_number}{format_extension}")
    assert found.problem("raw/orders/0.parquet-1") is None


NO_FORMAT = "is not of the path format shopify/orders/year=${YEAR}/"


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (PREFIX + DAY + "a*.parquet", "not safe to register: '*'"),
        (PREFIX + DAY + "a[1].parquet", "not safe to register: '[' ']'"),
        (PREFIX + DAY + "a&b.parquet", "not safe to register: '&'"),
        (PREFIX + DAY + "a\\b.parquet", "not safe to register: '"),
        (PREFIX + DAY + "a?\n.parquet", r"not safe to register: '\n' '?'"),
        (PREFIX + "year=٢٠٢٦/month=03/day=01/a.parquet", NO_FORMAT),
        (PREFIX + DAY + "part_0.xml", "names no format that can be read"),
        (PREFIX + DAY + "_SUCCESS", "names no format that can be read"),
        (PREFIX + DAY, "names no format that can be read"),
        (PREFIX + DAY + "more/part_0.parquet", NO_FORMAT),
        (PREFIX + "part_0.parquet", NO_FORMAT),
        (PREFIX + "year=2026/month=3/day=1/part_0.parquet", NO_FORMAT),
        (PREFIX + "year=2026/month=02/day=30/part_0.parquet", NO_FORMAT),
        (PREFIX + "year=2026/month=03/part_0.parquet", NO_FORMAT),
        ("raw/shopify/orders_old/" + DAY + "part_0.parquet", NO_FORMAT),
    ],
)
def test_a_key_that_cannot_be_registered_is_told_why(key: str, problem: str) -> None:
    assert problem in str(layout().problem(key))


def test_only_a_trailing_slash_marks_a_folder() -> None:
    assert is_folder_marker(PREFIX + DAY)
    assert not is_folder_marker(PREFIX + DAY + "part_0.parquet")
