"""What DuckDB says, as it is told to people."""

from __future__ import annotations

import duckdb
import pytest

from lotus_lake.error_translation import fails_again, is_gone, one_line


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


@pytest.mark.parametrize(
    "text",
    [
        "IO Error: Unable to read data: server closed the connection unexpectedly",
        "Error: ERROR:  current transaction is aborted, commands ignored until end of block",
        # Seen when Postgres was killed while the guard was read.
        "Invalid Input Error: Attempting to fetch from an unsuccessful query result\n"
        "Error: TransactionContext Error: Current transaction is aborted (please ROLLBACK)",
    ],
)
def test_a_catalog_that_went_away_is_known_by_its_words_and_a_retry_helps(text: str) -> None:
    assert is_gone(duckdb.Error(text))
    assert not fails_again(text)


def test_an_aborted_transaction_of_our_own_is_no_catalog_that_went_away() -> None:
    text = "TransactionContext Error: Current transaction is aborted (please ROLLBACK)"
    assert not is_gone(duckdb.TransactionException(text))
