"""What DuckDB says, as it is told to people."""

from __future__ import annotations

import duckdb
import pytest

from lotus_lake.failures import one_line


@pytest.mark.parametrize(
    "advice",
    [
        "\n* Set ignore_extra_columns => true to add the file anyway",
        "\n* Set allow_missing => true to allow missing fields and columns",
        "\n\nPossible solutions:\n* Set s3_region",
        " You can override this with ...",
    ],
)
def test_advice_for_writers_of_sql_is_left_out(advice: str) -> None:
    said = 'Invalid Input Error: Column "a" exists in file "b" but was not found in table "c"'
    assert one_line(duckdb.Error(said + advice)) == said


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    short = one_line(duckdb.Error("begin " + "x" * 10_000 + " end"))
    assert short.startswith("begin x")
    assert short.endswith("x end")
    assert len(short) <= 600
