"""TPC-H: its eight tables as DuckDB generates them, its 22 queries and their published answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_tpch

from lotus_lake.sql import identifier, literal

SOURCE = "tpch"
PUBLISHED_SCALES = (0.01, 0.1, 1.0)
MEMORY_LIMIT = "2GiB"


@dataclass(frozen=True, slots=True)
class Table:
    """One of TPC-H's tables.

    Attributes:
        name: Name of the table and the stream.
        key: Its primary key.
        parts: Files that each sync of it writes.
    """

    name: str
    key: tuple[str, ...]
    parts: int = 1

    @property
    def model(self) -> str:
        """Name of the processed table."""
        return f"int_{SOURCE}__{self.name}"


ORDERS = Table("orders", ("o_orderkey",), parts=3)
TABLES = (
    Table("region", ("r_regionkey",)),
    Table("nation", ("n_nationkey",)),
    Table("supplier", ("s_suppkey",)),
    Table("customer", ("c_custkey",)),
    Table("part", ("p_partkey",)),
    Table("partsupp", ("ps_partkey", "ps_suppkey"), parts=2),
    ORDERS,
    Table("lineitem", ("l_orderkey", "l_linenumber"), parts=6),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """The generated tables, which is what the lake has to hold in the end.

    Attributes:
        file: The database they are in.
        scale: The scale factor, 1 for about 1 GB.
    """

    file: Path
    scale: float

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open the database."""
        con = duckdb.connect(self.file)
        con.execute(f"SET memory_limit = {literal(MEMORY_LIMIT)}; SET threads = 2")
        con.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        return con


def load_extension(con: duckdb.DuckDBPyConnection) -> None:
    """Load DuckDB's extension `tpch` from its wheel."""
    (file,) = Path(duckdb_extension_tpch.__file__).parent.glob(
        f"extensions/v{duckdb.__version__}/tpch.duckdb_extension"
    )
    con.execute(f"LOAD {literal(str(file))}")


def generate(file: Path, scale: float) -> Truth:
    """Generate the tables into a new database."""
    truth = Truth(file, scale)
    with truth.connect() as con:
        load_extension(con)
        con.execute(f"CALL dbgen(sf = {scale})")
    return truth


def columns(con: duckdb.DuckDBPyConnection, *table: str) -> dict[str, str]:
    """Columns of a table, each with its type without precision."""
    described = con.execute(f"DESCRIBE {identifier(*table)}").fetchall()
    return {name: kind.partition("(")[0] for name, kind, *_ in described}


def wrong_answers(con: duckdb.DuckDBPyConnection, scale: float) -> Iterator[str]:
    """Run the queries over the tables of a connection; tells what is not as published."""
    published = con.execute(
        "SELECT query_nr, query, answer FROM tpch_queries() JOIN tpch_answers() USING (query_nr) "
        "WHERE scale_factor = ? ORDER BY query_nr",
        [scale],
    ).fetchall()
    assert [number for number, *_ in published] == list(range(1, 23))
    for number, query, answer in published:
        expected = [line.split("|") for line in answer.removesuffix("\n").split("\n")[1:]]
        found = con.execute(query).fetchall()
        if len(found) != len(expected):
            yield f"query {number}: {len(found)} rows, published are {len(expected)}"
        for place, (row, line) in enumerate(zip(found, expected, strict=False), start=1):
            if not all(map(_is_published, row, line)) or len(row) != len(line):
                yield f"query {number}, row {place}: {row}, published is {line}"
                break


def _is_published(value: Any, text: str) -> bool:
    """Whether a value is the published one: numbers by value, however many zeros they end in."""
    if value is None:
        return text == ""
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value)) == Decimal(text)
    return str(value) == text
