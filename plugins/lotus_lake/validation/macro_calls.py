"""Calls of macros and columns of CTEs in the SQL of a model, which dbt's manifest does not have.

Jinja's own parser finds the calls. For SQLGlot every other expression of the template becomes a
subquery of unknown columns, which stands wherever SQL takes a value, a table or a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import sqlglot
from jinja2 import nodes
from sqlglot import exp
from sqlglot.errors import SqlglotError

_ANYTHING = "(select *)"
_ENVIRONMENT = jinja2.Environment(autoescape=False, extensions=["jinja2.ext.do"])  # noqa: S701  parsed, never rendered


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a macro whose arguments are literals.

    Attributes:
        arguments: By the names of the macro's parameters.
        line: Where it is, counted from 1.
    """

    arguments: Mapping[str, Any]
    line: int


def macro_calls(code: str, macro: str, *parameters: str) -> list[Call]:
    """Calls of a macro, except for those with an argument that only dbt can work out."""
    return [call for node in _calls(code, macro) if (call := _literal_call(node, parameters))]


def config_line(code: str) -> int:
    """Where a model calls `config`, counted from 1; 0 if it does not."""
    return next((node.lineno for node in _calls(code, "config")), 0)


def listed_columns(code: str, cte: str) -> set[str] | None:
    """Names of a CTE's columns; `None` if the text does not list each of them by name.

    The columns of `select * from` another CTE, and of `convert` of it, are that CTE's.
    """
    try:
        tree = sqlglot.parse_one(_sql(code), dialect="duckdb")
    except (SqlglotError, RecursionError):
        return None
    ctes = {found.alias: found.this.unnest() for found in tree.find_all(exp.CTE)}
    return _columns(ctes, cte)


def _columns(ctes: Mapping[str, exp.Expr], cte: str) -> set[str] | None:
    query = ctes.get(cte)
    if not isinstance(query, exp.Query):
        return None
    columns = query.selects
    others = {name: found for name, found in ctes.items() if name != cte}
    of_star = _columns(others, _only_source(query)) if any(map(_is_star, columns)) else set()
    own = [column for column in columns if not _is_star(column)]
    if not columns or of_star is None or any(_is_unlisted(column) for column in own):
        return None
    return of_star | {column.alias_or_name.lower() for column in own}


def _is_star(column: exp.Expr) -> bool:
    """Whether it stands for all columns of a query's inputs, with their names."""
    return isinstance(column, exp.Star) and not (
        column.args.get("except_") or column.args.get("rename")
    )


def _only_source(query: exp.Expr) -> str:
    """What a SELECT reads, where that is one table or CTE; empty otherwise."""
    source = query.args.get("from_")
    if not isinstance(source, exp.From) or query.args.get("joins"):
        return ""
    return source.name if isinstance(source.this, exp.Table) else ""


def _is_unlisted(column: exp.Expr) -> bool:
    """Whether it has no name, or stands for several columns."""
    return column.alias_or_name in ("", "*") or column.find(exp.Columns) is not None


def _template(code: str) -> nodes.Template:
    try:
        return _ENVIRONMENT.parse(code)
    except (jinja2.TemplateSyntaxError, RecursionError):
        return nodes.Template([], lineno=1)


def _calls(code: str, macro: str) -> Iterator[nodes.Call]:
    return (node for node in _template(code).find_all(nodes.Call) if _name(node) == macro)


def _name(node: nodes.Node) -> str | None:
    called = node.node if isinstance(node, nodes.Call) else None
    return called.name if isinstance(called, nodes.Name) else None


def _literal_call(node: nodes.Call, parameters: Sequence[str]) -> Call | None:
    values = dict(zip(parameters, node.args, strict=False))
    values |= {keyword.key: keyword.value for keyword in node.kwargs}
    try:
        return Call({name: value.as_const() for name, value in values.items()}, node.lineno)
    except nodes.Impossible:
        return None


def _sql(code: str) -> str:
    """The SQL of a template, with all branches of its conditions."""
    return "".join(
        part.data if isinstance(part, nodes.TemplateData) else _standin(part)
        for output in _template(code).find_all(nodes.Output)
        for part in output.nodes
    )


def _standin(part: nodes.Expr) -> str:
    if isinstance(part, nodes.Call) and _name(part) == "convert":
        converted = _literal_call(part, ("rows",))
        return (
            f"(select *, null as _lake_bad_values from {converted.arguments['rows']})"
            if converted
            else _ANYTHING
        )
    return "" if _name(part) == "config" else _ANYTHING
