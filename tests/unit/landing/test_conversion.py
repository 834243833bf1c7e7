"""Each value is in its column or among what is rescued, and in its column if nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_lake.landing.conversion import Conversion
from lotus_lake.sql import identifier
from tests.rescued import JUDGES, LOST, account

# A type: the name of one, or a list, map or struct with the types inside it.
Tree = str | tuple[str, Any]
ARROW = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "DECIMAL(18,2)": pa.decimal128(18, 2),
}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def convert(
    con: duckdb.DuckDBPyConnection, source: Tree, target: str, values: list[Any]
) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Each value in a column of another type, and what is rescued of it."""
    conversion, kinds = Conversion(), (con.sqltype(type_of(source)), con.sqltype(target))
    lost = conversion.lost("c", *kinds, "c") or "[]"
    con.register("arrived", pa.table({"c": pa.array(values, arrow_of(source))}))
    query = f"SELECT {conversion.value('c', *kinds)}, {lost} FROM arrived"
    return con.execute(query).fetchall()


TEXTS = (
    "", " ", "7", "7.0", "-7", "+7", " 7", "007", "1_000", "0x1F", "1e2", "1e22", "1e+22",
    "1.5e-9", "12.50", "12.505", ".5",
    "-0", "0.1", "0.10000000000000001", "1e400", "1e-400", "9007199254740993", "9007199254740992",
    "9223372036854775807", "9223372036854775808", "123456789012345678901234567890", "NaN", "inf",
    "-inf", "1152921504606846976", "true", "True", "FALSE", "t", "yes", "1", "2024-01-01",
    "2024-01-01T00:00:00+00:00", "2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z",
    "2024-01-01 10:30:00", "2024-01-01T10:30:00.123456Z", "2024-01-01T10:30:00.1234567Z",
    "2024-01-01T10:30:00.123000000Z", "2024-13-01", "2024-02-30T00:00:00Z", "1704067200", "epoch",
    "2024-01-01T00:00:00-11:30", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "Łódź", "null",
    '{"a": 1}', "[]", "it's", 'say "x"', "\x00",
)  # fmt: skip


@pytest.mark.parametrize("target", JUDGES)
def test_text_is_in_its_column_exactly_if_it_says_such_a_value(
    con: duckdb.DuckDBPyConnection, target: str
) -> None:
    found = convert(con, "VARCHAR", target, list(TEXTS))
    for text, (value, rescued) in zip(TEXTS, found, strict=True):
        expected = JUDGES[target](text, target)
        if expected is LOST:
            entry = {"path": "c", "expected": target, "arrived": "VARCHAR"}
            assert value is None
            assert [{**entry, "value": json.dumps(text)}] == [
                {**one, "value": json.dumps(json.loads(one["value"]))} for one in rescued
            ], text
        else:
            assert rescued == [], text
            assert value == expected or (value != value and expected != expected), text


@given(number=st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 100))
def test_whole_numbers_become_fractional_ones_only_if_they_are_these(
    con: duckdb.DuckDBPyConnection, number: int
) -> None:
    [(value, rescued)] = convert(con, "BIGINT", "DOUBLE", [number])
    if int(float(number)) != number:
        assert (value, [json.loads(one["value"]) for one in rescued]) == (None, [number])
    else:
        assert (value, rescued) == (number, [])


