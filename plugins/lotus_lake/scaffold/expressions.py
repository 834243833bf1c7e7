"""How a model's SQL reads the fields of its landing table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import duckdb

from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.landing.types import column_name
from lotus_lake.sql import identifier, is_plain_name

Path = tuple[str, ...]
LANDED = "landed"
# Names that sqlfluff's DuckDB dialect does not take for a column, although DuckDB does.
_RESERVED_FOR_SQLFLUFF = (
    "commutator", "connect", "current_catalog", "current_date", "current_role", "current_schema",
    "current_time", "current_timestamp", "grant", "hashes", "localtime", "localtimestamp",
    "merges", "minus", "negator", "rightarg", "session_user",
)  # fmt: skip
# Names that sqlfluff accepts after a dot only in quotes.
_QUOTED_FOR_SQLFLUFF = ("and", "as", "collate", "on", "or", "using")


def landed_path(path: Sequence[str], fields: Mapping[str, FieldSchema]) -> Path:
    """A field's path by the names in the landing table."""
    parts: list[str] = []
    for part in path:
        schema = fields.get(part, FieldSchema())
        parts.append(column_name(part, schema, nested=bool(parts)))
        fields = schema.properties or {}
    return tuple(parts)


def reference(path: Path) -> str:
    """SQL that reads a field of the landing table, quoted only if DuckDB or sqlfluff require it."""
    first, *inner = (part.lower() if is_plain_name(part) else part for part in path)
    qualified = [LANDED, first] if first in reserved_names() or first == LANDED else [first]
    return ".".join(
        part if is_plain_name(part) and part not in _QUOTED_FOR_SQLFLUFF else identifier(part)
        for part in [*qualified, *inner]
    )


@lru_cache(maxsize=1)
def reserved_names() -> frozenset[str]:
    """Names that are taken for a column only after the name of a table."""
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT keyword_name FROM duckdb_keywords() "
            "WHERE keyword_category IN ('reserved', 'type_function')"
        ).fetchall()
    return frozenset(name for (name,) in rows) | frozenset(_RESERVED_FOR_SQLFLUFF)
