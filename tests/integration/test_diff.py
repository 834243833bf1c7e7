"""What differs between two versions of the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from typer.testing import CliRunner, Result

from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.observe.diff import Example, TableDiff, compare, open_sides
from lotus_lake.repair.branches import create_branch
from tests.catalogs import on_sqlite

KEYS = {"fct": ("id", "day"), "plain": ()}


@pytest.fixture
def origin(lake: Lake) -> Lake:
    """A lake with tables, and a branch of it."""
    lake.con.execute(f"""
        CREATE TABLE {LAKE}.main.fct AS
        SELECT range AS id, '2026-03-01'::DATE + (range % 3)::INT AS day,
               range / 2 AS amount, 'a' || range AS text, [range] AS list, range AS _lake_row_id
        FROM range(3000);
        CREATE TABLE {LAKE}.main.plain AS SELECT range % 10 AS number FROM range(100);
        CREATE TABLE {LAKE}.main.same AS SELECT range AS id FROM range(100);
        CREATE SCHEMA {LAKE}.meta;
        CREATE TABLE {LAKE}.meta.own AS SELECT 1 AS one;
    """)
    create_branch(lake, "new_sales")
    return lake


@pytest.fixture
def change(settings: Settings, origin: Lake) -> Callable[[str], None]:
    """Run SQL on the branch."""

    def run(sql: str) -> None:
        with open_lake(settings.of_branch("new_sales")) as branch:
            branch.con.execute(f"USE {LAKE}")
            branch.con.execute(sql)

    return run


def differences(
    settings: Settings,
    before: str = "main",
    after: str = "new_sales",
    keys: Mapping[str, tuple[str, ...]] = KEYS,
    examples: int = 5,
    tables: tuple[str, ...] = (),
) -> dict[str, TableDiff]:
    with open_sides(settings, before, after) as (lake, first, second):
        return {each.table: each for each in compare(lake, first, second, tables, keys, examples)}


def test_a_branch_just_made_differs_in_nothing(settings: Settings, origin: Lake) -> None:
    found = differences(settings)
    assert {name: each.state for name, each in found.items()} == {
        "fct": "same", "plain": "same", "same": "same"
    }  # fmt: skip


def test_rows_are_compared_by_their_key_and_cells_are_told(
    settings: Settings, change: Callable[[str], None]
) -> None:
    change("UPDATE fct SET amount = -1 WHERE id IN (7, 8); UPDATE fct SET text = NULL WHERE id = 8")
    change("DELETE FROM fct WHERE id < 2")
    change("INSERT INTO fct SELECT 9000, '2026-03-09', 1, 'new', [1], 1")
    found = differences(settings)
    fct = found.pop("fct")
    assert all(each.state == "same" for each in found.values())
    assert (fct.rows_before, fct.rows_after, fct.key) == (3000, 2999, ("id", "day"))
    assert (fct.added, fct.removed, fct.changed) == (1, 2, 2)
    assert fct.cells == {"amount": 2, "text": 1}
    assert fct.examples == (
        Example("added", {"id": "9000", "day": "2026-03-09"}),
        Example("removed", {"id": "0", "day": "2026-03-01"}),
        Example("removed", {"id": "1", "day": "2026-03-02"}),
        Example("changed", {"id": "7", "day": "2026-03-02"}, {"amount": ("3.5", "-1.0")}),
        Example(
            "changed", {"id": "8", "day": "2026-03-03"},
            {"amount": ("4.0", "-1.0"), "text": ("a8", None)},
        ),
    )  # fmt: skip
    back = differences(settings, "new_sales", "main")["fct"]
    assert (back.added, back.removed, back.changed) == (2, 1, 2)


def test_columns_that_came_went_or_changed_are_told(
    settings: Settings, change: Callable[[str], None]
) -> None:
    change("CREATE OR REPLACE TABLE fct AS SELECT * EXCLUDE (list, text), id::VARCHAR AS text, "
           "1 AS one FROM fct")  # fmt: skip
    fct = differences(settings)["fct"]
    assert set(fct.schema) == {"column one INTEGER added", "column list BIGINT[] removed"}
    assert fct.cells == {"text": 3000}
    change("CREATE OR REPLACE TABLE same AS SELECT id::VARCHAR AS id FROM same")
    same = differences(settings, keys={"same": ("id",)})["same"]
    assert same.schema == ("column id is VARCHAR, was BIGINT",)
    assert same.state == "changed"


def test_what_a_build_writes_of_itself_is_no_difference(
    settings: Settings, change: Callable[[str], None]
) -> None:
    change("UPDATE fct SET _lake_row_id = _lake_row_id + 1")
    assert differences(settings)["fct"].state == "same"


@pytest.mark.parametrize("key", [(), ("number",), ("no_column",)])
def test_without_a_unique_key_whole_rows_are_counted(
    settings: Settings, change: Callable[[str], None], key: tuple[str, ...]
) -> None:
    change("DELETE FROM plain WHERE number = 3; INSERT INTO plain VALUES (4), (11)")
    plain = differences(settings, keys={"plain": key})["plain"]
    assert (plain.added, plain.removed, plain.changed, plain.key) == (2, 10, 0, ())
    assert plain.remark is not None


def test_keys_that_are_null_are_compared_too(
    settings: Settings, change: Callable[[str], None]
) -> None:
    change("UPDATE fct SET id = NULL WHERE id = 5")
    fct = differences(settings)["fct"]
    assert (fct.added, fct.removed, fct.changed) == (1, 1, 0)
    assert fct.examples[0].key == {"id": None, "day": "2026-03-03"}


def test_tables_that_only_one_has_are_told(
    settings: Settings, change: Callable[[str], None]
) -> None:
    change("DROP TABLE plain; CREATE TABLE mine AS SELECT 1 AS id")
    found = differences(settings)
    assert (found["plain"].state, found["plain"].rows_before) == ("removed", 100)
    assert (found["mine"].state, found["mine"].rows_after) == ("added", 1)
    with pytest.raises(SettingsError, match="nowhere"):
        differences(settings, tables=("nowhere",))


def test_snapshots_of_one_lake_are_compared(settings: Settings, origin: Lake) -> None:
    before = origin.current_snapshot()
    origin.con.execute(f"DELETE FROM {LAKE}.main.fct WHERE id = 1")
    middle = origin.current_snapshot()
    origin.con.execute(f"DROP TABLE {LAKE}.main.same")
    found = differences(settings, f"main@{before}", f"main@{middle}")
    assert {name: each.state for name, each in found.items()} == {
        "fct": "changed", "plain": "same", "same": "same"
    }  # fmt: skip
    assert differences(settings, f"main@{middle}", "main")["same"].state == "removed"
    assert differences(settings, f"new_sales@{before}", f"main@{before}")["fct"].state == "same"


@pytest.mark.parametrize(
    ("text", "said"),
    [("x'y", "no version"), ("main@x", "no version"), ("main@99999", "no snapshot 99999"),
     ("other", "no such branch")],
)  # fmt: skip
def test_what_is_no_version_is_refused(
    settings: Settings, origin: Lake, text: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        differences(settings, text)


def run_diff(environment: dict[str, str], *words: str) -> Result:
    result = CliRunner().invoke(app, ["diff", *words], env=environment)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@on_sqlite
def test_the_command_prints_tables_markdown_and_json(
    environment: dict[str, str], change: Callable[[str], None]
) -> None:
    change("UPDATE fct SET text = '<b>|`*bold*`' WHERE id = 8; DROP TABLE plain")
    words = ["main", "new_sales", "--table", "fct", "--table", "plain", "--key", "id,day"]
    shown = run_diff(environment, *words)
    assert "2 tables of 2 differ" in shown.stderr
    assert "id=8, day=2026-03-03" in shown.stdout
    text = run_diff(environment, *words, "--markdown").stdout
    assert "### `main` → `new_sales`: 2 tables of 2 differ" in text
    row = r"| changed | id=8, day=2026\-03\-03 | text | a8 | \<b\>\|\`\*bold\*\` |"
    assert row in text.splitlines()
    found = {
        each["table"]: each for each in json.loads(run_diff(environment, *words, "--json").stdout)
    }
    assert found["fct"]["cells"] == {"text": 1}
    assert found["plain"]["state"] == "removed"
    same = run_diff(environment | {"LAKE_BRANCH": "new_sales"}, "new_sales", "new_sales")
    assert "0 tables of 2 differ" in same.stderr


@on_sqlite
@pytest.mark.parametrize("words", [["main", "--key", "id"], ["main", "--json", "--markdown"]])
def test_options_that_say_nothing_are_refused(
    environment: dict[str, str], origin: Lake, words: list[str]
) -> None:
    result = CliRunner().invoke(app, ["diff", *words], env=environment)
    assert isinstance(result.exception, SettingsError)


@on_sqlite
def test_what_is_lost_can_be_refused(
    settings: Settings, change: Callable[[str], None], environment: dict[str, str]
) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["diff", "main", "new_sales", *words], env=environment)

    change("INSERT INTO main.fct SELECT * REPLACE (id + 9000 AS id) FROM main.fct")
    change("ALTER TABLE main.plain ADD COLUMN more VARCHAR")
    assert run("--refuse-destructive").exit_code == 0
    assert not any(each.destroys for each in differences(settings).values())
    change("DELETE FROM main.fct WHERE id < 10")
    change("ALTER TABLE main.plain DROP COLUMN number")
    change("DROP TABLE main.same")
    assert {name: each.destroys for name, each in differences(settings).items()} == {
        "fct": ("10 rows removed",), "plain": ("column number is gone or narrower",),
        "same": ("the table is gone",),
    }  # fmt: skip
    assert run().exit_code == 0
    refused = run("--refuse-destructive", "--markdown")
    assert refused.exit_code == 3
    assert "**This change is destructive:**" in refused.stdout
    assert "* same: the table is gone" in refused.stdout
