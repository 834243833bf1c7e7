"""The columns of a file, and the names and types under which they land."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.stream_config import HIVE_COLUMNS
from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import Lake
from lotus_lake.landing.tables import describe
from lotus_lake.landing.types import (
    NESTED,
    airbyte_name,
    children,
    column_name,
    free_name,
    holds,
    is_only_text,
    landing_type,
)
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.sql import folded, literal

# What DuckDB calls a column that has no name.
_NAMELESS = re.compile(r"C\d+")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of files of one shape.

    Attributes:
        source: Its name in the files.
        arriving: Its type there.
        name: Its name in the landing table.
        kind: The type that the landing table should have for it.
    """

    source: str
    arriving: DuckDBPyType
    name: str
    kind: DuckDBPyType

    @property
    def is_changed(self) -> bool:
        """Whether the landing table cannot have it as it is."""
        same_type = str(self.kind) == str(self.arriving) or str(self.kind) == "TIME"
        return folded(self.name) != folded(self.source) or not same_type


def columns_of(lake: Lake, stream: Stream, file: PendingFile) -> list[Column]:
    """Columns of a file, without those of its path."""
    uri = literal(lake.settings.uri(file.key))
    found = describe(lake.con, f"FROM read_parquet({uri}, hive_partitioning = false)")
    declared = {
        folded(spelt): column_name(name, schema)
        for name, schema in stream.config.fields.items()
        for spelt in (name, airbyte_name(name))
    }
    own = {folded(name) for name in declared.values()}
    return [
        Column(
            name,
            kind,
            name if folded(name) in own else declared.get(folded(name), free_name(name)),
            duckdb.sqltype(landing_type(kind)),
        )
        for name, kind in found.items()
    ]


def name_problem(lake: Lake, file: PendingFile, columns: Sequence[Column]) -> str | None:
    """Why a file cannot land under the names of its fields; `None` if it can."""
    rows = lake.rows("SELECT name FROM parquet_schema(?)", [lake.settings.uri(file.key)])
    names = {name for (name,) in rows}
    landing: dict[str, str] = {}
    for column in columns:
        if holds(column.arriving, lambda kind: kind.id == "struct" and not children(kind)):
            return f"column {column.source} is, or holds, a group without fields"
        for name in _names(column.source, column.arriving):
            if "\0" in name:
                return f"the name of field {name!r} holds a NUL character"
            if name not in names:  # DuckDB has made it up
                if name == column.source and _NAMELESS.fullmatch(name):
                    return f"a column has no name; DuckDB calls it {name}"
                return f"two of its columns or fields differ in case only, such as {name}"
        other = landing.setdefault(folded(column.name), column.source)
        if other != column.source:
            return f"its columns {other} and {column.source} would both land as {column.name}"
    return None


def field_in_folders(key: str, columns: Mapping[str, DuckDBPyType]) -> str | None:
    """A field that DuckLake would read from a folder of a key, such as `status=paid`, if there is.

    Year, month and day are columns of every landing table, and of no file.
    """
    folders = {folded(part.partition("=")[0]) for part in key.split("/")[:-1] if "=" in part}
    if not (folders := folders.difference(HIVE_COLUMNS)):
        return None
    names = (field for name, kind in columns.items() for field in _names(name, kind))
    return next((name for name in names if folded(name) in folders), None)


def _names(name: str, kind: DuckDBPyType) -> Iterator[str]:
    """Names of a column and of the fields inside it."""
    yield name
    if kind.id in NESTED and not is_only_text(kind):
        for inner, below in children(kind):
            named = _names(inner, below)
            if kind.id != "struct":
                next(named)  # Parquet has other names for the parts of a list or a map
            yield from named
