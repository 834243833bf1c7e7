"""The dbt unit test of a processed model: the newest version wins, whatever makes it the newest."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.errors import ScaffoldError
from lotus_lake.scaffold import naming
from lotus_lake.scaffold.columns import Column, ModelColumns
from lotus_lake.scaffold.expressions import Path
from lotus_lake.scaffold.yaml_text import WIDTH, entry, scalar
from lotus_lake.sql import identifier

_ROWS = " " * 10
_DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")


@dataclass(frozen=True, slots=True)
class _Version:
    """A row given to the model: which record, and what decides whether it is the newest."""

    record: int
    changed: str | None
    extracted: str
    raw_id: str


# Of each record the winner by extraction, by the record's own time, by raw id.
_EXTRACTED = (
    _Version(1, _DAYS[0], _DAYS[2], "a"),
    _Version(1, _DAYS[1], _DAYS[1], "b"),
)
_CHANGED = (
    _Version(2, _DAYS[0], _DAYS[2], "b"),
    _Version(2, _DAYS[1], _DAYS[2], "a"),
)
_RAW_ID = (
    _Version(3, _DAYS[0], _DAYS[2], "a"),
    _Version(3, _DAYS[0], _DAYS[2], "b"),
)
_UNKNOWN = (
    _Version(4, None, _DAYS[2], "b"),
    _Version(4, _DAYS[0], _DAYS[2], "a"),
)


def unit_test_lines(stream: Stream, model: ModelColumns) -> list[str]:
    """Lines of `unit_tests:` in the model's YAML.

    Raises:
        ScaffoldError: The key holds no more than two records.
    """
    keys = [model.by_name(name) for name in model.key]
    if all(column.type == "boolean" for column in keys):
        raise ScaffoldError(
            f"primary_key {'.'.join(keys[0].path)!r} is a boolean, which tells two records apart",
            hint="give another one: --primary-key FIELD",
        )
    record = naming.singular(stream.name)
    free_cursor = model.cursor_column is not None and all(
        column.path != model.cursor_column.path for column in keys
    )
    given, expected = _cases(keys, free_cursor)
    described = "By extraction, then by the record's own time of change, then by raw id."
    return [
        "unit_tests:",
        f"  - name: newest_version_of_{naming.with_article(record).replace(' ', '_')}_wins",
        *entry(4, "description", described if free_cursor else "By extraction, then by raw id."),
        f"    model: int_{stream.id}",
        "    given:",
        f"      - input: source('{stream.source}', '{stream.name}')",
        "        format: sql",
        "        rows: |",
        *_given_sql(model, keys, free_cursor, given),
        "    expect:",
        "      rows:",
        *_expected_rows(keys, expected),
    ]


Keyed = tuple[tuple[str, ...], _Version]


def _cases(keys: Sequence[Column], free_cursor: bool) -> tuple[list[Keyed], list[Keyed]]:
    """Rows given and rows expected, each with the text of its key."""
    versions = [*_EXTRACTED, *_RAW_ID]
    winners = [_EXTRACTED[0], _RAW_ID[1]]
    if free_cursor:
        versions = [*_EXTRACTED, *_CHANGED, *_RAW_ID, *_UNKNOWN]
        winners = [_EXTRACTED[0], _CHANGED[1], _RAW_ID[1], _UNKNOWN[1]]
    given = [(_key_of(keys, version.record), version) for version in versions]
    expected = [(_key_of(keys, version.record), version) for version in winners]
    for number in range(len(keys) if len(keys) > 1 else 0):
        # Differs from the first record in one part of the key only: another record.
        key = list(_key_of(keys, 1))
        key[number] = _sample(keys[number], 6)
        other = (tuple(key), _Version(6, _DAYS[0], _DAYS[0], "c"))
        given.append(other)
        expected.append(other)
    return given, expected


def _key_of(keys: Sequence[Column], record: int) -> tuple[str, ...]:
    return tuple(_sample(column, record) for column in keys)


def _sample(column: Column, number: int) -> str:
    """A value of the column's type, another one for each number up to 9."""
    return {
        "bigint": str(number),
        "double": str(number),
        "boolean": "true" if number % 2 else "false",
        "date": f"2026-01-0{number}",
        "timestamp with time zone": f"2026-01-0{number}T00:00:00Z",
        "time with time zone": f"0{number}:00:00+00",
    }.get(column.type, "ABCDEFGHI"[number - 1])


