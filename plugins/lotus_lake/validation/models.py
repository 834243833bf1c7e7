"""Checks of processed models and dbt sources against the streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lotus_lake.config.streams import Stream
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.scaffold.source_yaml import source_file
from lotus_lake.validation.dbt_files import (
    UNKNOWN,
    ModelProperties,
    ProcessedModel,
    SourceTable,
    tests_of,
)
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project

# The columns of the order of versions, and the one that tells rows apart.
_NEWEST_NEEDS = ("_airbyte_extracted_at", "_airbyte_raw_id", "_source_updated_at", "_lake_row_id")


def every_stream_has_a_model(project: Project) -> Iterator[Problem]:
    """A selected stream has a model with its tag: without one, its rows would only land."""
    tags = {tag for model in project.dbt.models for tag in model.tags}
    names = {model.name: model for model in project.dbt.models}
    for stream in project.selected:
        if stream.id in tags:
            continue
        model = names.get(f"int_{stream.id}")
        if model is None:
            yield Problem(
                project.file_of(stream),
                f"no dbt model is tagged {stream.id}: its rows would land and go no further",
                f"lotus-lake add-stream {stream.source} {stream.name}",
            )
        elif model.config.get("tags") is not UNKNOWN:
            yield Problem(
                model.file,
                f"is not tagged {stream.id}: the stream's Dag would not run it",
                f"config(tags=['{stream.id}'], ...)",
                model.line,
            )


def every_model_has_a_stream(project: Project) -> Iterator[Problem]:
    """A processed model is named, placed and tagged after a stream, and reads that one."""
    known = {file.stream_id for file in project.files}
    streams = {stream.id: stream for stream in project.streams}
    for model in project.dbt.models:
        if model.config.get("tags") is UNKNOWN:
            continue
        stream_tags = [tag for tag in model.tags if tag in known]
        for tag in model.tags:
            if "__" in tag and tag not in known:
                yield Problem(
                    model.file, f"is tagged {tag}, which is no stream", _known(known), model.line
                )
        # A model that is named after its stream is told by the check above.
        if not model.tags and model.name.removeprefix("int_") not in known:
            yield Problem(
                model.file,
                "is tagged with no stream: no Dag would run it",
                "config(tags=['{source}__{stream}'], ...)",
                model.line,
            )
        for tag in stream_tags:
            if tag in streams:
                yield from _reads(model, streams[tag])


def _reads(model: ProcessedModel, stream: Stream) -> Iterator[Problem]:
    if not model.name.startswith(f"int_{stream.id}") or model.file.parent.name != stream.source:
        yield Problem(
            model.file,
            f"feeds {stream.id} into the lake, but is called something else",
            f"name it models/processed/{stream.source}/int_{stream.id}.sql",
        )
    for call in model.landed:
        if call.arguments != (stream.source, stream.name):
            yield Problem(
                model.file,
                f"reads landed_rows('{call.arguments[0]}', '{call.arguments[1]}'), but is tagged "
                f"{stream.id}",
                f"landed_rows('{stream.source}', '{stream.name}')",
                call.line,
            )
    if not model.landed:
        yield Problem(
            model.file,
            "does not read landed_rows: it would miss rows, or read all of them each time",
            f"select * from {{{{ landed_rows('{stream.source}', '{stream.name}') }}}}",
        )


def keys(project: Project) -> Iterator[Problem]:
    """A model merges by its key, keeps the newest of that key, and tests it."""
    known = {file.stream_id for file in project.files}
    for model in project.dbt.models:
        if not known & set(model.tags) or model.config.get("unique_key") is UNKNOWN:
            continue
        if not model.unique_key:
            if model.config.get("materialized") != "table":
                yield Problem(
                    model.file,
                    "has no unique_key: every version of a record would become a row",
                    "config(unique_key='...', ...)",
                    model.line,
                )
            continue
        yield from _newest(model)
        yield from _key_tests(model)


def _newest(model: ProcessedModel) -> Iterator[Problem]:
    for call in model.newest:
        rows, key = call.arguments
        if key is None:
            yield Problem(
                model.file,
                f"calls newest_wins('{rows}'), which takes a CTE and its key",
                f"newest_wins('<name of the CTE>', '{', '.join(model.unique_key)}')",
                call.line,
            )
            continue
        listing = model.listing.get(str(rows))
        for column in _NEWEST_NEEDS if listing else ():
            if not re.search(rf"\b{column}\b", str(listing)):
                yield Problem(
                    model.file,
                    f"CTE {rows} does not list {column}, which newest_wins needs",
                    f"add {column} to the columns of {rows}",
                    call.line,
                )
        named = tuple(part.strip() for part in key.split(","))
        if set(named) != set(model.unique_key):
            yield Problem(
                model.file,
                f"keeps the newest by {', '.join(named)}, but merges by "
                f"{', '.join(model.unique_key)}",
                "use the same columns in newest_wins and unique_key",
                call.line,
            )


def _key_tests(model: ProcessedModel) -> Iterator[Problem]:
    if not model.properties:
        yield Problem(
            model.file.with_suffix(".yml"),
            f"is missing: nothing describes or tests {model.name}",
            "lotus-lake add-stream shows one with --diff",
        )
    for properties in model.properties:
        for column in model.unique_key:
            if "not_null" not in _test_names(properties.columns.get(column, {})):
                yield Problem(
                    properties.file,
                    f"key {column} is not tested to be not null",
                    f"data_tests: [not_null] at column {column}",
                    properties.line,
                )
        if not _is_tested_unique(model, properties):
            yield Problem(
                properties.file,
                f"key {', '.join(model.unique_key)} is not tested to be unique",
                "data_tests: [unique] at its column; of several columns, unique_together at the "
                "model",
                properties.line,
            )


def _is_tested_unique(model: ProcessedModel, properties: ModelProperties) -> bool:
    if len(model.unique_key) == 1:
        return "unique" in _test_names(properties.columns.get(model.unique_key[0], {}))
    return any(
        isinstance(test, dict) and any("unique" in str(name) for name in test)
        for test in properties.tests
    )


def _test_names(column: Mapping[str, Any]) -> set[str]:
    return {
        str(name)
        for test in tests_of(column)
        for name in (test if isinstance(test, dict) else (test,))
    }


def overwritten(project: Project) -> Iterator[Problem]:
    """Where Airbyte overwrites, the model is built anew: a merge would keep deleted records."""
    overwriting = {
        stream.id
        for stream in project.streams
        if str(stream.config.destination_sync_mode) == "overwrite"
    }
    for model in project.dbt.models:
        materialized = model.config.get("materialized")
        if overwriting & set(model.tags) and materialized not in ("table", UNKNOWN):
            yield Problem(
                model.file,
                f"is {materialized or 'a view'}, but its stream overwrites: it would keep records "
                "that the source has deleted",
                "config(materialized='table', ...)",
                model.line,
            )


def sources(project: Project) -> Iterator[Problem]:
    """The sources of dbt are the landing tables, each declared once."""
    declared: dict[tuple[str, str], SourceTable] = {}
    known = {(file.source, file.name) for file in project.files}
    for table in project.dbt.sources:
        stream = (table.source, table.name)
        other = declared.setdefault(stream, table)
        if other is not table:
            yield Problem(
                table.file,
                f"declares {'.'.join(stream)} again; it is in {project.short(other.file)}, "
                f"line {other.line}",
                "take one out",
                table.line,
            )
        elif stream not in known:
            if table.schema == "staging":
                yield Problem(
                    table.file,
                    f"declares {'.'.join(stream)}, which is no stream",
                    f"add include/streams/{table.source}/{table.name}.json, or take it out",
                    table.line,
                )
        elif table.identifier != f"stg_{table.source}__{table.name}":
            yield Problem(
                table.file,
                f"says that {'.'.join(stream)} lands in {table.identifier}",
                f"identifier: stg_{table.source}__{table.name}",
                table.line,
            )
    models_dir = dbt_project_dir(project.settings.project_dir) / "models"
    for selected in project.selected:
        if (selected.source, selected.name) not in declared:
            yield Problem(
                source_file(models_dir, selected.source, selected.name),
                f"does not declare {selected.source}.{selected.name}, which is a stream",
                f"lotus-lake add-stream {selected.source} {selected.name} --keep",
            )


def _known(names: set[str]) -> str:
    return f"streams: {', '.join(sorted(names)[:20]) or 'none'}"
