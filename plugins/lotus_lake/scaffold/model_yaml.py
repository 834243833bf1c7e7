"""The YAML of a processed model, or of a history: its columns, and tests of its key."""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.landing.conversion import RESCUED, RESCUED_TYPE
from lotus_lake.scaffold import naming
from lotus_lake.scaffold.columns import Column, ModelColumns
from lotus_lake.scaffold.describing import described
from lotus_lake.scaffold.yaml_text import entry, prose, scalar

_MOMENT = "timestamp with time zone"
# processed.md describes the bookkeeping columns once for all models.
_BOOKKEEPING = {
    "_deleted_at": (_MOMENT, "deleted_at"),
    "_airbyte_extracted_at": (_MOMENT, "airbyte_extracted_at"),
    "_airbyte_raw_id": ("varchar", "airbyte_raw_id"),
    "_source_updated_at": (_MOMENT, "source_updated_at"),
    "_source_changed_at": (_MOMENT, "source_changed_at"),
    "_log_position": ("varchar", "log_position"),
    RESCUED: (RESCUED_TYPE.lower(), "lake_rescued"),
    "_lake_snapshot_id": ("bigint", "lake_snapshot_id"),
    "_lake_bad_values": ("varchar", "lake_bad_values"),
    "_lake_rows_told": ("bigint", "lake_rows_told"),
    "_lake_repeats": ("", "lake_repeats"),
}
_VALIDITY = {
    "valid_from": (_MOMENT, "valid_from"),
    "valid_to": (_MOMENT, "valid_to"),
    "source_valid_from": (_MOMENT, "source_valid_from"),
    "source_valid_to": (_MOMENT, "source_valid_to"),
    "is_current": ("boolean", "is_current"),
    "is_deleted": ("boolean", "is_deleted"),
}
_OF_HISTORIES = ("_source_changed_at", "_lake_rows_told", "_lake_repeats")


def model_yaml(stream: Stream, model: ModelColumns) -> str:
    """Text of `int_{source}__{stream}.yml`."""
    grain = (
        f" in their newest version. One row per {_record(stream)}."
        if stream.config.primary_key
        else f", which have no key. One row per {_record(stream)} sent."
    )
    lines = _head(stream, "int", f"{_plural(stream)} of {stream.source}{grain}")
    if len(model.key) > 1:
        lines += ["    data_tests:", *_unique_together(model)]
    lines.append("    columns:")
    for column in model.columns:
        unique = ["unique"] if len(model.key) == 1 else []
        lines += _column_lines(column, model, stream, [*unique, "not_null"])
    for name in _bookkeeping(stream, model):
        if name not in _OF_HISTORIES:
            lines += _own_column(name, model)
            lines += [_tests(["unique", "not_null"])] if (name,) == model.key else []
    return "\n".join(lines) + "\n"


def history_yaml(stream: Stream, model: ModelColumns) -> str:
    """Text of `hist_{source}__{stream}.yml`."""
    lines = _head(
        stream, "hist",
        f"{_plural(stream)} of {stream.source} in all their versions. "
        f"One row per version of a {_record(stream)}.",
    )  # fmt: skip
    lines += ["    data_tests:", *_unique_together(model)]
    lines += ["          config:", "            where: is_current", "    columns:"]
    own = _bookkeeping(stream, model)
    with_record = [name for name in ("_deleted_at", RESCUED, "_lake_bad_values") if name in own]
    for column in (column for column in model.columns if column not in model.of_log):
        lines += _column_lines(column, model, stream, ["not_null"])
    for name in with_record:
        lines += _own_column(name, model)
    for column in model.of_log:
        lines += _column_lines(column, model, stream, ["not_null"])
    for name in (*_VALIDITY, *(name for name in own if name not in with_record)):
        lines += _own_column(name, model)
    return "\n".join(lines) + "\n"


def _record(stream: Stream) -> str:
    return naming.words(naming.singular(stream.name))


def _plural(stream: Stream) -> str:
    return naming.words(stream.name).capitalize()


def _head(stream: Stream, prefix: str, description: str) -> list[str]:
    name = f"  - name: {prefix}_{stream.id}"
    return ["version: 2", "", "models:", name, *entry(4, "description", description)]


def _unique_together(model: ModelColumns) -> list[str]:
    return [
        "      - unique_together:",
        "          arguments:",
        "            columns:",
        *(f"              - {name}" for name in model.key),
    ]


def _bookkeeping(stream: Stream, model: ModelColumns) -> list[str]:
    """The bookkeeping columns that the model may have."""
    needed = {
        "_deleted_at": stream.config.tells_deletes,
        "_log_position": bool(model.log),
        "_lake_bad_values": bool(model.converted),
    }
    return [name for name in _BOOKKEEPING if needed.get(name, True)]


def _own_column(name: str, model: ModelColumns) -> list[str]:
    kind, doc = {**_BOOKKEEPING, **_VALIDITY}[name]
    if name == "_source_updated_at" and model.cursor.startswith("text_version("):
        kind = "varchar"
    return [
        f"      - name: {name}",
        *([f"        data_type: {kind}"] if kind else []),
        f"        description: \"{{{{ doc('{doc}') }}}}\"",
    ]


def _tests(names: list[str]) -> str:
    return f"        data_tests: [{', '.join(names)}]"


def _column_lines(
    column: Column, model: ModelColumns, stream: Stream, tests_of_key: list[str]
) -> list[str]:
    return [
        f"      - name: {scalar(column.name)}",
        f"        data_type: {column.type}",
        *entry(8, "description", _description(column, _record(stream), stream)),
        *([_tests(tests_of_key)] if column.name in model.key else []),
    ]


def _description(column: Column, record: str, stream: Stream) -> str:
    """The source's description of the field, else what its name and kind say."""
    return prose(column.description) or described(column, record, stream.source)
