"""The formats that Airbyte's S3 destination writes, and how DuckDB reads a file of each.

Parquet says its types, and is registered as it is. What a file of another format holds is read as
text, field by field, and lands as a copy: the landing table has the types, and `copies` brings text
into them without loss. Only Avro has types of its own. Where records are not flattened, their
fields are those of `_airbyte_data`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import md5
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.bucket.keys import format_of
from lotus_lake.lake.extensions import load_extension
from lotus_lake.lake.session import Lake
from lotus_lake.landing.conversion import keeps_numbers
from lotus_lake.landing.tables import describe
from lotus_lake.landing.types import NESTED, children, free_name, is_only_text
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.sql import folded, identifier, literal

# Where the destination keeps a record that it does not flatten.
DATA = "_airbyte_data"
# A line of which DuckDB's JSON does not hold every number or field is kept whole.
WHOLE_LINE = "_lake_line"
# Columns of the destination before release 1.0, and those of today.
LEGACY = {"_airbyte_ab_id": "_airbyte_raw_id", "_airbyte_emitted_at": "_airbyte_extracted_at"}
_TIMES = ("_airbyte_extracted_at", "_airbyte_emitted_at")
_MILLIS = r"-?[0-9]{1,15}"
# Of the destination's Avro: fields that the schema does not name.
_ADDITIONAL = "_airbyte_additional_properties"
_LINE_BYTES = 2**24
_CSV = (
    "auto_detect = false, encoding = 'utf-8', "
    f"max_line_size = {_LINE_BYTES}, buffer_size = {2 * _LINE_BYTES}"
)
_QUOTES = (
    "strict_mode = true, delim = ',', quote = '\"', escape = '\"', nullstr = '', "
    "allow_quoted_nulls = false"
)
_LINES = (
    "strict_mode = false, delim = '\x01', quote = '', escape = '', header = false, "
    "columns = {'line': 'VARCHAR'}, parallel = false"
)
_TEXT = duckdb.sqltype("VARCHAR")
# Types of JSON, as DuckDB calls them, of which every value is one of the type on the left.
_SAME = {
    "BOOLEAN": ("BOOLEAN",),
    "BIGINT": ("BIGINT", "UBIGINT"),
    "DOUBLE": ("DOUBLE", "BIGINT", "UBIGINT"),
}
_RECORD = "_lake_record"
_LINE = re.compile(r"in line (\d+)")
_KEYS = "list_sort(list_distinct(flatten(list(DISTINCT json_keys({})))))"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a file are read.

    Attributes:
        relation: SQL of its rows.
        row_count: How many there are.
        columns: Names and types of their columns.
        shape: Digest of format and columns.
    """

    relation: str
    row_count: int
    columns: Mapping[str, DuckDBPyType] = field(default_factory=dict)
    shape: str = ""


def parquet_rows(lake: Lake, files: Iterable[PendingFile]) -> str:
    """SQL of the rows of Parquet files of one schema, without columns of their paths."""
    uris = ", ".join(literal(lake.settings.uri(file.key)) for file in files)
    return f"read_parquet([{uris}], hive_partitioning = false)"


def read_rows(
    lake: Lake, key: str, targets: Mapping[str, DuckDBPyType], *, unflattened: bool
) -> Reading:
    """Read a file of another format than Parquet once: its columns, and the number of its rows.

    Args:
        lake: Open lake.
        key: Key of the object.
        targets: Types of the landing table, by names that columns have, without case.
        unflattened: Whether `_airbyte_data` holds the fields of a record.

    Raises:
        duckdb.Error: It cannot be read; names the line where that is known.
    """
    kind, compressed = format_of(key) or ("", False)
    uri = literal(lake.settings.uri(key))
    compression = literal("gzip" if compressed else "uncompressed")
    if kind == "avro":
        load_extension(lake.con, "avro")
        reading = _of_avro(lake, f"read_avro({uri})")
    elif kind == "csv":
        reading = _of_csv(lake, f"{uri}, {_CSV}, compression = {compression}")
    else:
        reading = _of_lines(lake, f"read_ndjson_objects({uri}, compression = {compression})")
    if unflattened and str(reading.columns.get(DATA)) == "VARCHAR":
        reading = _flattened(lake, reading)
    reading = _structured(lake, reading, targets)
    names = json.dumps([kind, {name: str(kind) for name, kind in reading.columns.items()}])
    return replace(reading, shape=md5(names.encode(), usedforsecurity=False).hexdigest())


