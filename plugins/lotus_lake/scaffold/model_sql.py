"""The SQL of a processed model."""

from __future__ import annotations

from collections.abc import Sequence

from lotus_lake.config.stream_config import DELETED_AT
from lotus_lake.config.streams import Stream
from lotus_lake.scaffold.columns import ModelColumns

WIDTH = 100
_INDENT = " " * 8


def model_sql(stream: Stream, model: ModelColumns) -> str:
    """Text of `int_{source}__{stream}.sql`: new rows, renamed and cast, and the newest per key."""
    columns = ",\n".join(
        [_selected(column.expression, column.name) for column in model.columns]
        + [f"{_INDENT}{{{{ deleted_at('{DELETED_AT}') }}}} as _deleted_at"]
        * stream.config.tells_deletes
        + [
            f"{_INDENT}_airbyte_extracted_at",
            f"{_INDENT}_airbyte_raw_id",
            f"{_INDENT}{{{{ {model.cursor} }}}} as _source_updated_at",
            *([f"{_INDENT}{{{{ {model.log} }}}} as _log_position"] if model.log else []),
            f"{_INDENT}_lake_snapshot_id",
            f"{_INDENT}_lake_row_id",
        ]
    )
    rows = "converted" if model.converted else "renamed"
    return f"""\
{config_call(stream, model.key)}

with landed as not materialized (
    select * from {{{{ landed_rows('{stream.source}', '{stream.name}') }}}}
),

renamed as not materialized (
    select
{columns}
    from landed
),

{_converted(model)}newest as (
    {{{{ newest_wins('{rows}', '{", ".join(model.key)}') }}}}
)

select * from newest
"""


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


def config_call(stream: Stream, key: Sequence[str]) -> str:
    """The model's config: its key, its tag, and what follows from the stream's config."""
    names = [f"'{name}'" for name in key]
    arguments = [
        f"unique_key={names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}",
        f"tags=['{stream.id}']",
    ]
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
