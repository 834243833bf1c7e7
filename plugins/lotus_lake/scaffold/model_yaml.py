"""The YAML of a processed model: descriptions of its columns, and tests of its key."""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.scaffold import naming
from lotus_lake.scaffold.columns import Column, ModelColumns
from lotus_lake.scaffold.describing import described
from lotus_lake.scaffold.yaml_text import entry, prose, scalar

_KEY_TESTS = "        data_tests: [unique, not_null]"
# processed.md describes the bookkeeping columns once for all models.
_BOOKKEEPING = {
    "_deleted_at": ("timestamp with time zone", "deleted_at"),
    "_airbyte_extracted_at": ("timestamp with time zone", "airbyte_extracted_at"),
    "_airbyte_raw_id": ("varchar", "airbyte_raw_id"),
    "_source_updated_at": ("timestamp with time zone", "source_updated_at"),
    "_log_position": ("varchar", "log_position"),
    "_lake_snapshot_id": ("bigint", "lake_snapshot_id"),
    "_lake_bad_values": ("varchar", "lake_bad_values"),
}


def model_yaml(stream: Stream, model: ModelColumns) -> str:
    """Text of `int_{source}__{stream}.yml`."""
    record = naming.words(naming.singular(stream.name))
    plural = naming.words(stream.name)
    lines = [
        "version: 2",
        "",
        "models:",
        f"  - name: int_{stream.id}",
        *entry(
            4,
            "description",
            f"{plural.capitalize()} of {stream.source}"
            + (
                f" in their newest version. One row per {record}."
                if stream.config.primary_key
                else f", which have no key. One row per {record} sent."
            ),
        ),
    ]
    if len(model.key) > 1:
        lines += [
            "    data_tests:",
            "      - unique_together:",
            "          arguments:",
            "            columns:",
            *(f"              - {name}" for name in model.key),
        ]
    lines.append("    columns:")
    for column in model.columns:
        lines += _column_lines(column, model, record, stream)
    for name, (usual, doc) in _BOOKKEEPING.items():
        needed = {
            "_deleted_at": stream.config.tells_deletes,
            "_log_position": bool(model.log),
            "_lake_bad_values": bool(model.converted),
        }
        if not needed.get(name, True):
            continue
        is_text = name == "_source_updated_at" and model.cursor.startswith("text_version(")
        kind = "varchar" if is_text else usual
        lines += [
            f"      - name: {name}",
            f"        data_type: {kind}",
            f"        description: \"{{{{ doc('{doc}') }}}}\"",
            *([_KEY_TESTS] if (name,) == model.key else []),
        ]
    return "\n".join(lines) + "\n"


def _column_lines(column: Column, model: ModelColumns, record: str, stream: Stream) -> list[str]:
    lines = [
        f"      - name: {scalar(column.name)}",
        f"        data_type: {column.type}",
        *entry(8, "description", _description(column, record, stream)),
    ]
    if column.name in model.key:
        lines.append(_KEY_TESTS if len(model.key) == 1 else "        data_tests: [not_null]")
    return lines


def _description(column: Column, record: str, stream: Stream) -> str:
    """The source's description of the field, else what its name and kind say."""
    return prose(column.description) or described(column, record, stream.source)
