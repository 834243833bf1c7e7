"""A processed model without dbt: the project's own macros, rendered by plain Jinja.

One run does what dbt does for an incremental model, in one transaction: the pre-hooks, the query, a
first table or what the project's strategy makes of the new rows, and the post-hooks.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import yaml

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, META, Lake

PROJECT = Path(__file__).resolve().parents[2] / "include" / "dbt"
_MODEL = """
with landed as not materialized (
    select * from {{ landed_rows(source_name, stream_name) }}
),

renamed as not materialized (
    select
        id as order_id,
        status,
        amount,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated_at') }} as _source_updated_at,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'order_id') }}
)

select * from newest
"""
_CONFIG = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["models"][
    "lotus_lake"
]["processed"]


def model(stream: Stream) -> str:
    """Name of the model that reads a stream."""
    return f"int_{stream.id}"


def history(stream: Stream) -> str:
    """Name of the model that has every version of a stream's records."""
    return f"hist_{stream.id}"


def process(
    lake: Lake,
    stream: Stream,
    query: str = _MODEL,
    key: str | list[str] = "order_id",
    *,
    strategy: str = _CONFIG["+incremental_strategy"],
    full_refresh: bool = False,
    **meta: Any,
) -> None:
    """One run of the model, or of another one with its own query, key, strategy and `meta`."""
    name = history(stream) if strategy == "versions" else model(stream)
    table = f"{LAKE}.main.{name}"
    config = _Config(unique_key=key, incremental_strategy=strategy, meta=meta)

    def unit() -> None:
        exists = name in lake.tables("main") and not full_refresh

        def run(*hooks: str) -> None:
            for hook in hooks:
                if text := _render(lake, stream, name, exists, hook, config).strip():
                    lake.con.execute(text)

        run(*_CONFIG["+pre-hook"])
        rows = _render(lake, stream, name, exists, query, config)
        if not exists:
            lake.con.execute(f"CREATE OR REPLACE TABLE {table} AS {rows}")
        else:
            lake.con.execute(f"CREATE OR REPLACE TEMP TABLE increment AS {rows}")
            call = f"get_incremental_{strategy}_sql"
            relations = f"{{'target_relation': '{table}', 'temp_relation': 'increment'}}"
            run(f"{{{{ {call}({relations}) }}}}")
        run(*(hook for hook in _CONFIG["+post-hook"] if not _asks_dbt(hook)))

    lake.commit(f"{name}: process", unit)


def read(lake: Lake, stream: Stream, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query with calls of the macros, as an enriched model has it."""
    return lake.rows(_render(lake, stream, "fct_any", False, query, _Config()))


def rows(lake: Lake, stream: Stream) -> list[tuple[int, str, str, float]]:
    """The processed table, in the order of its key; empty while there is none."""
    try:
        return lake.rows(
            f"SELECT order_id, _airbyte_raw_id, status, amount FROM {LAKE}.main.{model(stream)} "
            "ORDER BY ALL"
        )
    except duckdb.CatalogException:
        return []


def digest(lake: Lake, stream: Stream) -> str:
    """Hash of the processed table, of all that does not tell when a row has landed."""
    columns = f"SELECT * EXCLUDE (_lake_snapshot_id) FROM {LAKE}.main.{model(stream)}"
    return str(
        lake.value(
            f"SELECT md5(string_agg(t::VARCHAR, '\n' ORDER BY t::VARCHAR)) FROM ({columns}) t"
        )
    )


def watermark(lake: Lake, stream: Stream) -> int:
    """Snapshot up to which the model has read; -1 before its first run."""
    try:
        mark = lake.value(f"SELECT snapshot_id_to FROM {META}.watermark_{model(stream)}")
    except duckdb.CatalogException:
        return -1
    return int(mark)


def kept_out(stream: Stream) -> str:
    """The table of the versions that readers do not see."""
    return f"{META}.kept_out_{model(stream)}"


def _render(lake: Lake, stream: Stream, name: str, exists: bool, text: str, config: _Config) -> str:
    def run_query(query: str) -> Any:
        found = lake.rows(query)
        return SimpleNamespace(rows=found, columns=list(zip(*found, strict=True)))

    def window_start_exists() -> bool:
        return lake.value("SELECT getvariable('landed_start')") is not None

    # dbt's own words, as far as the macros use them.
    words = {
        "this": _Relation(LAKE, "main", name),
        "source": lambda *_: _Relation(LAKE, "staging", stream.landing_table),
        "config": config,
        "model": SimpleNamespace(resource_type="model"),
        "flags": SimpleNamespace(WHICH="run"),
        "execute": True,
        "is_incremental": lambda: exists,
        "var": lambda _name, default: default,
        "run_query": run_query,
        # A macro that answers other than with text needs dbt's Jinja.
        "window_start_exists": window_start_exists,
        "has_run_before": lambda: False,
        "has_text_key": lambda: False,
        "source_name": stream.source,
        "stream_name": stream.name,
    }
    return _template(text).render(words)


@functools.cache
def _template(text: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(_MACROS + text)


def _asks_dbt(hook: str) -> bool:
    """Whether a hook changes nothing and asks what only dbt knows."""
    return "audit" in hook or "warn_of" in hook


class _Config(dict[str, Any]):
    """dbt's `config`: a call of it prints nothing."""

    def __call__(self, **_: Any) -> str:
        return ""


class _Relation(SimpleNamespace):
    def __init__(self, database: str, schema: str, identifier: str) -> None:
        super().__init__(database=database, schema=schema, identifier=identifier)

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}.{self.identifier}"


_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, extensions=["jinja2.ext.do"]
)
_MACROS = "".join(
    path.read_text(encoding="utf-8")
    for path in sorted((PROJECT / "macros").glob("*.sql"))
    if path.stem != "audit"
)
for _name in ("window_start_exists", "has_run_before", "has_text_key"):
    _MACROS = _MACROS.replace(f"macro {_name}()", f"macro {_name}_in_dbt()")
assert "macro window_start_exists_in_dbt()" in _MACROS