def _of_lines(lake: Lake, lines: str) -> Reading:
    """JSON, one object a line: each field as text."""
    try:
        ((count, kinds, keys),) = lake.rows(
            f"""
            SELECT count(*), list(DISTINCT json_type(json)) FILTER (json_type(json) <> 'OBJECT'),
                   {_KEYS.format("json")}
            FROM {lines}
            """
        )
    except duckdb.InvalidInputException as error:
        raise duckdb.InvalidInputException(_LINE.sub(_line_before, str(error))) from error
    if kinds:
        raise duckdb.InvalidInputException(f"a line holds no JSON object, but {kinds[0].lower()}")
    fields = _one_of_each(keys or ())
    odd = f"(NOT {keeps_numbers('json::VARCHAR')} OR {_repeats('json')})"
    if left_out := set(keys or ()) - set(fields):
        odd = f"({odd} OR list_has_any(json_keys(json), {_texts(left_out)}))"
    selected = [f"{_plain(f'record.{identifier(f)}')} AS {identifier(f)}" for f in fields]
    selected += _whole(lake, odd, "json::VARCHAR", lines)
    record = literal(json.dumps(dict.fromkeys(fields, "JSON") or "JSON"))
    relation = (
        f"(SELECT {', '.join(selected) or 'NULL AS _airbyte_raw_id'} "
        f"FROM (SELECT json, json_transform(json, {record}) AS record FROM {lines}))"
    )
    return _reading(lake, relation, count)


def _of_csv(lake: Lake, arguments: str) -> Reading:
    """CSV with a header, which DuckDB would look for by itself, and take another line for it."""
    names = _header(lake, arguments)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    relation = f"read_csv({arguments}, {_QUOTES}, header = true, columns = {{{columns}}})"
    ((count,),) = lake.rows(f"SELECT count(*) FROM {relation}")
    return _reading(lake, relation, count)


def _header(lake: Lake, arguments: str) -> list[str]:
    lines = lake.rows(f"FROM read_csv({arguments}, {_LINES}) LIMIT 1")
    names = next(csv.reader([lines[0][0] or ""]), []) if lines else []
    if not {"_airbyte_raw_id", "_airbyte_ab_id"} & set(names):
        raise duckdb.InvalidInputException("its first line does not name Airbyte's columns")
    if len(_one_of_each(names)) < len(names):
        raise duckdb.InvalidInputException("its header names a column twice, or not at all")
    return names


def _of_avro(lake: Lake, file: str) -> Reading:
    """Avro, with its own types; a value of one of several types is text."""
    columns = describe(lake.con, f"FROM {file}")
    counts = ", ".join(f"count({identifier(name)})" for name in columns)
    ((count, *filled),) = lake.rows(f"SELECT count(*), {counts} FROM {file}")
    selected = []
    for (name, kind), values in zip(columns.items(), filled, strict=True):
        value = identifier(name)
        if kind.id == "union":
            value = f"{value}::VARCHAR AS {value}"
        elif "UNION(" in str(kind):
            value = f"to_json({value})::VARCHAR AS {value}"
        elif str(kind) == "TIMESTAMP":  # Avro's are instants
            value = f"timezone('UTC', {value}) AS {value}"
        if values or name != _ADDITIONAL:
            selected.append(value)
    return _reading(lake, f"(SELECT {', '.join(selected)} FROM {file})", count)


def _flattened(lake: Lake, reading: Reading) -> Reading:
    """The same rows with the fields of `_airbyte_data` as columns."""
    rows = f"(SELECT *, {identifier(DATA)}::JSON AS {_RECORD} FROM {reading.relation})"
    ((keys,),) = lake.rows(f"SELECT {_KEYS.format(_RECORD)} FROM {rows}")
    outer = [name for name in reading.columns if name not in (DATA, WHOLE_LINE)]
    fields = [field for field in _one_of_each([*outer, *(keys or ())]) if field not in outer]
    odd = _repeats(_RECORD)
    if left_out := set(keys or ()) - set(fields):
        odd = f"({odd} OR list_has_any(json_keys({_RECORD}), {_texts(left_out)}))"
    selected = [identifier(name) for name in outer]
    selected += [f"{_plain(f'fields.{identifier(f)}')} AS {identifier(f)}" for f in fields]
    if WHOLE_LINE in reading.columns:
        selected.append(WHOLE_LINE)
    else:
        selected += _whole(lake, odd, identifier(DATA), rows)
    record = literal(json.dumps(dict.fromkeys(fields, "JSON") or "JSON"))
    relation = (
        f"(SELECT {', '.join(selected)} "
        f"FROM (SELECT *, json_transform({_RECORD}, {record}) AS fields FROM {rows}))"
    )
    return _reading(lake, relation, reading.row_count)


