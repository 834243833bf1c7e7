"""DuckDB without the signatures of its extensions: to check them costs 0.5 s for each connection.

`tests/unit/lake/test_connection.py` loads them as a deployment does, with their signatures.
"""

from __future__ import annotations

from typing import Any

import duckdb

connect_signed = duckdb.connect


def _connect(
    database: str = ":memory:", read_only: bool = False, config: dict[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    return connect_signed(
        database, read_only=read_only, config={"allow_unsigned_extensions": True, **(config or {})}
    )


def skip_signatures() -> None:
    """From now on `duckdb.connect`, whoever calls it in this process, takes any extension."""
    duckdb.connect = _connect
