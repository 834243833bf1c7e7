"""Where the columns of a model come from, read off its SQL: no lake, and no guess.

SQLGlot says what each name in a query refers to. From there two questions are answered: which
columns of the tables that a model reads a column is computed from, and which columns of those
tables it carries unchanged, so that rows of both can be matched. What is not understood is an
error that names it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.tokenizer_core import TokenType

from lotus_lake.errors import PermanentError

# A column, and the fields below it.
Path = tuple[str, ...]
# Columns of tables by schema and name.
Tables = Mapping[str, Mapping[str, Collection[str]]]

# Columns that DuckLake's tables have without declaring them.
_VIRTUAL = {"rowid", "snapshot_id", "filename", "file_row_number", "file_index"}
# A column of what stands in FROM: its name there, and the path.
_Place = tuple[str, Path]


class UnresolvedLineageError(PermanentError):
    """The SQL of a model does not show where a column comes from."""


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A column of a table, or a field in it."""

    table: str
    path: Path

    def __str__(self) -> str:
        """As people write it."""
        return ".".join((self.table, *self.path))


@dataclass(frozen=True, slots=True)
class Input:
    """A table that a model reads, in one place of its SQL.

    Attributes:
        table: Its name.
        carried: Columns of the model whose value is that of a column of the table, unchanged, in
            each row that is made from it; joined and grouped columns are among them.
    """

    table: str
    carried: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Query:
    """The SQL of a model, taken apart.

    Attributes:
        ctes: Its WITH clause as it is written; empty without one.
        tables: Schema and name of the tables that it reads; the schema is empty if it names none.
    """

    ctes: str
    tables: frozenset[tuple[str, str]]


