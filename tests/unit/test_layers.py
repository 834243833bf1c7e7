"""DuckLake's own tables have one owner: only `lotus_lake.lake` names them, or asks them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from lotus_lake.lake.session import Lake
from tests.catalogs import on_sqlite

LIBRARY = Path(__file__).resolve().parents[2] / "plugins" / "lotus_lake"


def texts(file: Path) -> list[str]:
    """Strings of a module, parts of f-strings among them, and names that it uses."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    strings = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    names = [n.attr for n in nodes if isinstance(n, ast.Attribute)]
    return [*strings, *names, *(n.id for n in nodes if isinstance(n, ast.Name))]


@on_sqlite
def test_nobody_else_touches_the_tables_of_ducklake(lake: Lake) -> None:
    rows = lake.metadata_rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    tables = {name for (name,) in rows if not name.startswith("ducklake_inlined_data_")}
    assert {"ducklake_table", "ducklake_data_file"} <= tables
    private = re.compile(rf"\b({'|'.join(sorted(tables))}|METADATA|metadata_rows)\b")
    modules = list(LIBRARY.rglob("*.py"))
    owners = {
        file.relative_to(LIBRARY).parts[0]
        for file in modules
        if any(private.search(text) for text in texts(file))
    }
    assert len(modules) > 100
    assert owners == {"lake"}
