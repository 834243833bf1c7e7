"""Checks of processed models and dbt sources against the streams."""

from __future__ import annotations

from collections.abc import Iterator

from lotus_lake.config.stream_config import DELETED_AT
from lotus_lake.config.streams import Stream
from lotus_lake.landing.conversion import RESCUED
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.scaffold.source_yaml import source_file
from lotus_lake.validation.dbt_nodes import ProcessedModel
from lotus_lake.validation.lines import line_of
from lotus_lake.validation.macro_calls import config_line, listed_columns, macro_calls
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project

# The columns of the order of versions, and those that distinguish increments and rows.
_NEWEST_NEEDS = (
    "_airbyte_extracted_at",
    "_airbyte_raw_id",
    "_source_updated_at",
    "_lake_snapshot_id",
    "_lake_row_id",
)


_ORDERS = {True: "the log of the source", False: "when they were extracted"}


def every_stream_has_a_model(project: Project) -> Iterator[Problem]:
    """A selected stream has a model with its tag: without one, its rows would only land."""
    tags = {tag for model in project.models for tag in model.tags}
    names = {model.name: model for model in project.models}
    for stream in project.selected:
        if stream.id in tags:
            continue
        if model := names.get(f"int_{stream.id}"):
            yield Problem(
                model.file,
                f"is not tagged {stream.id}: the stream's Dag would not run it",
                f"config(tags=['{stream.id}'], ...)",
                config_line(model.code),
            )
        else:
            yield Problem(
                project.file_of(stream),
                f"no dbt model is tagged {stream.id}: its rows would land and go no further",
                f"lotus-lake add-stream {stream.source} {stream.name}",
            )


def every_model_has_a_stream(project: Project) -> Iterator[Problem]:
    """A processed model is named, placed and tagged after a stream, and reads that one."""
    known = {file.stream_id for file in project.files}
    streams = {stream.id: stream for stream in project.streams}
    for model in project.models:
        for tag in model.tags:
            if "__" in tag and tag not in known:
                yield Problem(
                    model.file,
                    f"is tagged {tag}, which is not a stream",
                    f"streams: {', '.join(sorted(known)[:20]) or 'none'}",
                    config_line(model.code),
                )
            elif tag in streams:
                yield from _reads(model, streams[tag])
        # `every_stream_has_a_model` reports a model that is named after its stream.
        if not model.tags and model.name.partition("_")[2] not in known:
            yield Problem(
                model.file,
                "has no stream's tag: no Dag would run it",
                "config(tags=['{source}__{stream}'], ...)",
                config_line(model.code),
            )


def _reads(model: ProcessedModel, stream: Stream) -> Iterator[Problem]:
    name = f"{'hist' if model.is_history else 'int'}_{stream.id}"
    if not model.name.startswith(name) or model.file.parent.name != stream.source:
        yield Problem(
            model.file,
            f"is the {'history' if model.is_history else 'model'} of {stream.id}, but not named "
            "after it",
            f"name it models/processed/{stream.source}/{name}.sql",
        )
    own = (stream.source, stream.name)
    calls = macro_calls(model.code, "landed_rows", "source_name", "stream_name")
    lines = {tuple(call.arguments.values()): call.line for call in calls}
    for read in model.reads:
        if read != own:
            yield Problem(
                model.file,
                f"reads source {'.'.join(read)}, but is tagged {stream.id}",
                f"landed_rows('{stream.source}', '{stream.name}')",
                lines.get(read, 0),
            )
    if "landed_rows" not in model.macros:
        yield Problem(
            model.file,
            "does not read landed_rows: it would miss rows, or read all of them each time",
            f"select * from {{{{ landed_rows('{stream.source}', '{stream.name}') }}}}",
        )


def keys(project: Project) -> Iterator[Problem]:
    """A model merges by its key, keeps the newest of that key, and tests it."""
    known = {file.stream_id for file in project.files}
    for model in project.models:
        if not known & set(model.tags):
            continue
        if model.materialized not in ("incremental", "table"):
            yield Problem(
                model.file,
                f"is {model.materialized}: it would lose the rows that are retired",
                "config(materialized='incremental', ...)",
                config_line(model.code),
            )
        if model.unique_key:
            yield from _newest(model)
            yield from _key_tests(model)
        elif model.materialized != "table":
            yield Problem(
                model.file,
                "has no unique_key: every version of a record would become a row",
                "config(unique_key='...', ...)",
                config_line(model.code),
            )


def _newest(model: ProcessedModel) -> Iterator[Problem]:
    key = ", ".join(model.unique_key)
    macro = "versions" if model.is_history else "newest_wins"
    needed = (
        *_NEWEST_NEEDS,
        *(["_source_changed_at"] if model.is_history else []),
        *(["_log_position"] if model.follows_log else []),
    )
    for call in macro_calls(model.code, macro, "rows", "key"):
        rows, columns = str(call.arguments["rows"]), str(call.arguments["key"])
        listed = listed_columns(model.code, rows) or needed
        for column in (name for name in needed if name not in listed):
            yield Problem(
                model.file,
                f"CTE {rows} has no column {column}, which {macro} needs",
                f"add {column} to the columns of {rows}",
                call.line,
            )
        if [name.strip() for name in columns.split(",")] != list(model.unique_key):
            yield Problem(
                model.file,
                f"finds versions of a record by {columns}, but merges by {key}",
                f"use the same columns in {macro} and unique_key",
                call.line,
            )


