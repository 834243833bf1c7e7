"""Columns of a processed model: their fields, names, types and order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Literal

from lotus_lake.config.stream_config import CHANGED_AT, DELETED_AT, VIRTUAL_COLUMNS, FieldSchema
from lotus_lake.config.streams import Stream
from lotus_lake.errors import ScaffoldError
from lotus_lake.landing.conversion import RESCUED
from lotus_lake.landing.types import airbyte_name, column_name, column_type
from lotus_lake.scaffold import naming
from lotus_lake.scaffold.expressions import Path, landed_path, reference, reserved_names
from lotus_lake.sql import folded, is_plain_name

Kind = Literal["id", "string", "number", "boolean", "date", "timestamp", "nested"]

MONEY = "decimal(18, 4)"
# What processed models carry besides the record's own columns; the last ones where they are needed.
BOOKKEEPING = (
    "_airbyte_extracted_at",
    "_airbyte_raw_id",
    "_source_updated_at",
    RESCUED,
    "_lake_snapshot_id",
    "_source_changed_at",
    "_log_position",
    "_deleted_at",
    "_lake_rows_told",
    "_lake_repeats",
    "_lake_bad_values",
)
# What a history says of each version.
VALIDITY = (
    "valid_from",
    "valid_to",
    "source_valid_from",
    "source_valid_to",
    "is_current",
    "is_deleted",
)
# The key of a stream whose records nothing identifies.
RAW_ID = "_airbyte_raw_id"
_KINDS: tuple[Kind, ...] = ("id", "string", "number", "boolean", "date", "timestamp", "nested")
_KIND_OF_TYPE: dict[str, Kind] = {
    "VARCHAR": "string",
    "BIGINT": "number",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIME": "date",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}
# Mean nothing without the name of their record.
_BARE_WORDS = ("name", "type")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a processed model.

    Attributes:
        name: Its name in the model.
        path: The field it comes from, by the names in the landing table, from the outside in.
        expression: Its SQL over the landing table.
        type: Its DuckDB type.
        kind: The group of columns that it is listed in.
        is_converted: Whether its type is another one than the field's.
        description: The source's description of the field; may be empty.
    """

    name: str
    path: Path
    expression: str
    type: str
    kind: Kind
    description: str = ""
    is_converted: bool = False