def read_query(model: str, sql: str) -> Query:
    """Take the SQL of a model apart.

    Raises:
        UnresolvedLineageError: SQLGlot does not understand it.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
        tables = {(found.db, found.name) for found in tree.find_all(exp.Table)}
        return Query(_with_clause(sql), frozenset(tables))
    except (SqlglotError, RecursionError, ValueError) as error:
        raise UnresolvedLineageError(f"{model}: its SQL cannot be analysed: {error}") from error


def _with_clause(sql: str) -> str:
    """Everything before the SELECT of the query itself."""
    depth = 0
    for token in sqlglot.tokenize(sql, dialect="duckdb"):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth == 0 and token.token_type in (TokenType.SELECT, TokenType.FROM):
            return sql[: token.start]
    return ""


class ModelLineage:
    """Where the columns of one model come from.

    Args:
        model: Its name, for errors.
        sql: Its SQL, as dbt compiles it.
        tables: Columns of the tables that it reads; a table may be absent if no `*` asks for it.

    Raises:
        UnresolvedLineageError: It is not a query that SQLGlot understands.
    """

    def __init__(self, model: str, sql: str, tables: Tables) -> None:
        self._model = model
        try:
            tree = sqlglot.parse_one(sql, dialect="duckdb")
            known: dict[str, object] = {
                schema: {name: dict.fromkeys(columns, "unknown") for name, columns in named.items()}
                for schema, named in tables.items()
                if named
            }
            qualified = qualify(
                tree, dialect="duckdb", schema=known, validate_qualify_columns=False
            )
            scope = build_scope(qualified)
        except (SqlglotError, RecursionError, ValueError) as error:
            raise self._unresolved(f"its SQL cannot be analysed: {error}") from error
        if scope is None or not isinstance(scope.expression, exp.Query):
            raise self._unresolved("it is not a query")
        if any(found.recursive for found in tree.find_all(exp.With)):
            raise self._unresolved("a recursive CTE is not followed")
        if found := tree.find(exp.Pivot):
            raise self._unresolved(f"it has a pivot: {_short(found)}")
        self._scope: Scope = scope
        self._open: list[tuple[int, str]] = []

    @property
    def columns(self) -> list[str]:
        """Names of its columns; an error if a `*` hides them."""
        names = _names(self._scope)
        if "*" in names:
            raise self._unresolved("its `*` reads a table whose columns are not known")
        return names

    def origins(self, column: str) -> list[Origin]:
        """Columns of the tables it reads that a column is computed from; none for a constant.

        What joins and conditions compare is not among them; the order of a window is.

        Raises:
            UnresolvedLineageError: They cannot be found out.
        """
        return sorted(set(self._origins(self._scope, (column.lower(),))))

    def inputs(self) -> list[Input]:
        """The tables it reads values from, in each place; those that only choose rows are not.

        Raises:
            UnresolvedLineageError: They cannot be found out.
        """
        names: dict[Path, frozenset[str]] = {(name,): frozenset((name,)) for name in self.columns}
        return list(self._inputs(self._scope, names))

    def holder(self, columns: Collection[str]) -> str | None:
        """The last CTE of the query that has these columns."""
        wanted = {column.lower() for column in columns}
        names = [
            str(scope.expression.parent.alias)
            for scope in self._scope.cte_scopes
            if scope.expression.parent and wanted <= {*_names(scope)}
        ]
        return names[-1] if names else None

    def _unresolved(self, why: str) -> UnresolvedLineageError:
        return UnresolvedLineageError(f"{self._model}: {why}")

    def _origins(self, scope: Scope, path: Path) -> Iterator[Origin]:
        mark = (id(scope), path[0])
        if mark in self._open:
            raise self._unresolved(f"column {path[0]} is computed from itself")
        self._open.append(mark)
        try:
            for branch, expression in self._projections(scope, path[0]):
                place = _place(expression)
                if place and place[0]:
                    yield from self._of_place(branch, (place[0], (*place[1], *path[1:])))
                else:
                    yield from self._of_expression(branch, expression)
        finally:
            self._open.pop()

    def _projections(self, scope: Scope, name: str) -> Iterator[tuple[Scope, exp.Expr]]:
        """What a column of a query is, in each query of a union."""
        own = _names(scope)
        if name not in own:
            raise self._unresolved(f"no column {name} in {_short(scope.expression)}")
        if not isinstance(scope.expression, exp.SetOperation):
            yield scope, _query(scope).selects[own.index(name)].unalias()
            return
        for branch in _branches(scope):
            columns = _names(branch)
            if scope.expression.args.get("by_name"):
                if name in columns:
                    yield from self._projections(branch, name)
            elif own.index(name) < len(columns):
                yield from self._projections(branch, columns[own.index(name)])
            else:
                raise self._unresolved(f"no column {name} in {_short(branch.expression)}")

    def _of_expression(self, scope: Scope, expression: exp.Expr) -> Iterator[Origin]:
        inner = [query for query in expression.find_all(exp.Query) if query is not expression]
        outermost = [query for query in inner if not _is_below(query, inner)]
        for query in outermost:
            yield from self._of_subquery(scope, query)
        for column in expression.find_all(exp.Column):
            if not _is_below(column, outermost):
                yield from self._of_place(scope, _path_of(column))

    def _of_subquery(self, scope: Scope, query: exp.Query) -> Iterator[Origin]:
        for found in scope.subquery_scopes:
            if found.expression is query.unnest():
                for name in _names(found):
                    yield from self._origins(found, (name,))
                return
        raise self._unresolved(f"the query {_short(query)} cannot be analysed")

    def _of_place(self, scope: Scope, place: _Place) -> Iterator[Origin]:
        name, path = place
        source = self._source(scope, name, path)
        if isinstance(source, Scope):
            if isinstance(source.expression, exp.Query):
                yield from self._origins(source, path)
            else:  # such as unnest: each of its columns is made of all that it is given
                yield from self._of_expression(scope, source.expression)
            return
        yield Origin(self._table(source), path)

    def _source(self, scope: Scope, name: str, path: Path) -> exp.Expr | Scope:
        """What a name in front of a column stands for, in a query or in those around it."""
        reads: Scope | None = scope
        if not name:
            tables = [source for _, source in scope.selected_sources.values()]
            if path[0] in _VIRTUAL and len(tables) == 1 and isinstance(tables[0], exp.Table):
                return tables[0]
            raise self._unresolved(f"which table has {path[0]} in {_short(scope.expression)}?")
        while reads is not None:
            if name in reads.selected_sources:
                return reads.selected_sources[name][1]
            reads = reads.parent
        raise self._unresolved(f"no table {name} in {_short(scope.expression)}")

    def _table(self, source: exp.Expr) -> str:
        if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
            raise self._unresolved(f"it reads {_short(source)}, which is not a table")
        return str(source.name)

    def _inputs(self, scope: Scope, names: Mapping[Path, frozenset[str]]) -> Iterator[Input]:
        if isinstance(scope.expression, exp.SetOperation):
            outer = _names(scope)
            by_name = scope.expression.args.get("by_name")
            for branch in _branches(scope):
                own = dict(zip(outer, outer if by_name else _names(branch), strict=False))
                yield from self._inputs(
                    branch, {(own[p[0]], *p[1:]): n for p, n in names.items() if p[0] in own}
                )
            return
        held = _held(scope, names)
        for name, (_, source) in scope.selected_sources.items():
            if name in scope.semi_or_anti_join_tables:
                continue
            here = {path: columns for (where, path), columns in held.items() if where == name}
            if not isinstance(source, Scope):
                carried = {column: path for path, found in here.items() for column in found}
                yield Input(self._table(source), carried)
            elif isinstance(source.expression, exp.Query):
                yield from self._inputs(source, here)
        for inner in scope.subquery_scopes:
            if _is_below(inner.expression, _query(scope).selects):
                yield from self._inputs(inner, {})


def _held(scope: Scope, names: Mapping[Path, frozenset[str]]) -> dict[_Place, frozenset[str]]:
    """Which columns of what a query reads are, unchanged, which columns of the model."""
    equal = _equal_places(scope.expression)
    columns = {str(select.alias_or_name): select.unalias() for select in _query(scope).selects}
    held: dict[_Place, frozenset[str]] = {}
    for path, found in names.items():
        expression = columns.get(path[0])
        place = _place(expression) if expression is not None else None
        if place is None and isinstance(expression, exp.Coalesce):
            places = [_place(part) for part in (expression.this, *expression.expressions)]
            if all(other in equal.get(places[0], ()) for other in places):  # type: ignore[arg-type]
                place = places[0]
        if place is None:
            continue
        for name, inner in equal.get(place, {place}):
            at = (name, (*inner, *path[1:]))
            held[at] = held.get(at, frozenset()) | found
    return held


def _equal_places(query: exp.Expr) -> dict[_Place, set[_Place]]:
    """Columns that joins and conditions of a query make equal, each with all that equal it."""
    conditions = [join.args.get("on") for join in query.args.get("joins") or ()]
    where = query.args.get("where")
    conditions.append(where.this if where else None)
    equal: dict[_Place, set[_Place]] = {}
    for condition in filter(None, conditions):
        for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
            places = (_place(part.left), _place(part.right)) if isinstance(part, exp.EQ) else ()
            if len(places) == 2 and places[0] and places[1]:
                together = equal.get(places[0], {places[0]}) | equal.get(places[1], {places[1]})
                equal |= dict.fromkeys(together, together)
    return equal


def _place(expression: exp.Expr | None) -> _Place | None:
    """The column, or field of one, that an expression is; `None` if it is more than that."""
    while isinstance(expression, exp.Paren):
        expression = expression.this
    if isinstance(expression, exp.Column):
        return str(expression.table), (str(expression.name),)
    if isinstance(expression, exp.Dot) and isinstance(expression.expression, exp.Identifier):
        below = _place(expression.this)
        return (below[0], (*below[1], str(expression.name))) if below else None
    return None


def _path_of(column: exp.Column) -> _Place:
    """A column with the fields that are taken of it."""
    whole: exp.Expr = column
    while isinstance(whole.parent, exp.Dot) and whole.parent.this is whole:
        if _place(whole.parent) is None:
            break
        whole = whole.parent
    return _place(whole) or (str(column.table), (str(column.name),))


def _branches(scope: Scope) -> list[Scope]:
    """The queries of a set operation whose rows it can return."""
    only_first = isinstance(scope.expression, exp.Except)
    return scope.set_operation_scopes[:1] if only_first else scope.set_operation_scopes


def _query(scope: Scope) -> exp.Query:
    """The query of a scope that is one."""
    return cast(exp.Query, scope.expression)


def _names(scope: Scope) -> list[str]:
    return [str(name) for name in _query(scope).named_selects]


def _is_below(node: exp.Expr, others: Collection[exp.Expr]) -> bool:
    """Whether a node is part of one of the others, and not one of them."""
    above = node.parent
    while above is not None:
        if any(above is other for other in others):
            return True
        above = above.parent
    return False


def _short(expression: exp.Expr) -> str:
    text = " ".join(expression.sql(dialect="duckdb").split())
    return text if len(text) <= 80 else f"{text[:77]}..."
