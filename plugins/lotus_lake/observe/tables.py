"""The tables of a stream: columns with types and descriptions, first rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from lotus_lake.config.streams import Stream
from lotus_lake.errors import PermanentError, StorageUnavailableError, did_you_mean
from lotus_lake.failures import one_line
from lotus_lake.lake.session import LAKE, STAGING, Lake
from lotus_lake.project.manifest import Model, processed_models
from lotus_lake.sql import identifier

_VALUE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; the description is that of the stream config, if it has one."""

    name: str
    type: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class TableView:
    """A table of a stream.

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


def read_tables_of(lake: Lake, stream: Stream, models: Mapping[str, Model]) -> list[TableView]:
    """The landing table and the processed tables of a stream that are there, without rows."""
    return [
        TableView(name, description, _columns(lake, relation, stream))
        for name, (relation, description) in _relations(lake, stream, models).items()
    ]


def preview(
    lake: Lake, stream: Stream, models: Mapping[str, Model], table: str | None, limit: int
) -> TableView:
    """A table with some rows.

    Args:
        lake: Open lake; read-only will do.
        stream: The stream.
        models: Models of the dbt project, by name.
        table: Name of one of its tables; the landing table by default.
        limit: Greatest number of rows.

    Raises:
        PermanentError: The stream has no such table, or none yet.
        StorageUnavailableError: A data file could not be read.
    """
    relations = _relations(lake, stream, models)
    name = table or stream.landing_table
    if name not in relations:
        raise PermanentError(f"{stream.id} has no table {name!r}: {did_you_mean(name, relations)}")
    relation, description = relations[name]
    try:
        rows = lake.rows(
            f"SELECT left(CAST(COLUMNS(*) AS VARCHAR), {_VALUE_CHARACTERS}) "
            f"FROM {relation} LIMIT ?",
            [limit],
        )
    except duckdb.OperationalError as error:
        raise StorageUnavailableError(
            f"reading {name} failed: {one_line(error)}",
            hint="`lotus-lake reconcile SOURCE STREAM` finds objects that are gone",
        ) from error
    return TableView(name, description, _columns(lake, relation, stream), tuple(rows))


def _relations(
    lake: Lake, stream: Stream, models: Mapping[str, Model]
) -> dict[str, tuple[str, str]]:
    """Quoted name and description of each table that is there, by name."""
    found = {}
    if stream.landing_table in lake.tables("staging"):
        relation = f"{STAGING}.{identifier(stream.landing_table)}"
        found[stream.landing_table] = (relation, "Rows as Airbyte wrote them.")
    built = lake.tables("main")
    for model in processed_models(models, stream.id):
        if model.name in built:
            relation = f"{LAKE}.main.{identifier(model.name)}"
            found[model.name] = (relation, model.description)
    return found


def _columns(lake: Lake, relation: str, stream: Stream) -> tuple[Column, ...]:
    fields = stream.config.fields if relation.startswith(STAGING) else {}
    said = {field.column or name: field.description for name, field in fields.items()}
    return tuple(
        Column(name, kind, said.get(name)) for name, kind, *_ in lake.rows(f"DESCRIBE {relation}")
    )