@dataclass(frozen=True, slots=True)
class ModelColumns:
    """The columns of a model in their order, and its key.

    Attributes:
        columns: Ids first, then strings, numbers, booleans, dates, timestamps, nested values.
        key: Names of the key's columns; of a stream without a key, Airbyte's id of the row.
        cursor: Call of the macro that makes the order of versions of the cursor.
        log: Call of the macro that says where a version stands in the log; empty if none does.
        changed: Call of the macro that says when the source changed a record.
        cursor_column: The column that this SQL reads; `None` for a stream without a cursor.
    """

    columns: tuple[Column, ...]
    key: tuple[str, ...]
    cursor: str
    log: str
    changed: str
    cursor_column: Column | None

    @property
    def converted(self) -> tuple[Column, ...]:
        """The columns whose values may not fit their type."""
        return tuple(column for column in self.columns if column.is_converted)

    @property
    def of_log(self) -> tuple[Column, ...]:
        """The columns that tell of a source's log, and not of the record."""
        return tuple(column for column in self.columns if column.path[0].startswith("_ab_cdc_"))

    def by_name(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


def model_columns(
    stream: Stream,
    discovered: Mapping[str, FieldSchema],
    money: Collection[str] = (),
    reserved: Collection[str] = (),
) -> ModelColumns:
    """Derive the columns of a stream's processed model.

    Objects are flattened one level. Deeper objects and lists of objects become JSON text, so that
    a new field in them needs no change of the model.

    Args:
        stream: The stream.
        discovered: Its fields as the source schema has them.
        money: Fields to cast to decimal, as dotted paths.
        reserved: Names that the model needs for itself.

    Raises:
        ScaffoldError: A field cannot be the key, the cursor or money.
    """
    fields = {
        name: discovered.get(name, schema).model_copy(update={"column": schema.column})
        for name, schema in stream.config.fields.items()
    }
    keys = [landed_path(path, fields) for path in stream.config.primary_key]
    leaves = list(_leaves(fields, keys))
    paths = {landed_path(name.split("."), fields): name for name in money}
    record = naming.singular(stream.name)
    named = _as_money(_distinct(leaves, fields, record, reserved), paths)
    by_path = {column.path: column for column in named}
    key = _key(keys, by_path) if keys else (RAW_ID,)
    cursor_path = landed_path(stream.config.cursor_field, fields)
    cursor = by_path.get(cursor_path) or _deep_leaf(cursor_path, fields)
    return ModelColumns(
        columns=tuple(
            sorted(
                named,
                key=lambda column: (
                    _KINDS.index(column.kind),
                    key.index(column.name) if column.name in key else len(key),
                ),
            )
        ),
        key=key,
        cursor=_cursor_expression(cursor),
        log=_log_expression(stream, fields),
        changed=_changed_expression(fields, cursor),
        cursor_column=cursor,
    )


def is_flattened(schema: FieldSchema) -> bool:
    """Whether a field is an object whose own fields become columns."""
    return schema.types == ("object",) and bool(schema.properties) and not schema.one_of


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: Path
    schema: FieldSchema
    is_key: bool


def _leaves(fields: Mapping[str, FieldSchema], keys: Collection[Path]) -> Iterator[_Leaf]:
    found: set[Path] = set()
    for name, schema in fields.items():
        if name == DELETED_AT:
            continue
        path = (column_name(name, schema),)
        inner: list[tuple[Path, FieldSchema]] = [(path, schema)]
        if is_flattened(schema):
            below = (schema.properties or {}).items()
            inner = [((*path, column_name(n, s, nested=True)), s) for n, s in below]
        for leaf_path, leaf in inner:
            found.add(leaf_path)
            yield _Leaf(leaf_path, leaf, leaf_path in keys)
    for key in keys:
        if key not in found and (schema_of := _at(fields, key)):
            yield _Leaf(key, schema_of, True)


def _at(fields: Mapping[str, FieldSchema], path: Path) -> FieldSchema | None:
    """The schema of a field however deep."""
    found: FieldSchema | None = None
    for depth, part in enumerate(path):
        named = {column_name(name, s, nested=depth > 0): s for name, s in fields.items()}
        found = named.get(part)
        fields = (found.properties or {}) if found else {}
    return found


def _distinct(
    leaves: Sequence[_Leaf],
    fields: Mapping[str, FieldSchema],
    record: str,
    reserved: Collection[str],
) -> list[Column]:
    """Columns with names that differ from each other and from other fields of the table."""
    taken = {folded(column_name(name, schema)) for name, schema in fields.items()}
    taken |= {*BOOKKEEPING, *VIRTUAL_COLUMNS}
    columns = []
    for leaf in leaves:
        own = {folded(leaf.path[0])} if len(leaf.path) == 1 else set()
        free = (
            name
            for name in _candidates(leaf, record)
            if name not in taken - own
            and name not in reserved_names()
            and name not in reserved
            and is_plain_name(name)
        )
        name = next(free)
        taken.add(name)
        columns.append(_column(name, leaf))
    return columns


def _candidates(leaf: _Leaf, record: str) -> Iterator[str]:
    """Names for a column, the best one first; endless."""
    parts = [folded(airbyte_name(part)) for part in leaf.path]
    yield _preferred(leaf, record)
    yield "_".join(parts)
    yield "__".join(parts)
    yield f"{record}_{'_'.join(parts)}"
    for number in itertools.count(2):
        yield f"{'_'.join(parts)}_{number}"


def _preferred(leaf: _Leaf, record: str) -> str:
    name = naming.snake(leaf.path[-1])
    parent = "_".join(naming.snake(part) for part in leaf.path[:-1])
    whole = f"{parent}_{name}" if parent else name
    kind = _KIND_OF_TYPE.get(column_type(leaf.schema))
    if _is_json_text(leaf):
        return whole if name.endswith("json") else f"{whole}_json"
    if kind == "boolean":
        return naming.boolean_name(name, parent)
    if kind == "timestamp":
        return naming.timestamp_name(name, record, parent)
    if column_type(leaf.schema) == "DATE":
        return naming.date_name(name, record, parent)
    if not parent and (name == "id" or name in _BARE_WORDS or name in reserved_names()):
        return f"{record}_{name}"
    return whole


def _column(name: str, leaf: _Leaf) -> Column:
    sql, kind_text = reference(leaf.path), column_type(leaf.schema)
    kind: Kind = _KIND_OF_TYPE.get(kind_text, "nested")
    if _is_json_text(leaf):
        sql, kind_text = f"to_json({sql})::varchar", "VARCHAR"
    elif kind != "nested" and (
        leaf.is_key or (kind in ("string", "number") and name.endswith("_id"))
    ):
        kind = "id"
    return Column(name, leaf.path, sql, kind_text.lower(), kind, leaf.schema.description or "")


def _is_json_text(leaf: _Leaf) -> bool:
    """Objects that are not flattened, and lists of objects."""
    return "STRUCT" in column_type(leaf.schema)


def _as_money(columns: Sequence[Column], paths: Mapping[Path, str]) -> list[Column]:
    known = {column.path: column for column in columns}
    for path, name in paths.items():
        if path not in known or known[path].kind not in ("string", "number"):
            raise ScaffoldError(
                f"--money {name}: the model has no numeric column for it",
                hint=f"fields with numbers: {_listed(known, lambda c: c.kind == 'number')}",
            )
    return [
        replace(column, type=MONEY, kind="number", is_converted=True)
        if column.path in paths
        else column
        for column in columns
    ]


def _listed(columns: Mapping[Path, Column], wanted: Callable[[Column], bool]) -> str:
    return ", ".join(".".join(c.path) for c in columns.values() if wanted(c)) or "none"


def _key(paths: Sequence[Path], columns: Mapping[Path, Column]) -> tuple[str, ...]:
    """Names of the key's columns."""
    found = [_key_column(path, columns) for path in paths]
    if all(column.type == "boolean" for column in found):
        raise ScaffoldError(
            f"primary_key {'.'.join(paths[0])!r} is a boolean, which distinguishes only two "
            "records",
            hint="choose another one: --primary-key FIELD, once for each part of the key",
        )
    return tuple(column.name for column in found)


def _key_column(path: Path, columns: Mapping[Path, Column]) -> Column:
    column = columns.get(path)
    if column is None or column.kind == "nested" or column.expression != reference(path):
        raise ScaffoldError(
            f"primary_key {'.'.join(path)!r} cannot be the key of a model: it is not a plain value",
            hint="choose another one: --primary-key FIELD, once for each part of the key",
        )
    return column


def _deep_leaf(path: Path, fields: Mapping[str, FieldSchema]) -> Column | None:
    """A cursor that is nested deeper than the columns of the model."""
    if not path:
        return None
    schema = _at(fields, path)
    if schema is None:
        raise ScaffoldError(f"cursor_field {'.'.join(path)!r} is not among the fields")
    return _column("", _Leaf(path, schema, False))


def _log_expression(stream: Stream, fields: Mapping[str, FieldSchema]) -> str:
    """The macro that says where a version stands in the log."""
    if not stream.config.log:
        return ""
    columns = [_quoted(reference(landed_path([name], fields))) for name in stream.config.log]
    times = sorted(at.astimezone(UTC) for at in stream.config.log_restarts)
    restarts = "".join(f"\n            '{at:%Y-%m-%dT%H:%M:%S.%fZ}'," for at in times)
    named = f", restarts=[{restarts}\n        ]" if restarts else ""
    return f"log_position([{', '.join(columns)}]{named})"


def _changed_expression(fields: Mapping[str, FieldSchema], cursor: Column | None) -> str:
    """The macro that says when the source changed a record; a number is not known to be a time."""
    if CHANGED_AT in fields:
        sql = reference(landed_path([CHANGED_AT], fields))
    elif cursor and cursor.type in ("timestamp with time zone", "date", "varchar"):
        sql = reference(cursor.path)
        if cursor.type == "date":
            return f"date_as_time({_quoted(sql)})"
    else:
        sql = "null"
    return f"source_changed_at({_quoted(sql)})"


def _quoted(sql: str) -> str:
    """SQL as a string of Jinja."""
    return "'" + sql.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _cursor_expression(cursor: Column | None) -> str:
    """The macro that orders versions as the cursor does, whatever it is."""
    if cursor is None:
        return "source_updated_at('null')"
    sql = reference(cursor.path)
    text = _quoted(sql)
    casts = {
        "timestamp with time zone": f"source_updated_at({text})",
        "date": f"source_updated_at(date_as_time({text}))",
        "bigint": f"source_updated_at(number_as_time({text}))",
        "double": f"source_updated_at(number_as_time({text}))",
        "varchar": f"text_version({text})",
    }
    if cursor.type not in casts or cursor.expression != sql:
        raise ScaffoldError(
            f"cursor_field {'.'.join(cursor.path)!r} is {cursor.type}, which has no order in time"
        )
    return casts[cursor.type]
