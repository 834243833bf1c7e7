"""What a lake is like for a DuckDB and a DuckLake, so that two of them can be compared.

Run as a module, it opens the branch that LAKE_BRANCH names, migrates its catalog if need be, and
prints what it finds as JSON: the Python that runs it decides which DuckDB that is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.error_translation import one_line
from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.database import catalog_format
from lotus_lake.lake.extensions import ducklake_version
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.landing.tables import describe
from lotus_lake.sql import identifier

# Differences in these are wrong answers; in the others, another speed.
ANSWERS = ("columns", "rows", "values", "error")


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as one DuckDB sees it.

    Attributes:
        columns: Its columns, with their types.
        rows: Its rows.
        values: A sum over the text of all rows; `None` if it was not asked for.
        statistics: What the optimizer knows of each column.
        plan: Of a query with a condition.
        error: Why it cannot be read.
    """

    columns: str = ""
    rows: int = 0
    values: str | None = None
    statistics: str = ""
    plan: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same of a table; `before` and `after` are texts."""

    table: str
    what: str
    before: str
    after: str


def read_facts(lake: Lake, *, values: bool = True) -> dict[str, Any]:
    """Versions, and every table of an open lake.

    Args:
        lake: Open lake.
        values: Read all rows, and not only count them.
    """
    tables = {
        f"{schema}.{name}": asdict(_facts(lake, schema, name, values=values))
        for schema in ("staging", "main", "meta")
        for name in sorted(lake.tables(schema))
    }
    [(duckdb_version,)] = lake.rows("SELECT library_version FROM pragma_version()")
    versions = f"DuckDB {duckdb_version}, DuckLake {ducklake_version()[0]}"
    return {"versions": f"{versions}, catalog {catalog_format(lake)}", "tables": tables}


def read_facts_with(python: Path, settings: Settings, *, values: bool) -> dict[str, Any]:
    """The same of a branch, by the DuckDB of another Python; migrates the branch.

    Raises:
        PermanentError: It could not open or read the branch.
    """
    done = subprocess.run(
        [str(python), "-m", __spec__.name, *(["--values"] if values else [])],
        env={
            **os.environ, **settings.s3.to_env(), **settings.catalog.to_env(),
            "LAKE_CATALOG": os.environ.get("LAKE_CATALOG", ""),
            "LAKE_BRANCH": str(settings.branch),
            "LAKE_PROJECT_DIR": str(settings.project_dir),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise PermanentError(
            f"{python} could not read the branch: {done.stderr.strip()[-2000:]}",
            hint="it needs the requirements of Lotus Lake, with the new DuckDB and its extensions",
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Every difference between what two of them found."""
    old, new = before["tables"], after["tables"]
    for name in sorted({*old, *new}):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            is_there = ("no such table", "there")
            yield Difference(name, "error", is_there[one is not None], is_there[other is not None])
            continue
        for what, value in one.items():
            if value != other.get(what):
                yield Difference(name, what, str(value), str(other.get(what)))


def _facts(lake: Lake, schema: str, name: str, *, values: bool) -> TableFacts:
    table = identifier(LAKE, schema, name)
    try:
        columns = describe(lake.con, f"FROM {table}")
        names = [identifier(column) for column in columns]
        query = f"SELECT count(*), sum(md5_number_lower(t::VARCHAR)::HUGEINT) FROM {table} AS t"
        counted = lake.rows(query if values else f"SELECT count(*), NULL FROM {table}")[0]
        statistics = lake.rows(
            f"SELECT {', '.join(f'stats({column})' for column in names)} FROM {table} LIMIT 1"
        )
        plan = lake.rows(f"EXPLAIN FROM {table} WHERE {names[0]} IS NOT NULL ORDER BY 1 LIMIT 1")
        return TableFacts(
            ", ".join(f"{column} {kind}" for column, kind in columns.items()),
            int(counted[0]),
            None if counted[1] is None else str(counted[1]),
            "; ".join(map(str, statistics[0])) if statistics else "",
            str(plan[0][1]),
        )
    except Exception as error:  # noqa: BLE001  whatever a new version raises is what is looked for
        return TableFacts(error=one_line(error))


if __name__ == "__main__":
    with open_lake(Settings.from_env(), migrate=True) as opened:
        print(json.dumps(read_facts(opened, values="--values" in sys.argv)))