def _is_bare(column: Column) -> bool:
    return column.type in ("bigint", "double", "boolean")


def _expected_rows(keys: Sequence[Column], expected: Sequence[Keyed]) -> list[str]:
    rows = []
    for values, version in expected:
        pairs = [
            f"{column.name}: {value if _is_bare(column) else _quoted(value)}"
            for column, value in zip(keys, values, strict=True)
        ]
        pairs.append(f"_airbyte_raw_id: {version.raw_id}")
        line = f"        - {{{', '.join(pairs)}}}"
        if len(line) <= WIDTH:
            rows.append(line)
        else:
            rows += [f"        {'-' if n == 0 else ' '} {pair}" for n, pair in enumerate(pairs)]
    return rows


def _quoted(value: str) -> str:
    return scalar(value) if value.isalpha() else f'"{value}"'


def _given_sql(
    model: ModelColumns,
    keys: Sequence[Column],
    free_cursor: bool,
    given: Sequence[Keyed],
) -> list[str]:
    values: dict[Path, str] = {
        column.path: f"key_{number}::{column.type}" for number, column in enumerate(keys, 1)
    }
    if free_cursor and model.cursor_column is not None:
        values[model.cursor_column.path] = _changed(model.cursor_column)
    paths = {column.path for column in model.columns} | set(values)
    lines = [f"{_ROWS}select"]
    read = [column.path[0] for column in model.columns] + [path[0] for path in values]
    for field in dict.fromkeys(read):
        inner = _value((field,), paths, values)
        lines += _wrapped(f"{inner} as {identifier(field)},")
    lines += [
        f"{_ROWS}  extracted_at::timestamptz as _airbyte_extracted_at,",
        f"{_ROWS}  raw_id as _airbyte_raw_id",
        f"{_ROWS}from (values",
    ]
    last = len(given) - 1
    for number, (key, version) in enumerate(given):
        parts = [
            value if _is_bare(column) else f"'{value}'"
            for column, value in zip(keys, key, strict=True)
        ]
        if free_cursor:
            parts.append(f"'{version.changed}'" if version.changed else "null")
        parts += [f"'{version.extracted}'", f"'{version.raw_id}'"]
        lines += _wrapped(f"({', '.join(parts)}){',' if number < last else ''}")
    names = [f"key_{number}" for number in range(1, len(keys) + 1)]
    names += ["changed_at"] * free_cursor + ["extracted_at", "raw_id"]
    return [*lines, *_wrapped(f") as versions ({', '.join(names)})", indent=0)]


def _changed(cursor: Column) -> str:
    """The record's own time of change as a value of the cursor's type."""
    moment = "changed_at::timestamptz"
    return {
        "timestamp with time zone": moment,
        "date": "changed_at::date",
        "bigint": f"epoch_us({moment})",
        "double": f"epoch({moment})",
    }.get(cursor.type, "changed_at")


def _value(path: Path, paths: set[Path], values: Mapping[Path, str]) -> str:
    """SQL of a landed value: of an object what the model reads of it, null for what is beside."""
    if path in values:
        return values[path]
    below = sorted({p[len(path)] for p in paths if len(p) > len(path) and p[: len(path)] == path})
    if not below:
        return "null"
    members = [f"'{name}': {_value((*path, name), paths, values)}" for name in below]
    return f"{{{', '.join(members)}}}"


def _wrapped(text: str, indent: int = 2) -> list[str]:
    """Lines of a piece of SQL, broken at spaces where it is long."""
    lead = _ROWS + " " * indent
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=lead,
        subsequent_indent=lead + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
