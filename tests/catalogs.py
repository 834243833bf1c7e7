"""Which catalogs a test runs over: both, unless it is marked `on_sqlite` or `on_postgres`.

Both, where the catalogs differ: commits and crashes within them, DuckLake's own tables and
snapshots, `init`, upkeep, dumps. SQLite alone, where DuckDB answers from tables of the lake, such
as commands that read the ledger, and above the catalog: Dags, most of dbt. Postgres alone, for what
SQLite's one-writer lock rules out, such as two commits at once, and for roles.
"""

from __future__ import annotations

import pytest

SQLITE = "sqlite"
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)

on_sqlite = pytest.mark.parametrize("catalog", [SQLITE], indirect=True)
on_postgres = pytest.mark.parametrize("catalog", [POSTGRES], indirect=True)
