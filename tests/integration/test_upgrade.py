"""An upgrade is rehearsed on a branch; the lake stays as it is."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.errors import PermanentError, SettingsError
from lotus_lake.lake.connection import attach_statement, open_lake
from lotus_lake.lake.session import LAKE, METADATA, Lake
from lotus_lake.lake.table_versions import table_ids
from lotus_lake.observe.rehearsal import compare_facts, read_facts, read_facts_with
from lotus_lake.repair.branches import create_branch, list_branches
from tests.catalogs import on_sqlite
from tests.feeds import Feed

NAME = "upgrade_rehearsal"


@pytest.fixture
def fed(feed: Feed, lake: Lake) -> Lake:
    feed.put()
    feed.run(lake)
    lake.con.execute(f"CREATE TABLE {LAKE}.main.fct AS SELECT range AS id, 'a' AS t FROM range(99)")
    return lake


@pytest.fixture
def variables(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def set_format(catalog: str, value: str) -> None:
    with closing(sqlite3.connect(catalog)) as con, con:
        con.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'version'", [value])


@pytest.mark.usefixtures("variables")
def test_the_same_versions_find_no_difference_and_leave_nothing(fed: Lake, feed: Feed) -> None:
    snapshot, landed = fed.current_snapshot(), feed.landed(fed)
    done = CliRunner().invoke(app, ["upgrade", "--rehearse", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout) == []
    assert "0 differences" in done.stderr
    assert list_branches(fed) == []
    assert feed.landed(fed) == landed
    # The branch was noted and forgotten.
    assert fed.current_snapshot() == snapshot + 2
    assert isinstance(CliRunner().invoke(app, ["upgrade"]).exception, SettingsError)


@pytest.mark.usefixtures("variables")
def test_a_python_that_cannot_read_the_branch_is_told_and_the_branch_dropped(
    fed: Lake, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no module named duckdb' >&2\nexit 1\n")
    broken.chmod(0o755)
    done = CliRunner().invoke(app, ["upgrade", "--rehearse", "--python", str(broken)])
    assert isinstance(done.exception, PermanentError)
    assert "no module named duckdb" in str(done.exception)
    assert list_branches(fed) == []


@on_sqlite
@pytest.mark.usefixtures("variables")
def test_the_branch_is_migrated_and_the_lake_is_not(fed: Lake, feed: Feed) -> None:
    """DuckLake's own migration, from the format before this one."""
    create_branch(fed, NAME)
    branch = feed.settings.of_branch(NAME)
    with open_lake(branch) as opened:
        before = read_facts(opened)
    set_format(branch.catalog.address, "0.4")
    with pytest.raises(SettingsError, match=r"catalog version is 0\.4"), open_lake(branch):
        pass
    after = read_facts_with(Path(sys.executable), branch, values=True)
    assert after["versions"].endswith("catalog 1.0")
    assert list(compare_facts(before, after)) == []
    # No lake is migrated by accident, whatever is asked.
    set_format(feed.settings.catalog.address, "0.4")
    with pytest.raises(SettingsError, match=r"0\.4"), open_lake(feed.settings, migrate=True):
        pass
    assert "MIGRATION" not in attach_statement(feed.settings, migrate=True)


@on_sqlite
def test_a_catalog_that_another_client_has_migrated_is_named(fed: Lake, feed: Feed) -> None:
    set_format(feed.settings.catalog.address, "1.1")
    with (
        pytest.raises(SettingsError, match="because another client has migrated it"),
        open_lake(feed.settings),
    ):
        pass


def test_whatever_differs_is_said(fed: Lake) -> None:
    before = read_facts(fed)
    assert before["tables"]["main.fct"]["rows"] == 99
    assert "Max: 98" in before["tables"]["main.fct"]["statistics"]
    fed.con.execute(f"UPDATE {LAKE}.main.fct SET t = 'b' WHERE id = 1")
    found = {(each.table, each.what) for each in compare_facts(before, read_facts(fed))}
    assert ("main.fct", "values") in found
    assert ("main.fct", "rows") not in found
    fed.con.execute(f"INSERT INTO {LAKE}.main.fct VALUES (1000, 'c')")
    fed.con.execute(f"CREATE TABLE {LAKE}.main.new AS SELECT 1 AS one")
    found = {(each.table, each.what) for each in compare_facts(before, read_facts(fed))}
    assert {("main.fct", "rows"), ("main.new", "error")} <= found


def test_inlined_rows_have_the_columns_that_are_read_here(fed: Lake) -> None:
    """`lake/inlined_rows.py` reads them: DuckLake 1.1 is said to give them other names."""
    fed.con.execute(f"CREATE TABLE {LAKE}.main.small (id BIGINT)")
    fed.con.execute(f"INSERT INTO {LAKE}.main.small VALUES (1)")
    fed.con.execute(f"DELETE FROM {LAKE}.main.fct WHERE id = 1")
    ids = table_ids(fed, "main")
    [(data,)] = fed.rows(
        f"SELECT table_name FROM {METADATA}.ducklake_inlined_data_tables WHERE table_id = ?",
        [ids["small"]],
    )
    for name, expected in (
        (data, {"row_id", "begin_snapshot", "end_snapshot"}),
        (f"ducklake_inlined_delete_{ids['fct']}", {"file_id", "row_id", "begin_snapshot"}),
    ):
        columns = {row[0] for row in fed.rows(f"DESCRIBE {METADATA}.{name}")}
        assert expected <= columns


def test_a_first_row_of_nulls_does_not_cost_the_bounds_of_a_table(fed: Lake) -> None:
    """Each landing table begins with such a row; without bounds, no file is left out by them."""
    fed.con.execute(f"CREATE TABLE {LAKE}.main.nulls (id BIGINT)")
    fed.con.execute("SET ducklake_default_data_inlining_row_limit = 0")
    fed.con.execute(f"INSERT INTO {LAKE}.main.nulls VALUES (NULL)")
    fed.con.execute(f"INSERT INTO {LAKE}.main.nulls FROM range(5, 50)")
    [(bounds,)] = fed.rows(f"SELECT stats(id) FROM {LAKE}.main.nulls LIMIT 1")
    assert "Min: 5, Max: 49" in bounds