def _key_tests(model: ProcessedModel) -> Iterator[Problem]:
    file = model.properties_file
    if file is None:
        yield Problem(
            model.file.with_suffix(".yml"),
            f"is missing: nothing describes or tests {model.name}",
            "lotus-lake add-stream shows one with --diff",
        )
        return
    line = line_of(file, "models", model.name)
    for column in model.unique_key:
        if "not_null" not in model.column_tests.get(column, ()):
            yield Problem(
                file,
                f"key {column} is not tested to be not null",
                f"data_tests: [not_null] at column {column}",
                line,
            )
    if not _is_tested_unique(model):
        yield Problem(
            file,
            f"key {', '.join(model.unique_key)} is not tested to be unique",
            "data_tests: [unique] at its column; of several columns, unique_together at the model; "
            "in a history, that with where: is_current",
            line,
        )


def _is_tested_unique(model: ProcessedModel) -> bool:
    if len(model.unique_key) == 1 and not model.is_history:
        return "unique" in model.column_tests.get(model.unique_key[0], ())
    return any("unique" in name for name in model.tests)


def overwritten(project: Project) -> Iterator[Problem]:
    """Where Airbyte overwrites, the model is a table: a merge would keep deleted records."""
    overwriting = {
        stream.id
        for stream in project.streams
        if stream.config.destination_sync_mode == "overwrite"
    }
    for model in project.models:
        if overwriting & set(model.tags) and model.materialized != "table":
            yield Problem(
                model.file,
                f"is {model.materialized}, but its stream overwrites: it would keep records that "
                "the source has deleted",
                "config(materialized='table', ...)",
                config_line(model.code),
            )


def deletes(project: Project) -> Iterator[Problem]:
    """A model does with deletes what its stream's config says, and knows which rows are deletes."""
    telling = {stream.id: stream for stream in project.streams if stream.config.tells_deletes}
    for model in project.models:
        for stream in (telling[tag] for tag in model.tags if tag in telling):
            wanted = stream.config.deletes
            if model.deletes != wanted:
                yield Problem(
                    model.file,
                    f"has deletes: {model.deletes or 'none'}, but its stream has {wanted}",
                    f"config(meta={{'deletes': '{wanted}'}}, ...)",
                    config_line(model.code),
                )
            if "deleted_at" not in model.macros:
                yield Problem(
                    model.file,
                    "does not distinguish deletes from other versions: a delete would be a row of "
                    "nulls",
                    f"{{{{ deleted_at('{DELETED_AT}') }}}} as _deleted_at",
                )


def logs(project: Project) -> Iterator[Problem]:
    """A model follows the log of its stream, where there is one, by the fields that have it."""
    streams = {stream.id: stream for stream in project.streams}
    for model in project.models:
        for stream in (streams[tag] for tag in model.tags if tag in streams):
            log = stream.config.log
            if model.follows_log != bool(log):
                yield Problem(
                    model.file,
                    f"orders versions by {_ORDERS[model.follows_log]}, but its stream has them "
                    f"follow {', '.join(log) or 'no log'}",
                    f"meta={{'order': '{'log' if log else 'extraction'}'}} in its config",
                    config_line(model.code),
                )
            elif log and "log_position" not in model.macros:
                yield Problem(
                    model.file,
                    "does not say where a version stands in the log",
                    f"{{{{ log_position({list(log)}) }}}} as _log_position",
                )


def histories(project: Project) -> Iterator[Problem]:
    """A stream has a history if its config says so, and only then."""
    found = {tag: model for model in project.models if model.is_history for tag in model.tags}
    for stream in project.selected:
        if stream.config.history and stream.id not in found:
            yield Problem(
                project.file_of(stream),
                f"asks for a history, and no model tagged {stream.id} is one",
                f"lotus-lake add-stream {stream.source} {stream.name} --keep",
            )
        elif stream.id in found and not stream.config.history:
            yield Problem(
                found[stream.id].file,
                f"is a history, for which the config of {stream.id} does not ask",
                f'"history": true in {project.file_of(stream)}, or delete the model',
            )


def rescued_values(project: Project) -> Iterator[Problem]:
    """A model carries what was rescued of its rows, as far as its text tells."""
    rescuing = {stream.id for stream in project.streams if stream.rescues}
    for model in project.models:
        macro = "versions" if model.is_history else "newest_wins"
        calls = macro_calls(model.code, macro, "rows") if rescuing & set(model.tags) else []
        for call in calls:
            columns = listed_columns(model.code, str(call.arguments.get("rows", "")))
            if columns is not None and RESCUED not in columns:
                yield Problem(
                    model.file,
                    f"has no column {RESCUED}: values that did not fit their column are gone once "
                    "their day is retired",
                    f"add {RESCUED} to the columns of {call.arguments['rows']}",
                    call.line,
                    is_advice=True,
                )


def sources(project: Project) -> Iterator[Problem]:
    """The sources of dbt are the landing tables of the streams."""
    known = {(file.source, file.name) for file in project.files}
    for table in project.sources:
        landing_table = f"stg_{table.source}__{table.name}"
        line = line_of(table.file, "sources", table.source, "tables", table.name)
        if (table.source, table.name) in known:
            if table.identifier != landing_table:
                yield Problem(
                    table.file,
                    f"says that {table.source}.{table.name} lands in {table.identifier}",
                    f"identifier: {landing_table}",
                    line,
                )
        elif table.schema == "staging":
            yield Problem(
                table.file,
                f"declares {table.source}.{table.name}, which is not a stream",
                f"add include/streams/{table.source}/{table.name}.json, or delete the source",
                line,
            )
    models_dir = dbt_project_dir(project.settings.project_dir) / "models"
    declared = {(table.source, table.name) for table in project.sources}
    for stream in project.selected:
        if (stream.source, stream.name) not in declared:
            yield Problem(
                source_file(models_dir, stream.source, stream.name),
                f"does not declare {stream.source}.{stream.name}, which is a stream",
                f"lotus-lake add-stream {stream.source} {stream.name} --keep",
            )