def _structured(lake: Lake, reading: Reading, targets: Mapping[str, DuckDBPyType]) -> Reading:
    """The same rows with text that is JSON, where structs and lists are wanted, as such.

    Their fields are text, or numbers where all are. To bring JSON text into a deep type takes SQL
    that DuckDB plans for seconds: that is left to columns of which a value has another structure.
    """
    wanted = {
        name: targets[folded(name)]
        for name, kind in reading.columns.items()
        if kind == _TEXT and folded(name) in targets and targets[folded(name)].id in NESTED
    }
    if not wanted:
        return reading
    asked = ", ".join(
        f"json_group_structure(TRY_CAST({identifier(name)} AS JSON))::VARCHAR, "
        f"count(*) FILTER ({identifier(name)} IS NOT NULL AND ("
        f"TRY_CAST({identifier(name)} AS JSON) IS NULL OR NOT {keeps_numbers(identifier(name))})), "
        f"count(*) FILTER (regexp_matches({identifier(name)}, '[0-9]{{16}}'))"
        for name in wanted
    )
    (said,) = lake.rows(f"SELECT {asked} FROM {reading.relation}")
    shown = []
    for number, (name, target) in enumerate(wanted.items()):
        structure, misfits, long = said[3 * number : 3 * number + 3]
        structure = json.loads(structure or '"NULL"')
        shape = "VARCHAR" if misfits else _shape(target, structure, is_exact=not long)
        if shape != "VARCHAR":
            column = identifier(name)
            shown.append(
                f"json_transform({column}::JSON, {literal(json.dumps(shape))}) AS {column}"
            )
    if not shown:
        return reading
    relation = f"(SELECT * REPLACE ({', '.join(shown)}) FROM {reading.relation})"
    return Reading(relation, reading.row_count, describe(lake.con, f"FROM {relation}"))


def _shape(target: DuckDBPyType, structure: Any, *, is_exact: bool) -> Any:
    """The structure of `json_transform` for JSON of a structure.

    Args:
        target: The type that is wanted.
        structure: What `json_group_structure` says of all values.
        is_exact: Whether no number is too long for BIGINT and DOUBLE.
    """
    shape = partial(_shape, is_exact=is_exact)
    if target.id == "list" and (isinstance(structure, list) or structure == "NULL"):
        return [shape(children(target)[0][1], structure[0] if structure != "NULL" else "NULL")]
    if target.id != "struct" or is_only_text(target):
        is_same = is_exact and str(structure) in _SAME.get(str(target), ())
        return str(target) if is_same else "VARCHAR"
    fields = {folded(free_name(name, nested=True)): kind for name, kind in children(target)}
    if structure in ("NULL", {}):
        return {name: shape(kind, "NULL") for name, kind in children(target)}
    if not isinstance(structure, dict) or len(_one_of_each(structure)) < len(structure):
        return "VARCHAR"
    return {
        key: shape(fields[place], below) if place in fields else "VARCHAR"
        for key, below in structure.items()
        for place in [folded(free_name(key, nested=True))]
    }


def _reading(lake: Lake, relation: str, count: int) -> Reading:
    """A relation, with Airbyte's milliseconds as times."""
    columns = describe(lake.con, f"FROM {relation}")
    times = [name for name in columns if name in _TIMES and str(columns[name]) == "VARCHAR"]
    if times:
        shown = ", ".join(
            f"CASE WHEN regexp_full_match({name}, '{_MILLIS}') "
            f"THEN make_timestamptz({name}::BIGINT * 1000)::VARCHAR ELSE {name} END AS {name}"
            for name in times
        )
        relation = f"(SELECT * REPLACE ({shown}) FROM {relation})"
    return Reading(relation, count, columns)


def _whole(lake: Lake, odd: str, text: str, rows: str) -> list[str]:
    """The column that keeps whole what is not all in others; none if nothing is odd."""
    ((count,),) = lake.rows(f"SELECT count(*) FILTER ({odd}) FROM {rows}")
    return [f"CASE WHEN {odd} THEN {text} END AS {WHOLE_LINE}"] if count else []


def _plain(value: str) -> str:
    """JSON as text, of which strings lose their quotes."""
    return (
        f"CASE json_type({value}) WHEN 'VARCHAR' THEN {value} ->> '$' WHEN 'NULL' THEN NULL "
        f"ELSE {value}::VARCHAR END"
    )


def _repeats(record: str) -> str:
    return f"len(list_distinct(json_keys({record}))) < len(json_keys({record}))"


def _one_of_each(keys: Iterable[str]) -> list[str]:
    """Keys that can be columns: of those that differ in case only, one."""
    found: dict[str, str] = {}
    for key in sorted(keys, reverse=True):  # small letters before capitals
        if key:
            found.setdefault(folded(key), key)
    return sorted(found.values())


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(literal(value) for value in sorted(values))}]"


def _line_before(found: re.Match[str]) -> str:
    """DuckDB counts the line that it has not reached."""
    return f"in line {int(found[1]) - 1}"
