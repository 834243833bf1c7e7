"""Checks of stream configs, and of the files derived from them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lotus_lake.bucket.keys import Layout, layout_of
from lotus_lake.config.stream_config import SCHEMA_FILE, published_schema
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.errors import StreamConfigError
from lotus_lake.landing.tables import ddl_file, ddl_text
from lotus_lake.landing.types import column_name
from lotus_lake.sql import folded
from lotus_lake.validation.lines import json_line
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project, config_problems


def readable(project: Project) -> Iterator[Problem]:
    """Stream JSONs follow their model, and dbt can parse its project."""
    yield from project.problems


def distinct(project: Project) -> Iterator[Problem]:
    """No two streams share a table, a Dag or a file."""
    ids: dict[str, Stream] = {}
    for stream in project.streams:
        other = ids.setdefault(stream.id.lower(), stream)
        if other is not stream:
            yield Problem(
                project.file_of(stream),
                f"has the id {stream.id}, as {project.short(project.file_of(other))} has: both "
                "would feed one landing table",
                "rename one of them",
            )
    for stream, other in _sharing(project):
        yield Problem(
            project.file_of(stream),
            f"its files, such as {layout_of(project.settings, stream).example}, would be fed by "
            f"{project.short(project.file_of(other))} as well",
            "give one of them another namespace, stream_name or feeder.path_format",
        )


def _sharing(project: Project) -> Iterator[tuple[Stream, Stream]]:
    """Streams of which one would take the other's files."""
    layouts = [(layout_of(project.settings, stream), stream) for stream in project.streams]
    # Those before with a prefix that the present one begins with.
    around: list[tuple[Layout, Stream]] = []
    for layout, stream in sorted(layouts, key=lambda pair: pair[0].prefix):
        around = [pair for pair in around if layout.prefix.startswith(pair[0].prefix)]
        for other_layout, other in around:
            if other_layout.takes(layout.example):
                yield stream, other
            elif layout.takes(other_layout.example):
                yield other, stream
        around.append((layout, stream))


def fields_exist(project: Project) -> Iterator[Problem]:
    """A stream selects fields that the schema of its source has."""
    for stream in project.streams:
        schema_file = project.settings.sources_dir / stream.source / f"{stream.name}.json"
        try:
            known = source_schema(project.settings.sources_dir, stream)
        except StreamConfigError as error:
            yield from config_problems(schema_file, error)
            continue
        for name in stream.config.fields if known else ():
            if name not in known:
                yield Problem(
                    project.file_of(stream),
                    f"field {name!r} is not in {project.short(schema_file)}",
                    f"lotus-lake discover {stream.source}, or remove the field",
                    json_line(project.file_of(stream), f"$.fields.{name}"),
                )


def column_names(project: Project) -> Iterator[Problem]:
    """Fields of a stream have distinct column names."""
    for stream in project.streams:
        columns: dict[str, str] = {}
        for name, schema in stream.config.fields.items():
            column = folded(column_name(name, schema))
            other = columns.setdefault(column, name)
            if other != name:
                file = project.file_of(stream)
                yield Problem(
                    file,
                    f"fields {other!r} and {name!r} are one column, {column}",
                    'leave one out, or give it another column: "column": ...',
                    json_line(file, f"$.fields.{name}"),
                )


def landing_current(project: Project) -> Iterator[Problem]:
    """Each stream has current landing DDL, and there is no other."""
    for stream in project.selected:
        path = ddl_file(project.settings.project_dir, stream)
        try:
            text = ddl_text(project.settings, stream)
        except StreamConfigError:  # `fields_exist` reports it
            continue
        if not path.exists():
            yield Problem(path, "is missing", "lotus-lake landing")
        elif path.read_text(encoding="utf-8") != text:
            yield Problem(path, "is not current", "lotus-lake landing")
    known = {f"stg_{file.stream_id}" for file in project.files}
    for path in sorted((project.settings.project_dir / "include" / "landing").rglob("*.sql")):
        if path.stem not in known:
            yield Problem(path, "belongs to no stream", "delete it")


def schema_current(project: Project) -> Iterator[Problem]:
    """The JSON Schema for editors is the one of this version."""
    path = project.settings.streams_dir / SCHEMA_FILE
    text = json.dumps(published_schema(), indent=2) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        yield Problem(path, "is not current", "lotus-lake landing")
