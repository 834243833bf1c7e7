"""SQL that brings values into a column's type where that loses nothing, and finds those it loses.

What counts is the value, not its spelling: the same instant, number or JSON. Text is a number if
JSON would call it one, so that `007` is none, and an instant if it is written as in ISO 8601.
Nested values and text meet as JSON, bytes and text as UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.landing.types import (
    NESTED,
    children,
    free_name,
    holds,
    is_only_text,
    landing_type,
    reads_as,
)
from lotus_lake.sql import folded, identifier, is_plain_name, literal

# Where a landing table keeps the values that fit none of its columns, as JSON. `path` is what SQL
# calls the place in which NULL is instead, after the table's name and a dot; `expected` is its
# type, and NULL if the table has no such place.
RESCUED = "_lake_rescued"
RESCUED_TYPE = "STRUCT(path VARCHAR, value VARCHAR, expected VARCHAR, arrived VARCHAR)[]"

_NONE = f"[]::{RESCUED_TYPE}"
_NOT_FINITE = "('nan', 'inf', '-inf', 'infinity', '-infinity')"
_INTEGERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
_DECIMAL = re.compile(r"DECIMAL\(\d+,(\d+)\)")
_INTEGER = r"-?(0|[1-9][0-9]*)"
# What DECIMAL(38, 19) holds exactly, and what has so few digits that DOUBLE shows the same ones.
_SHORT = r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,19}0*)?"
_DOUBLE_DIGITS = 15
_INSTANT = (
    r"-?infinity|[0-9]{4,6}-[0-9]{2}-[0-9]{2}( \(BC\))?"
    r"([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?"
    r"(Z| ?UTC|[+-][0-9]{2}(:?[0-9]{2}(:[0-9]{2})?)?)?)?"
)
_TIME_OF_DAY = r"([0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?)(Z|[+-]00(:?00)?)?"
_PARTS_OF_INSTANTS = ("DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
# Numbers of JSON that DuckDB reads as DOUBLE, and that may be longer than it shows.
_LONG_NUMBERS = (
    "list_filter(regexp_extract_all({}, '[0-9]+(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?'), "
    "lambda n: len(n) > 16 AND regexp_matches(n, '[.eE]'))"
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """How values get into the types of a table's columns.

    Attributes:
        leaves_out: Whether fields that a column does not have are left out, and not rescued.
        made_up: Names of fields that DuckDB has made up, because their own are taken.
    """

    leaves_out: bool = False
    made_up: frozenset[str] = frozenset()

    def value(self, expression: str, source: DuckDBPyType, target: DuckDBPyType) -> str:
        """SQL of a value in another type; NULL where that would lose something."""
        return self._value(expression, source, target, 0)

    def lost(
        self, expression: str, source: DuckDBPyType, target: DuckDBPyType, name: str
    ) -> str | None:
        """SQL of a list of what `value` loses of a column; `None` if it cannot lose anything."""
        found = self._lost(expression, source, target, literal(_in_path(name)), 0)
        return f"coalesce({found}, {_NONE})" if found else None

    def unplaced(self, expression: str, source: DuckDBPyType, name: str) -> str:
        """SQL of such a list for a column that has no place in the table."""
        entry = _entry(literal(_in_path(name)), _json(expression, source), None, str(source))
        return f"CASE WHEN {expression} IS NOT NULL THEN [{entry}] ELSE {_NONE} END"

    def _value(self, it: str, source: DuckDBPyType, target: DuckDBPyType, depth: int) -> str:
        if str(source) == str(target):
            return it
        if _reads_as(source, target):
            return f"CAST({it} AS {target})"
        it, source = _as_text(it, source)
        if _both("struct", source, target) and not is_only_text(source):
            return self._struct(it, source, target, depth)
        if _both("list", source, target):
            x = f"x{depth}"
            item = self._value(x, children(source)[0][1], children(target)[0][1], depth + 1)
            return f"list_transform({it}, lambda {x}: {item})"
        if _both("map", source, target):
            return self._map(it, source, target, depth)
        if source.id in NESTED and str(target) == "VARCHAR":
            return self._nested_text(it, source, depth)
        if target.id in NESTED:
            text, j = _json_text(it, source), f"j{depth}"
            inner = _from_json(j, target, depth + 1)
            return _let(j, _parsed(text), inner) if text else f"NULL::{target}"
        if source.id in NESTED:
            return f"NULL::{target}"
        # Not decimals: DuckDB makes 562949953421312.96 of the DOUBLE 562949953421313.
        if _is_binary(source) and _is_binary(target):
            cast = f"TRY_CAST({it} AS {target})"
            return f"CASE WHEN TRY_CAST({cast} AS {source}) = {it} THEN {cast} END"
        if target.id == "blob" and str(source) != "VARCHAR":
            return f"NULL::{target}"
        return _scalar(_text(it, source), target)

    def _lost(
        self, it: str, source: DuckDBPyType, target: DuckDBPyType, path: str, depth: int
    ) -> str | None:
        """SQL of a list, which may be NULL; `None` if nothing can be lost."""
        if str(source) == str(target) or _reads_as(source, target):
            return None
        arrived = str(source)
        it, source = _as_text(it, source)
        whole = _entry(path, _json(it, source), target, arrived)
        if _both("struct", source, target) and not is_only_text(source):
            return self._lost_fields(it, source, target, path, depth)
        if _both("list", source, target):
            x, i = f"x{depth}", f"i{depth}"
            kinds = children(source)[0][1], children(target)[0][1]
            inner = self._lost(x, *kinds, f"{path} || '[' || {i} || ']'", depth + 1)
            return inner and f"flatten(list_transform({it}, lambda {x}, {i}: {inner}))"
        value = self._value(it, source, target, depth)
        if _both("map", source, target):
            return self._lost_entries(it, source, target, path, depth, whole)
        if str(target) == "VARCHAR" and source.id in NESTED:
            as_text = duckdb.sqltype(landing_type(source, bytes_are_text=True))
            return None if is_only_text(source) else self._lost(it, source, as_text, path, depth)
        if str(target) == "VARCHAR" and source.id != "blob":
            return None
        text = _json_text(it, source) if target.id in NESTED else None
        if text is None:
            return f"CASE WHEN {it} IS NOT NULL AND {value} IS NULL THEN [{whole}] ELSE {_NONE} END"
        j = f"j{depth}"
        inside = (
            f"CASE WHEN json_type({j}) = 'NULL' THEN {_NONE} WHEN {_is_such_json(j, target)} "
            f"THEN {_lost_inside(j, target, path, depth + 1) or _NONE} ELSE [{whole}] END"
        )
        return f"CASE WHEN {it} IS NOT NULL THEN {_let(j, _parsed(text), inside)} END"

    def _struct(self, it: str, source: DuckDBPyType, target: DuckDBPyType, depth: int) -> str:
        there = self._placed(source)
        fields = []
        for name, kind in children(target):
            found = there.get(folded(free_name(name, nested=True)))
            value = f"NULL::{kind}"
            if found:
                value = self._value(_field(it, found[0]), found[1], kind, depth)
            fields.append(f"{identifier(name)} := {value}")
        return f"CASE WHEN {it} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"

    def _lost_fields(
        self, it: str, source: DuckDBPyType, target: DuckDBPyType, path: str, depth: int
    ) -> str | None:
        wanted = {folded(free_name(name, nested=True)): (name, k) for name, k in children(target)}
        placed, found = self._placed(source), list[str | None]()
        for name, kind in children(source):
            field, place = _field(it, name), folded(free_name(name, nested=True))
            if place in wanted and placed.get(place, ("",))[0] == name:
                below = f"{path} || {literal('.' + _in_path(wanted[place][0]))}"
                found.append(self._lost(field, kind, wanted[place][1], below, depth))
            elif name in self.made_up or not self.leaves_out:
                own = re.sub(r"_\d+$", "", name) if name in self.made_up else name
                below = f"{path} || {literal('.' + _in_path(own))}"
                entry = _entry(below, _json(field, kind), None, str(kind))
                found.append(f"CASE WHEN {field} IS NOT NULL THEN [{entry}] END")
        return _together(found)

    def _placed(self, source: DuckDBPyType) -> dict[str, tuple[str, DuckDBPyType]]:
        """Name and type of the field of a struct for each name that a table can have for it."""
        return {
            folded(free_name(name, nested=True)): (name, kind)
            for name, kind in children(source)
            if name not in self.made_up
        }

    def _map(self, it: str, source: DuckDBPyType, target: DuckDBPyType, depth: int) -> str:
        x, entries = f"x{depth}", f"map_entries({it})"
        (_, key), (_, value) = children(source)
        (_, new_key), (_, new_value) = children(target)
        keys = self._value(f"{x}.key", key, new_key, depth + 1)
        values = self._value(f"{x}.value", value, new_value, depth + 1)
        distinct = f"list_distinct(list_transform({entries}, lambda {x}: {keys}))"
        packed = f"struct_pack(key := {keys}, value := {values})"
        return (
            f"CASE WHEN len({distinct}) = cardinality({it}) "
            f"THEN map_from_entries(list_transform({entries}, lambda {x}: {packed})) END"
        )

    def _lost_entries(
        self,
        it: str,
        source: DuckDBPyType,
        target: DuckDBPyType,
        path: str,
        depth: int,
        whole: str,
    ) -> str:
        x, (_, key), (_, new_key) = f"x{depth}", children(source)[0], children(target)[0]
        named = self._value(f"{x}.key", key, new_key, depth + 1)
        named = _quoted_key(named) if str(new_key) == "VARCHAR" else f"'[' || {named} || ']'"
        kinds = children(source)[1][1], children(target)[1][1]
        inner = self._lost(f"{x}.value", *kinds, f"{path} || {named}", depth + 1)
        inside = f"flatten(list_transform(map_entries({it}), lambda {x}: {inner}))"
        return (
            f"CASE WHEN {it} IS NOT NULL AND {self._map(it, source, target, depth)} IS NULL "
            f"THEN [{whole}] ELSE {inside if inner else _NONE} END"
        )

    def _nested_text(self, it: str, source: DuckDBPyType, depth: int) -> str:
        """A nested value as JSON text, with text in the place of its bytes."""
        if is_only_text(source):
            return f"to_json({it})::VARCHAR"
        text = duckdb.sqltype(landing_type(source, bytes_are_text=True))
        return _json(self._value(it, source, text, depth), text)


def rescued_of(lists: Sequence[str]) -> str:
    """SQL of `_lake_rescued`: the entries of all lists; NULL if there are none."""
    return _let(
        "found", f"flatten([{', '.join(lists)}])", "CASE WHEN len(found) > 0 THEN found END"
    )


def _both(kind: str, source: DuckDBPyType, target: DuckDBPyType) -> bool:
    return source.id == target.id == kind


def _reads_as(source: DuckDBPyType, target: DuckDBPyType) -> bool:
    """DuckLake cuts nanoseconds off."""
    return reads_as(str(source), str(target)) and str(source) != "TIMESTAMP_NS"


def _in_path(name: str) -> str:
    return name if is_plain_name(name) else identifier(name)


def _field(it: str, name: str) -> str:
    return f"struct_extract({it}, {literal(name)})"


def _entry(path: str, value: str, expected: DuckDBPyType | None, arrived: str) -> str:
    wanted = "NULL::VARCHAR" if expected is None else literal(str(expected))
    return (
        f"struct_pack(path := {path}, value := {value}, expected := {wanted}, "
        f"arrived := {literal(arrived)})"
    )


def _together(lists: list[str | None]) -> str | None:
    found = [f"coalesce({one}, {_NONE})" for one in lists if one]
    return f"flatten([{', '.join(found)}])" if found else None


def _as_text(it: str, source: DuckDBPyType) -> tuple[str, DuckDBPyType]:
    """What is text in truth: JSON, and what only JSON can show."""
    if str(source) == "JSON":
        return f"({it})::VARCHAR", duckdb.sqltype("VARCHAR")
    if source.id == "variant":
        text = f"CASE WHEN {it} IS NOT NULL THEN ({it})::JSON::VARCHAR END"
        return text, duckdb.sqltype("VARCHAR")
    return it, source


def _text(it: str, source: DuckDBPyType) -> str:
    if str(source) == "VARCHAR":
        return it
    return f"TRY(decode({it}))" if source.id == "blob" else f"({it})::VARCHAR"


def _json_text(it: str, source: DuckDBPyType) -> str | None:
    """The JSON that a value is, or holds, as text; `None` if it is none."""
    if source.id in NESTED:
        return _json(it, source)
    return _text(it, source) if str(source) == "VARCHAR" or source.id == "blob" else None


def _json(it: str, source: DuckDBPyType, depth: int = 0) -> str:
    """A value as JSON text: of NaN and infinity, which JSON does not have, the name."""
    return f"to_json({_jsonable(it, source, depth)})::VARCHAR"


def _jsonable(it: str, source: DuckDBPyType, depth: int) -> str:
    if not holds(source, lambda kind: str(kind) in ("FLOAT", "DOUBLE")) or (
        source.id == "struct" and is_only_text(source)
    ):
        return it
    y, inner = f"y{depth}", children(source) if source.id in NESTED else []
    if source.id == "struct":
        fields = ", ".join(
            f"{identifier(name)} := {_jsonable(_field(it, name), kind, depth)}"
            for name, kind in inner
        )
        return f"CASE WHEN {it} IS NOT NULL THEN struct_pack({fields}) END"
    if source.id == "list":
        return f"list_transform({it}, lambda {y}: {_jsonable(y, inner[0][1], depth + 1)})"
    if source.id == "map":
        value = _jsonable(f"{y}.value", inner[1][1], depth + 1)
        packed = f"struct_pack(key := {y}.key, value := {value})"
        return f"map_from_entries(list_transform(map_entries({it}), lambda {y}: {packed}))"
    return f"CASE WHEN isfinite({it}) THEN to_json({it}) ELSE to_json(({it})::VARCHAR) END"


def _is_binary(kind: DuckDBPyType) -> bool:
    """Whether it is an integer or a floating-point number."""
    return str(kind) in ("FLOAT", "DOUBLE") or bool(_INTEGERS.fullmatch(str(kind)))


def _scalar(text: str, target: DuckDBPyType) -> str:
    """A text in a type that is not nested; NULL if it is no such value."""
    kind = str(target)
    cast = f"TRY_CAST({text} AS {kind})"
    if kind == "VARCHAR":
        return text
    if kind == "BLOB":
        return f"encode({text})"
    if kind == "BOOLEAN":
        return f"CASE lower({text}) WHEN 'true' THEN true WHEN 'false' THEN false END"
    if kind in ("FLOAT", "DOUBLE"):
        return _fractional(text, kind)
    decimal = _DECIMAL.fullmatch(kind)
    if decimal or _INTEGERS.fullmatch(kind):
        fraction = rf"(\.[0-9]{{0,{decimal[1] if decimal else 0}}}0*)?"
        return f"CASE WHEN {_matches(text, _INTEGER + fraction)} THEN {cast} END"
    if kind == "TIME":
        return f"TRY_CAST(nullif(regexp_extract({text}, '^{_TIME_OF_DAY}$', 1), '') AS TIME)"
    if kind in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP", *_PARTS_OF_INSTANTS):
        return _moment(text, kind)
    return (
        cast if kind in ("UUID", "JSON") else f"CASE WHEN {cast}::VARCHAR = {text} THEN {cast} END"
    )


def _fractional(text: str, kind: str) -> str:
    """A text as the number of which DuckDB shows the same digits; with an exponent, only as it."""
    cast, exact = f"TRY_CAST({text} AS {kind})", "DECIMAL(38, 19)"
    shown = f"({cast})::VARCHAR"
    few = f"len({text}) <= {_DOUBLE_DIGITS} OR " if kind == "DOUBLE" else ""
    same = f"TRY_CAST({text} AS {exact}) = TRY_CAST({shown} AS {exact})"
    plain = "regexp_replace({}, '[eE](-?)[+]?0*', 'e\\1')"
    return (
        f"CASE WHEN {_matches(text, _SHORT)} THEN CASE WHEN {few}{same} THEN {cast} END "
        f"WHEN lower({text}) IN {_NOT_FINITE} OR (isfinite({cast}) "
        f"AND {plain.format(text)} = {plain.format(shown)}) THEN {cast} END"
    )


def _moment(text: str, kind: str) -> str:
    """A text as an instant, or as a part of one if nothing else is in it; without a zone, UTC."""
    instant = f"CASE WHEN {_matches(text, _INSTANT)} THEN TRY_CAST({text} AS TIMESTAMPTZ) END"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return instant
    if kind == "TIMESTAMP":
        return f"({instant}) AT TIME ZONE 'UTC'"
    part = f"TRY_CAST(m AS {kind})"
    kept = f"CASE WHEN {part}::TIMESTAMP = m THEN {part} END"
    return _let("m", f"({instant}) AT TIME ZONE 'UTC'", kept)


def _matches(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"


def _let(name: str, value: str, body: str) -> str:
    """SQL in which a name stands for a value, which is then neither written nor computed twice."""
    return f"list_transform([{value}], lambda {name}: {body})[1]"


def _parsed(text: str) -> str:
    """A text as JSON; NULL if it is none, or if DuckDB would change a number of it."""
    return f"CASE WHEN {keeps_numbers(text)} THEN TRY_CAST({text} AS JSON) END"


def keeps_numbers(text: str) -> str:
    """SQL that tells whether DuckDB shows all numbers of a JSON text as they are written there.

    It holds those with a fraction or an exponent as DOUBLE, which has 17 digits at most.
    """
    there, back = (_LONG_NUMBERS.format(t) for t in (text, f"TRY(json({text})::VARCHAR)"))
    return (
        f"(NOT regexp_matches({text}, '[0-9.eE+-]{{17}}') OR {there} IS NOT DISTINCT FROM {back})"
    )


def _from_json(it: str, target: DuckDBPyType, depth: int) -> str:
    """JSON in a type; NULL where that would lose something."""
    if str(target) == "VARCHAR":
        return (
            f"CASE json_type({it}) WHEN 'VARCHAR' THEN {it} ->> '$' WHEN 'NULL' THEN NULL "
            f"ELSE ({it})::VARCHAR END"
        )
    x, k = f"x{depth}", f"k{depth}"
    if target.id == "struct":
        fields = ", ".join(
            f"{identifier(name)} := {_let(x, _member(it, name), _from_json(x, kind, depth + 1))}"
            for name, kind in children(target)
        )
        return f"CASE WHEN {_is_such_json(it, target)} THEN struct_pack({fields}) END"
    if target.id == "list":
        item = _from_json(x, children(target)[0][1], depth + 1)
        items = f"list_transform(CAST({it} AS JSON[]), lambda {x}: {item})"
        return f"CASE WHEN {_is_such_json(it, target)} THEN {items} END"
    if target.id == "map" and str(children(target)[0][1]) == "VARCHAR":
        value = _let(x, _any_member(it, k), _from_json(x, children(target)[1][1], depth + 1))
        packed = f"struct_pack(key := {k}, value := {value})"
        entries = f"list_transform(json_keys({it}), lambda {k}: {packed})"
        return f"CASE WHEN {_is_such_json(it, target)} THEN map_from_entries({entries}) END"
    if target.id == "map":
        return f"NULL::{target}"
    text = f"CASE WHEN json_type({it}) NOT IN ('OBJECT', 'ARRAY', 'NULL') THEN {it} ->> '$' END"
    return _let("t", text, _scalar("t", target))


def _is_such_json(it: str, target: DuckDBPyType) -> str:
    """Whether JSON is of the kind that a type is; what it holds may not fit all the same."""
    if target.id == "list":
        return f"json_type({it}) = 'ARRAY'"
    if target.id == "struct" or (target.id == "map" and str(children(target)[0][1]) == "VARCHAR"):
        keys = f"json_keys({it})"
        return f"(json_type({it}) = 'OBJECT' AND len(list_distinct({keys})) = len({keys}))"
    return f"({_from_json(it, target, 0)}) IS NOT NULL"


def _lost_json(it: str, target: DuckDBPyType, path: str, depth: int) -> str | None:
    """SQL of a list, which may be NULL, of what `_from_json` loses; `None` if that is nothing."""
    if str(target) == "VARCHAR":
        return None
    whole = _entry(path, f"({it})::VARCHAR", target, "JSON")
    return (
        f"CASE WHEN coalesce(json_type({it}), 'NULL') = 'NULL' THEN {_NONE} "
        f"WHEN {_is_such_json(it, target)} "
        f"THEN {_lost_inside(it, target, path, depth) or _NONE} ELSE [{whole}] END"
    )


def _lost_inside(it: str, target: DuckDBPyType, path: str, depth: int) -> str | None:
    """The same for JSON that is of the kind of its target."""
    x, i, k = f"x{depth}", f"i{depth}", f"k{depth}"
    if target.id == "struct":
        names = ", ".join(literal(name) for name, _ in children(target))
        text = f"({_any_member(it, k)})::VARCHAR"
        entry = _entry(f"{path} || '.' || {_quoted_name(k)}", text, None, "JSON")
        is_other = f"{k} NOT IN ({names}) AND json_type({_any_member(it, k)}) <> 'NULL'"
        others = f"list_filter(json_keys({it}), lambda {k}: {is_other})"
        parts: list[str | None] = [f"list_transform({others}, lambda {k}: {entry})"]
        for name, kind in children(target):
            below = f"{path} || {literal('.' + _in_path(name))}"
            inner = _lost_json(x, kind, below, depth + 1)
            parts.append(inner and _let(x, _member(it, name), inner))
        return _together(parts)
    if target.id == "list":
        below = f"{path} || '[' || {i} || ']'"
        inner = _lost_json(x, children(target)[0][1], below, depth + 1)
        items = f"CAST({it} AS JSON[])"
        return inner and f"flatten(list_transform({items}, lambda {x}, {i}: {inner}))"
    if target.id == "map":
        below = f"{path} || {_quoted_key(k)}"
        inner = _lost_json(x, children(target)[1][1], below, depth + 1)
        each = inner and _let(x, _any_member(it, k), inner)
        return each and f"flatten(list_transform(json_keys({it}), lambda {k}: {each}))"
    return None


def _member(it: str, name: str) -> str:
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    return f"json_extract({it}, {literal(pointer)})"


def _any_member(it: str, key: str) -> str:
    return f"json_extract({it}, '/' || replace(replace({key}, '~', '~0'), '/', '~1'))"


def _quoted_name(name: str) -> str:
    """SQL of a name as it is written in a path."""
    quoted = f"""'"' || replace({name}, '"', '""') || '"'"""
    return f"CASE WHEN {_matches(name, '[A-Za-z_][A-Za-z0-9_]*')} THEN {name} ELSE {quoted} END"


def _quoted_key(key: str) -> str:
    """SQL of a key of a map as it is written in a path."""
    return f"""'[''' || replace({key}, '''', '''''') || ''']'"""
