"""A condition of a person, taken apart before it is asked of the lake.

It is one expression over the columns of one table, made of what is listed here. What runs is
written anew from that, with other columns in their place where another table is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from lotus_lake.errors import PermanentError, did_you_mean
from lotus_lake.sql import identifier

ASKED = "asked"  # what a condition calls the table that it is asked of
_HINT = 'such as --where "order_id = 1001"; put text in single quotes'
_CHARACTERS = 10_000
_SHOWN = 100
_PARTS = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is,
    exp.NullSafeEQ, exp.NullSafeNEQ, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike,
    exp.Column, exp.Identifier, exp.Dot, exp.Literal, exp.Null, exp.Boolean, exp.Interval, exp.Var,
    exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.DPipe, exp.Tuple,
    exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam,
    exp.Lower, exp.Upper, exp.Trim, exp.Length, exp.StartsWith, exp.Contains, exp.Abs, exp.Round,
    exp.Coalesce, exp.TimestampTrunc, exp.DateTrunc, exp.Year, exp.Month, exp.Day,
    exp.CurrentDate, exp.CurrentTimestamp,
)  # fmt: skip
_TRUTHS = (
    exp.Connector, exp.Predicate, exp.Not, exp.Boolean, exp.StartsWith, exp.Contains,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition over some columns of a table.

    Attributes:
        columns: The columns, in alphabetical order.
    """

    columns: tuple[str, ...]
    _tree: exp.Expr

    def sql(self, places: Mapping[str, tuple[str, ...]] | None = None) -> str:
        """The condition as SQL over a table called `asked`.

        Args:
            places: Where each of its columns is in the table: a column, and fields below it. By
                default in the column of that name.
        """

        def placed(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Column):
                return node
            path = places[node.name] if places else (node.name,)
            return exp.Dot.build([exp.to_identifier(n, quoted=True) for n in (ASKED, *path)])

        return self._tree.transform(placed).sql(dialect="duckdb", comments=False)


def read_condition(text: str, table: str, columns: Collection[str]) -> Condition:
    """Take a condition apart.

    Args:
        text: SQL from anywhere.
        table: The table that it is asked of.
        columns: Columns of that table.

    Raises:
        PermanentError: It is more than a condition over these columns; the text says what.
    """
    tree = _parsed(text)
    _refuse_others(tree)
    truth = tree.unnest()
    tree = tree.transform(lambda node: _known_column(node, table, columns))
    if not isinstance(truth, _TRUTHS):
        raise PermanentError(f"{text!r} is a value, not a condition", hint=_HINT)
    names = {column.name for column in tree.find_all(exp.Column)}
    return Condition(tuple(sorted(names)), tree)


def _parsed(text: str) -> exp.Expr:
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    if len(text) > _CHARACTERS:
        raise PermanentError(f"the condition {shown} is longer than {_CHARACTERS} characters")
    try:
        statements = text.rstrip().rstrip(";")
        kinds = [token.token_type for token in sqlglot.tokenize(statements, dialect="duckdb")]
        if not kinds:
            raise PermanentError("the condition is empty", hint=_HINT)
        if TokenType.SEMICOLON in kinds:
            raise PermanentError(
                f"{shown} has several statements, but has to be one condition", hint=_HINT
            )
        duckdb = sqlglot.Dialect.get_or_raise("duckdb")
        (tree,) = duckdb.parse_into(exp.Condition, statements)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise PermanentError(
            f"{shown} is not a condition: it has to be one expression", hint=_HINT
        ) from error
    if tree is None:
        raise PermanentError(f"{shown} is not a condition", hint=_HINT)
    return tree


def _refuse_others(tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, _PARTS) or (isinstance(node, exp.Anonymous) and node.name == "now"):
            continue
        if isinstance(node, exp.Query | exp.Subquery | exp.Exists | exp.From | exp.Table):
            raise PermanentError(
                f"the condition contains a query: {node.sql(dialect='duckdb')}",
                hint="conditions compare columns of one table; `lotus-lake query` takes any query",
            )
        if isinstance(node, exp.Func):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name().lower()
            raise PermanentError(
                f"the condition calls {name}, which is not allowed here",
                hint="it may compare, calculate, cast, and use a few functions such as lower",
            )
        raise PermanentError(
            f"{node.sql(dialect='duckdb')!r} cannot be part of a condition", hint=_HINT
        )


def _known_column(node: exp.Expr, table: str, columns: Collection[str]) -> exp.Expr:
    """A column by its own name; fields below it become a chain of dots."""
    if not isinstance(node, exp.Column):
        return node
    names = [part.name for part in node.parts]
    known = {name.lower(): name for name in columns}
    if names[0].lower() not in known and names[0].lower() == table.lower():
        names = names[1:]
    if not names or names[0].lower() not in known:
        name = ".".join(names) or table
        raise PermanentError(f"{table} has no column {name!r}: {did_you_mean(name, columns)}")
    column = exp.column(exp.to_identifier(known[names[0].lower()], quoted=True))
    fields = [exp.to_identifier(name, quoted=True) for name in names[1:]]
    return exp.Dot.build([column, *fields]) if fields else column


def quoted(path: tuple[str, ...]) -> str:
    """A column, and fields below it, of a table called `asked`."""
    return identifier(ASKED, *path)
