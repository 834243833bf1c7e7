"""The SQL of a processed model, and of the history beside it."""

from __future__ import annotations

from collections.abc import Sequence

from lotus_lake.config.stream_config import DELETED_AT
from lotus_lake.config.streams import Stream
from lotus_lake.landing.conversion import RESCUED
from lotus_lake.scaffold.columns import ModelColumns

WIDTH = 100
_INDENT = " " * 8


def model_sql(stream: Stream, model: ModelColumns) -> str:
    """Text of `int_{source}__{stream}.sql`: new rows, renamed and cast, and the newest per key."""
    rows, ctes = _ctes(stream, model)
    return f"""\
{config_call(stream, model.key)}

{ctes}newest as (
    {{{{ newest_wins('{rows}', '{", ".join(model.key)}') }}}}
)

select * from newest
"""


def history_sql(stream: Stream, model: ModelColumns) -> str:
    """Text of `hist_{source}__{stream}.sql`: the same rows, and every version of each record."""
    rows, ctes = _ctes(stream, model, is_history=True)
    apart = "".join(f"\n        '{column.name}'," for column in model.of_log)
    named = f", apart_from=[{apart}\n    ]" if apart else ""
    return f"""\
{config_call(stream, model.key, is_history=True)}

{ctes}history as (
    {{{{ versions('{rows}', '{", ".join(model.key)}'{named}) }}}}
)

select * from history
"""


def _ctes(stream: Stream, model: ModelColumns, *, is_history: bool = False) -> tuple[str, str]:
    """The CTEs that read, rename and cast, and the name of the last one."""
    tells = stream.config.tells_deletes
    deleted = {"_deleted_at": f"deleted_at('{DELETED_AT}')"} if tells else {}
    columns = ",\n".join(
        [_selected(column.expression, column.name) for column in model.columns]
        + [
            f"{_INDENT}{{{{ {call} }}}} as {name}" if call else f"{_INDENT}{name}"
            for name, call in {
                **deleted,
                "_airbyte_extracted_at": "",
                "_airbyte_raw_id": "",
                "_source_updated_at": model.cursor,
                **({"_source_changed_at": model.changed} if is_history else {}),
                **({"_log_position": model.log} if model.log else {}),
                RESCUED: "",
                "_lake_snapshot_id": "",
                "_lake_row_id": "",
            }.items()
        ]
    )
    return (
        "converted" if model.converted else "renamed",
        f"""\
with landed as not materialized (
    select * from {{{{ landed_rows('{stream.source}', '{stream.name}') }}}}
),

renamed as not materialized (
    select
{columns}
    from landed
),

{_converted(model)}""",
    )


def _converted(model: ModelColumns) -> str:
    """The CTE that casts, so that a bad value stops nothing; nothing where nothing is cast."""
    if not model.converted:
        return ""
    types = "".join(f"        '{c.name}': '{c.type}',\n" for c in model.converted)
    return f"""\
converted as not materialized (
    {{{{ convert('renamed', {{
{types}    }}) }}}}
),

"""


def config_call(stream: Stream, key: Sequence[str], *, is_history: bool = False) -> str:
    """The model's config: its key, its tag, and what follows from the stream's config."""
    names = [f"'{name}'" for name in key]
    arguments = [
        f"unique_key={names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}",
        f"tags=['{stream.id}']",
    ]
    if is_history:
        arguments.insert(0, "incremental_strategy='versions'")
    if str(stream.config.destination_sync_mode) == "overwrite":
        # The landing table, too, no longer holds records that the source has deleted.
        arguments.insert(0, "materialized='table'")
    meta = {"deletes": str(stream.config.deletes)} if stream.config.tells_deletes else {}
    if stream.config.log:
        meta["order"] = "log"
    if meta:
        arguments.append(f"meta={meta}")
    line = f"{{{{ config({', '.join(arguments)}) }}}}"
    if len(line) <= WIDTH:
        return line
    return "{{ config(\n" + "".join(f"    {argument},\n" for argument in arguments) + ") }}"


def _selected(expression: str, name: str) -> str:
    """A column of the select list; on two lines where one would be too long."""
    if expression.rpartition(".")[2] == name:
        return f"{_INDENT}{expression}"
    line = f"{_INDENT}{expression} as {name}"
    if len(line) + 1 <= WIDTH:
        return line
    return f"{_INDENT}{expression}\n{_INDENT}    as {name}"
