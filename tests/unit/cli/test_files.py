"""The commands about files on disk: what they print, where, and their exit codes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lotus_lake.cli import main
from tests.projects import copy_project

CATALOG = {
    "streams": [
        {
            "name": "products",
            "json_schema": {
                "properties": {"id": {"type": "integer"}, "updated_at": {"type": "integer"}}
            },
            "default_cursor_field": ["updated_at"],
            "source_defined_primary_key": [["id"]],
        }
    ]
}
MESSAGES = f'{{"type": "LOG"}}\n{json.dumps({"type": "CATALOG", "catalog": CATALOG})}\n'


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project, which the commands find."""
    copy_project(tmp_path)
    for name in [name for name in os.environ if name.startswith("LAKE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: `run("discover", "shop", "-", stdin="...")`."""

    def command(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr("sys.argv", ["lotus-lake", *arguments])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return command


def test_discover_reads_stdin_or_a_file(run: Run, project: Path) -> None:
    first = run("discover", "shop", stdin=MESSAGES)
    assert (first.code, first.out) == (0, "new       include/sources/shop/products.json\n")
    assert first.err == "1 new\n"
    (project / "out.jsonl").write_text(MESSAGES)
    again = run("discover", "shop", str(project / "out.jsonl"))
    assert again.out == "unchanged include/sources/shop/products.json\n"


def test_discover_shows_what_changed(run: Run, project: Path) -> None:
    run("discover", "shop", stdin=MESSAGES)
    changed = MESSAGES.replace('"id": {"type": "integer"}', '"id": {"type": "string"}, "b": {}')
    shown = run("discover", "shop", "--dry-run", stdin=changed.replace('"updated_at": {', '"c": {'))
    assert shown.out.splitlines() == [
        "changed   include/sources/shop/products.json",
        "  + b",
        "  + c",
        "  - updated_at",
        "  ~ id: integer -> string",
    ]
    assert shown.err == "1 changed (dry run)\n"
    assert run("discover", "shop", stdin=MESSAGES).err == "1 unchanged\n"


def test_discover_names_streams_that_the_catalog_lacks(run: Run) -> None:
    result = run("discover", "shopify", stdin=MESSAGES)
    assert "left as they are: customers, order_refunds, orders" in result.err


def test_discover_answers_with_json(run: Run) -> None:
    (entry,) = json.loads(run("discover", "shop", "--json", stdin=MESSAGES).out)
    assert (entry["status"], entry["added"]) == ("new", ["id", "updated_at"])
    assert entry["path"] == "include/sources/shop/products.json"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop"], "has no CATALOG message"),
        (["shop", "absent.jsonl"], "absent.jsonl: cannot be read"),
        (["a__b"], "has no CATALOG message"),
    ],
)
def test_discover_without_a_catalog_fails(run: Run, arguments: list[str], text: str) -> None:
    result = run("discover", *arguments, stdin="docker: not found")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert text in result.err


def test_add_stream_writes_once(run: Run) -> None:
    run("discover", "shop", stdin=MESSAGES)
    first = run("add-stream", "shop", "products")
    assert (first.code, len(first.out.splitlines())) == (0, 5)
    assert all(line.startswith("wrote include/") for line in first.out.splitlines())
    again = run("add-stream", "shop", "products")
    assert (again.code, again.out, again.err) == (0, "", "0 of 5 files written\n")
    assert run("validate").code == 0


@pytest.mark.parametrize("option", ["--dry-run", "--diff"])
def test_looking_writes_nothing_and_tells_by_its_exit_code(
    run: Run, project: Path, option: str
) -> None:
    run("discover", "shop", stdin=MESSAGES)
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    look = run("add-stream", "shop", "products", option)
    assert look.code == 0
    assert "int_shop__products.sql" in look.out
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before

    run("add-stream", "shop", "products")
    model = project / "include/dbt/models/processed/shop/int_shop__products.sql"
    model.write_text("-- mine\n")
    look = run("add-stream", "shop", "products", option)
    assert look.code == 1
    assert ("DIFFERS" if option == "--dry-run" else "--- mine") in look.out
    refused = run("add-stream", "shop", "products")
    assert (refused.code, refused.out) == (1, "")
    assert str(model) in refused.err
    assert run("add-stream", "shop", "products", "--keep").code == 0
    assert model.read_text() == "-- mine\n"


def test_add_stream_answers_with_json(run: Run) -> None:
    run("discover", "shop", stdin=MESSAGES)
    look = run("add-stream", "shop", "products", "--dry-run", "--json")
    assert {entry["status"] for entry in json.loads(look.out)} == {"new"}


def test_add_stream_takes_paths_with_dots(run: Run, project: Path) -> None:
    inner = {"type": "object", "properties": {"id": {"type": "string"}, "at": {"type": "integer"}}}
    catalog: dict[str, Any] = {
        "streams": [{"name": "t", "json_schema": {"properties": {"a": inner}}}]
    }
    run("discover", "shop", stdin=json.dumps(catalog))
    assert run("add-stream", "shop", "t").code == 1
    result = run("add-stream", "shop", "t", "--primary-key", "a.id", "--cursor-field", "a.at")
    assert result.code == 0
    config = json.loads((project / "include/streams/shop/t.json").read_text())
    assert (config["primary_key"], config["cursor_field"]) == ([["a", "id"]], ["a", "at"])


def test_validate_says_nothing_of_a_good_project(run: Run) -> None:
    result = run("validate")
    assert (result.code, result.out) == (0, "")
    assert result.err == "0 problems in 9 streams and 9 processed models\n"


def test_validate_says_what_it_could_not_check(run: Run, project: Path) -> None:
    model = project / "include/dbt/models/processed/shopify/int_shopify__orders.sql"
    model.write_text(model.read_text().replace("from newest", "from {{ ref('newest') }}"))
    result = run("validate")
    assert result.code == 1
    assert "depends on a node named 'newest' which was not found" in result.out
    assert result.err == "1 problem in 9 streams; dbt models and sources were not checked\n"


def test_validate_names_file_line_and_fix(run: Run, project: Path) -> None:
    stream = project / "include/streams/shopify/orders.json"
    stream.write_text(stream.read_text().replace('"backfill"', '"bakfill"'))
    result = run("validate")
    assert result.code == 1
    assert result.out.startswith("include/streams/shopify/orders.json:9: $.bakfill = false: ")
    assert "unknown field; did you mean backfill?" in result.out
    assert "\n    hint: include/streams/_stream.schema.json describes every field" in result.out

    as_json = run("validate", "--json")
    assert as_json.code == 1
    (problem,) = json.loads(as_json.out)
    assert (problem["file"], problem["line"]) == ("include/streams/shopify/orders.json", 9)


@pytest.mark.parametrize("command", ["discover", "add-stream", "validate"])
def test_help_teaches_with_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert "For example" in result.out
    assert f"lotus-lake {command}" in result.out
    assert "Exit code 1" in result.out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("add-stream s", ["shopify"]),
        ("add-stream ", ["klaviyo", "shopify"]),
        ("add-stream shopify o", ["order_refunds", "orders"]),
        ("add-stream klaviyo o", []),
        ("discover k", ["klaviyo"]),
        ("discover klaviyo - --stream p", ["profiles"]),
    ],
)
def test_the_shell_completes_sources_and_streams(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str, names: list[str]
) -> None:
    monkeypatch.setenv("_LOTUS_LAKE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"lotus-lake {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(f"lotus-lake {words}".split(" ")) - 1))
    assert run().out.split() == names
