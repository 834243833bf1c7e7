"""The tables of a stream or a domain: columns with types and descriptions, first rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from lotus_lake.config.streams import Stream
from lotus_lake.error_translation import one_line
from lotus_lake.errors import PermanentError, StorageUnavailableError, did_you_mean
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.tables import column_comments
from lotus_lake.project.manifest import Model, processed_models
from lotus_lake.sql import identifier

_VALUE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; the description is that of the stream config or the model, if any."""

    name: str
    type: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class TableView:
    """A table of a stream or a domain.

    Attributes:
        name: Its name.
        description: What it holds.
        columns: Its columns, in order.
        rows: Some of its rows, if they were asked for; each value as text of at most 300
            characters.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A table that there may be: its schema, what it holds, what is said of its columns."""

    schema: str
    name: str
    description: str
    columns: Mapping[str, str | None]

    @property
    def relation(self) -> str:
        """Its quoted name."""
        return identifier(LAKE, self.schema, self.name)


def tables_of_stream(stream: Stream, models: Mapping[str, Model]) -> list[Known]:
    """The landing table and the processed tables of a stream, whether they are there or not."""
    said = {f.column or name: f.description for name, f in stream.config.fields.items()}
    landing = Known("staging", stream.landing_table, "Rows as Airbyte wrote them.", said)
    return [landing, *(_built_by(model) for model in processed_models(models, stream.id))]


def tables_of_domain(domain: str, models: Mapping[str, Model]) -> list[Known]:
    """The enriched tables of a domain, whether they are there or not."""
    found = [m for m in models.values() if m.layer == "enriched" and m.folder == domain]
    return [_built_by(model) for model in sorted(found, key=lambda model: model.name)]


def read_tables(lake: Lake, tables: list[Known]) -> list[TableView]:
    """Those of the tables that are there, without rows."""
    return [TableView(t.name, t.description, _columns(lake, t)) for t in _there(lake, tables)]


def preview(lake: Lake, tables: list[Known], name: str | None, limit: int) -> TableView:
    """A table with some rows.

    Args:
        lake: Open lake; read-only will do.
        tables: The tables to choose from.
        name: Name of one of them; the first by default.
        limit: Greatest number of rows.

    Raises:
        PermanentError: There is no such table, or none yet.
        StorageUnavailableError: A data file could not be read.
    """
    there = {table.name: table for table in _there(lake, tables)}
    name = name or (tables[0].name if tables else "")
    if name not in there:
        raise PermanentError(f"there is no table {name!r}: {did_you_mean(name, there)}")
    table = there[name]
    try:
        rows = lake.rows(
            f"SELECT left(CAST(COLUMNS(*) AS VARCHAR), {_VALUE_CHARACTERS}) "
            f"FROM {table.relation} LIMIT ?",
            [limit],
        )
    except duckdb.OperationalError as error:
        raise StorageUnavailableError(
            f"reading {name} failed: {one_line(error)}",
            hint="`lotus-lake reconcile SOURCE STREAM` finds objects that are gone",
        ) from error
    return TableView(name, table.description, _columns(lake, table), tuple(rows))


def _built_by(model: Model) -> Known:
    return Known("main", model.name, model.description, {})


def _there(lake: Lake, tables: list[Known]) -> list[Known]:
    there = {schema: lake.tables(schema) for schema in {table.schema for table in tables}}
    return [table for table in tables if table.name in there[table.schema]]


def _columns(lake: Lake, table: Known) -> tuple[Column, ...]:
    said = {**column_comments(lake, table.schema, table.name), **table.columns}
    rows = lake.rows(f"DESCRIBE {table.relation}")
    return tuple(Column(name, kind, said.get(name)) for name, kind, *_ in rows)
