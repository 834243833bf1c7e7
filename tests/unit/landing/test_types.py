"""Which type holds the values of another."""

from __future__ import annotations

import duckdb
import pytest

from lotus_lake.landing.types import keeps_values


@pytest.mark.parametrize(
    ("old", "new", "keeps"),
    [
        ("BIGINT", "BIGINT", True), ("INTEGER", "BIGINT", True), ("BIGINT", "INTEGER", False),
        ("BIGINT", "VARCHAR", False), ("DECIMAL(18, 4)", "DECIMAL(20, 4)", True),
        ("DECIMAL(18, 4)", "DECIMAL(18, 2)", False),
        ("STRUCT(a INTEGER)", "STRUCT(a BIGINT, b VARCHAR)", True),
        ("STRUCT(a INTEGER, b VARCHAR)", "STRUCT(a BIGINT)", False),
        ("STRUCT(a INTEGER)[]", "STRUCT(a BIGINT)[]", True), ("BIGINT[]", "INTEGER[]", False),
        ("STRUCT(a INTEGER)", "VARCHAR", False),
    ],
)  # fmt: skip
def test_a_type_keeps_the_values_of_another_if_it_holds_all_of_them(
    old: str, new: str, keeps: bool
) -> None:
    with duckdb.connect() as con:
        assert keeps_values(con.type(old), con.type(new)) is keeps
