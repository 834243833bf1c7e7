"""The columns of a file, and the names and types under which they land."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.stream_config import HIVE_COLUMNS
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.formats import LEGACY, WHOLE_LINE, Reading, parquet_rows
from lotus_lake.lake.session import Lake
from lotus_lake.landing.tables import describe, table_types
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
from lotus_lake.sql import folded

_NUMBERED = re.compile(r"(.*)_\d+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of files of one shape.

    Attributes:
        source: What DuckDB calls it in the files.
        arriving: Its type there.
        name: Its name in the landing table; `None` if another column of the files has that.
        kind: The type that the landing table should have for it.
        label: Its name in the files, which is not DuckDB's if it has none or differs from another
            one in case only.
        made_up: Names of fields inside it that DuckDB has made up for the same reason.
    """

    source: str
    arriving: DuckDBPyType
    name: str | None
    kind: DuckDBPyType
    label: str
    made_up: frozenset[str] = frozenset()

    @property
    def is_changed(self) -> bool:
        """Whether the landing table cannot have it as it is."""
        same_type = str(self.kind) == str(self.arriving) or str(self.kind) == "TIME"
        return self.name is None or folded(self.name) != folded(self.source) or not same_type


def columns_of(
    lake: Lake, stream: Stream, file: PendingFile, reading: Reading | None = None
) -> list[Column]:
    """Columns of a file, without those of its path.

    Args:
        lake: Open lake.
        stream: The stream.
        file: The file.
        reading: What was read of it, if it is no Parquet.

    Raises:
        duckdb.Error: The file cannot be read.
    """
    if reading is not None:
        return _columns_read(lake, stream, reading)
    found = describe(lake.con, f"FROM {parquet_rows(lake, [file])}")
    uri = lake.settings.uri(file.key)
    schema = lake.rows("SELECT name, num_children FROM parquet_schema(?)", [uri])
    declared = _declared(stream)
    own = {folded(name) for name in declared.values()}
    spelt_names = {*declared.values(), *table_types(lake, stream)}
    all_names = {name for name, _ in schema}
    labels = _top_level(schema)
    if len(labels) != len(found):
        raise duckdb.InvalidInputException(
            f"{len(labels)} columns of its schema, {len(found)} read"
        )
    columns = []
    for (source, kind), label in zip(found.items(), labels, strict=True):
        name = label
        if folded(label) not in own:
            name = declared.get(folded(label), free_name(label))
        made_up = frozenset(_inside(kind)) - all_names
        wanted = duckdb.sqltype(landing_type(kind, without=made_up))
        columns.append(Column(source, kind, name, wanted, label, made_up))
    return _one_of_each_name(columns, spelt_names)


def _columns_read(lake: Lake, stream: Stream, reading: Reading) -> list[Column]:
    """Columns of a file of another format, which has the types of the table."""
    table, declared = targets(lake, stream), _declared(stream)
    own = {folded(name) for name in declared.values()}
    columns = []
    for source, kind in reading.columns.items():
        name = source
        if folded(source) not in own:
            name = declared.get(folded(source), free_name(airbyte_name(source)))
        wanted = table.get(folded(name), duckdb.sqltype(landing_type(kind)))
        place = None if source == WHOLE_LINE else name
        columns.append(Column(source, kind, place, wanted, source))
    return _one_of_each_name(columns, {*declared.values(), *table_types(lake, stream)})


def targets(lake: Lake, stream: Stream) -> dict[str, DuckDBPyType]:
    """Types of the landing table, by the names that columns of files have, without case."""
    table = {folded(name): kind for name, kind in table_types(lake, stream).items()}
    named = {spelt: folded(name) for spelt, name in _declared(stream).items()}
    return {spelt: table[name] for spelt, name in named.items() if name in table} | table


def _declared(stream: Stream) -> dict[str, str]:
    """Names in the landing table by those that files have, without case."""
    return LEGACY | {
        folded(spelt): column_name(name, field)
        for name, field in stream.config.fields.items()
        for spelt in (name, airbyte_name(name))
    }


def _top_level(schema: Sequence[tuple[str, int | None]]) -> list[str]:
    """Names of the top-level columns, from the tree of a schema, depth first."""
    names, open_nodes = list[str](), list[int]()
    for name, child_count in schema[1:]:
        if not open_nodes:
            names.append(name)
        else:
            open_nodes[-1] -= 1
        open_nodes.append(child_count or 0)
        while open_nodes and not open_nodes[-1]:
            open_nodes.pop()
    return names


def _one_of_each_name(columns: Sequence[Column], spelt: Collection[str]) -> list[Column]:
    """Columns of which each name has one: that which is spelt as the table has it, or as it is."""
    owners: dict[str, Column] = {}

    def rank(column: Column) -> tuple[bool, bool]:
        return column.name not in spelt, column.label != column.name

    for column in sorted(columns, key=rank):
        if column.name:
            owners.setdefault(folded(column.name), column)
    return [
        column if owners.get(folded(column.name or "")) is column else replace(column, name=None)
        for column in columns
    ]


def unreadable_name(columns: Sequence[Column]) -> str | None:
    """Why the names of a file let nobody read its values; `None` if they do not."""
    for column in columns:
        if holds(column.arriving, lambda kind: kind.id == "struct" and not children(kind)):
            return (
                f"column {column.label} is, or holds, a group without fields, which no reader "
                "takes: leave it out at the source"
            )
        for name in (column.label, *_inside(column.arriving)):
            if "\0" in name:
                return f"the name of field {name!r} holds a NUL character: rename it at the source"
    return None


def field_in_folders(key: str, columns: Mapping[str, DuckDBPyType]) -> str | None:
    """A field that DuckLake would read from a folder of a key, such as `status=paid`, if there is.

    Year, month and day are columns of every landing table, and of no file.
    """
    folders = {folded(part.partition("=")[0]) for part in key.split("/")[:-1] if "=" in part}
    if not (folders := folders.difference(HIVE_COLUMNS)):
        return None
    names = (field for name, kind in columns.items() for field in (name, *_inside(kind)))
    return next((name for name in names if folded(name) in folders), None)


def name_problem(columns: Sequence[Column]) -> str | None:
    """Why a field of a file has no column of its own; `None` if each has."""
    for column in columns:
        if column.name is None:
            if column.source == WHOLE_LINE:
                return "a line has a field twice, or a number of more digits than DuckDB's JSON"
            if not column.label:
                return f"a column has no name; DuckDB calls it {column.source}"
            if column.label != column.source:
                return f"two of its columns differ in case only, such as {column.label}"
            return f"column {column.label} would land under the name of another one"
        for name in column.made_up:
            own = own_name(name)
            return f"two fields in column {column.label} differ in case only, such as {own}"
    return None


def own_name(made_up: str) -> str:
    """Name in the file of a field whose name DuckDB has made up."""
    numbered = _NUMBERED.fullmatch(made_up)
    return numbered[1] if numbered else made_up


def _inside(kind: DuckDBPyType) -> Iterator[str]:
    """Names of the fields inside a column."""
    if kind.id in NESTED and not is_only_text(kind):
        for name, below in children(kind):
            if kind.id == "struct":  # Parquet has other names for the parts of a list or a map
                yield name
            yield from _inside(below)