@given(number=st.floats())
@pytest.mark.parametrize("target", ["BIGINT", "DECIMAL(18,2)", "FLOAT", "VARCHAR"])
def test_fractional_numbers_lose_nothing(
    con: duckdb.DuckDBPyConnection, number: float, target: str
) -> None:
    [(value, rescued)] = convert(con, "DOUBLE", target, [number])
    if rescued:
        [entry] = rescued
        kept = json.loads(entry["value"], parse_constant=lambda name: 1 / 0)
        assert value is None
        assert repr(float(kept)) == repr(number)
    elif target == "DECIMAL(18,2)":
        assert value == Decimal(repr(number))
    else:
        assert repr(float(value)) in (repr(number), repr(abs(number)))
        assert float(value) == number or number != number


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        ("12345678901234567.89", False), ("0.1234567890123456789", False),
        ("123456789012345678e2", False), ("59.32932341122334", True), ("1.10", True),
        ("123456789012345678901234567890", True), ("-1e2", True),
    ],
)  # fmt: skip
def test_long_numbers_of_json_are_not_changed(
    con: duckdb.DuckDBPyConnection, number: str, fits: bool
) -> None:
    text = f'{{"n": {number}}}'
    [(value, rescued)] = convert(con, "VARCHAR", "STRUCT(n DECIMAL(38, 14))", [text])
    if fits and len(number) < 25:
        assert (value, rescued) == ({"n": Decimal(number)}, [])
    else:
        assert [json.loads(entry["value"]) for entry in rescued] == [int(number) if fits else text]


# Nested values: random ones of random types, into a type that somebody changed at random.

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "VARCHAR": st.sampled_from(TEXTS) | st.text(),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "DOUBLE": st.floats(),
    "BOOLEAN": st.booleans(),
    "BLOB": st.binary(max_size=5),
    "DATE": st.dates(date(1, 1, 1)),
    "TIMESTAMP": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    "DECIMAL(18,2)": st.decimals(-(10**15), 10**15, places=2),
}
NAMES = ("a", "b", "x y", 'q"', "d.o.t", "it's", "select", "😀")

trees: st.SearchStrategy[Tree] = st.recursive(
    st.sampled_from(sorted(SCALARS)),
    lambda inner: (
        st.tuples(st.just("list"), inner)
        | st.tuples(st.just("map"), inner)
        | st.tuples(st.just("struct"), st.dictionaries(st.sampled_from(NAMES), inner, min_size=1))
    ),
    max_leaves=5,
)


def type_of(tree: Tree) -> str:
    if isinstance(tree, str):
        return tree
    kind, inner = tree
    if kind == "list":
        return f"{type_of(inner)}[]"
    if kind == "map":
        return f"MAP(VARCHAR, {type_of(inner)})"
    return f"STRUCT({', '.join(f'{identifier(n)} {type_of(t)}' for n, t in inner.items())})"


def arrow_of(tree: Tree) -> pa.DataType:
    if isinstance(tree, str):
        return ARROW[tree]
    kind, inner = tree
    if kind == "list":
        return pa.list_(arrow_of(inner))
    if kind == "map":
        return pa.map_(pa.string(), arrow_of(inner))
    return pa.struct([(name, arrow_of(below)) for name, below in inner.items()])


def values_of(tree: Tree) -> st.SearchStrategy[Any]:
    if isinstance(tree, str):
        return st.none() | SCALARS[tree]
    kind, inner = tree
    if kind == "list":
        return st.none() | st.lists(values_of(inner), max_size=3)
    if kind == "map":
        return st.none() | st.dictionaries(st.sampled_from(NAMES), values_of(inner), max_size=3)
    return st.none() | st.fixed_dictionaries({n: values_of(t) for n, t in inner.items()})


@st.composite
def changed(draw: st.DrawFn, tree: Tree) -> Tree:
    """A type that differs somewhere."""
    if isinstance(tree, str) or draw(st.integers(0, 4)) == 0:
        return draw(trees)
    kind, inner = tree
    if kind != "struct":
        return kind, draw(changed(inner))
    fields = {n: draw(changed(t) if draw(st.booleans()) else st.just(t)) for n, t in inner.items()}
    return kind, fields


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_nothing_is_lost_of_nested_values(
    con: duckdb.DuckDBPyConnection, data: st.DataObject
) -> None:
    tree = data.draw(trees)
    target = type_of(data.draw(changed(tree)))
    value = data.draw(values_of(tree))
    [(there, entries)] = convert(con, tree, target, [value])
    account(value, there, "c", entries)
