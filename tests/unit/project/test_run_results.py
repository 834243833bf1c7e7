"""What dbt says of its failures, and which of them a retry cannot help."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_lake.error_translation import fails_again
from lotus_lake.project.run_results import DataTest, FailedNode, data_tests, failed_nodes


def test_only_what_failed_is_told_with_its_sql(tmp_path: Path) -> None:
    assert failed_nodes(tmp_path) is None
    results = [
        {"unique_id": f"model.lotus_lake.{name}", "status": name, "message": f"\n {name} \n",
         "compiled_code": "\nselect 1\n"}
        for name in ("success", "error", "skipped")
    ] + [
        {"unique_id": "test.lotus_lake.unique_id.a1b2", "status": "fail", "message": None},
        {"unique_id": "test.lotus_lake.warned.a1b2", "status": "warn", "message": "Got 1 result"},
    ]  # fmt: skip
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    assert failed_nodes(tmp_path) == [
        FailedNode("error", "error", "select 1"),
        FailedNode("unique_id", "", ""),
    ]


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("Binder Error: Referenced column 'x' not found in FROM clause!", True),
        ("Conversion Error: Could not convert string 'x' to INT64", True),
        ("Catalog Error: Table with name x does not exist!", True),
        ("TransactionContext Error: Failed to commit: write-write conflict", False),
        ("IO Error: Could not set lock on file", False),
        ("HTTP Error: HTTP GET error on 's3://b/k' (HTTP 503)", False),
        ("Invalid Input Error: No magic bytes found at end of file 's3://b/k'", False),
        ("Out of Memory Error: could not allocate block", False),
        ("Catalog Error: server closed the connection unexpectedly", False),
        ("Got killed", False),
    ],
)
def test_an_error_of_sql_or_values_fails_again_and_one_of_the_world_may_not(
    said: str, again: bool
) -> None:
    assert fails_again(f"Runtime Error in model int_a__b (models/a.sql)\n  {said}") is again


def test_each_data_test_says_what_it_found_and_one_that_did_not_run_says_nothing() -> None:
    nodes = {
        "model.x.fct": {"name": "fct"},
        "model.x.int": {"name": "int"},
        "test.x.unique_id": {
            "name": "unique_id", "column_name": "id", "attached_node": "model.x.fct",
            "test_metadata": {"name": "unique"}, "config": {"severity": "ERROR"},
        },
        "test.x.both": {
            "name": "both", "config": {"severity": "warn"},
            "depends_on": {"nodes": ["model.x.int", "model.x.fct"]},
        },
    }  # fmt: skip
    document = {"nodes": nodes, "child_map": {"model.x.fct": ["test.x.unique_id", "test.x.both"]}}
    unique = DataTest("unique_id", "unique", "id", "error", 0, ("fct",))
    both = DataTest("both", "both", None, "warn", 3, ("int", "fct"))

    def found(*results: tuple[str, str, int | None, str | None]) -> list[DataTest]:
        keys = ("unique_id", "status", "failures", "message")
        rows = [dict(zip(keys, result, strict=True)) for result in results]
        return data_tests({"results": rows}, document)

    assert found(
        ("model.x.fct", "success", None, "OK"),
        ("test.x.unique_id", "pass", 0, None),
        ("test.x.both", "warn", 3, "Got 3 results"),
    ) == [unique, both]
    assert found(("test.x.unique_id", "error", None, "IO Error")) == []
    # A test that the macro `audit` has run: the model did not become a table.
    refused = (
        "Database Error\n  fct stays as it was, because tests fail:\n  unique_id: 2, such as {}"
    )
    assert found(
        ("model.x.fct", "error", None, refused), ("test.x.unique_id", "skipped", None, None)
    ) == [replace(unique, failures=None)]
