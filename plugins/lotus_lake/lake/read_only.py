"""SQL that cannot write: only queries, only the table functions named here, only the lake's files.

A READ_ONLY catalog is not enough. COPY writes objects inside EXPLAIN ANALYZE and PREPARE; a table
function deletes them, flushes inlined rows or sends SQL to another database, and `query('...')`
hides its name; CHECKPOINT and settings write files. But DuckDB serializes one kind of statement
only, SELECT (with DESCRIBE, SHOW, SUMMARIZE), and a SELECT acts on nothing except through table
functions, whose names stand in what was serialized.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from lotus_lake.config.settings import Settings
from lotus_lake.sql import literal

_TABLE_FUNCTIONS = re.compile(
    """
    generate_series | histogram | histogram_values | json_each | json_tree | range | repeat
    | repeat_row | summary | unnest
    | glob | parquet_(bloom_probe|scan|schema|(file_|full_|kv_)?metadata)
    | read_(blob|parquet|text|csv(_auto)?|(nd)?json(_auto|_objects|_objects_auto)?) | sniff_csv
    | duckdb_(columns|constraints|databases|dependencies|extensions|functions|indexes|keywords
        |memory|schemas|settings|tables|temporary_files|types|views)
    | icu_calendar_names | pg_timezone_names | pragma_(database_size|show|table_info|version)
    | (ducklake_)?(current_snapshot|last_committed_snapshot|list_files|options|settings|snapshots
        |table_changes|table_deletions|table_info|table_insertions)
    """,
    re.VERBOSE,
)
_EXPLAIN = re.compile(r"\s*EXPLAIN\b(\s+ANALYZE\b)?", re.IGNORECASE)


def confine(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Let a connection reach the files of the lake and no others, until it is closed."""
    if con.execute("SELECT current_setting('lock_configuration')").fetchone() == (True,):
        return
    folders = ", ".join(
        literal(f"{uri.rstrip('/')}/") for uri in (settings.raw_uri, settings.data_path)
    )
    con.execute(
        f"""
        SET GLOBAL allowed_directories = [{folders}];
        SET GLOBAL enable_external_access = false;
        SET python_enable_replacements = false;
        SET GLOBAL lock_configuration = true;
        """
    )


def query_of(con: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> str:
    """The text of a statement that can only read.

    Raises:
        ValueError: It is not a query, or calls a table function that is not known to only read.
    """
    explain = _EXPLAIN.match(statement.query)
    prefix, query = "", statement.query
    if explain and statement.type == duckdb.StatementType.EXPLAIN:
        prefix = "EXPLAIN ANALYZE " if explain.group(1) else "EXPLAIN "
        query = query[explain.end() :]
    (text,) = con.execute("SELECT json_serialize_sql(?)", [query]).fetchone() or ("",)
    serialized = json.loads(text)
    if serialized["error"] or len(serialized["statements"]) != 1:
        raise ValueError("it is not a query")
    for name in _table_functions(serialized):
        if not _TABLE_FUNCTIONS.fullmatch(name):
            raise ValueError(f"the table function {name} may do more than read")
    return prefix + query


def _table_functions(node: Any) -> Iterator[str]:
    """Names of all table functions in a serialized statement."""
    if isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            yield str(node["function"]["function_name"]).lower()
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _table_functions(child)
