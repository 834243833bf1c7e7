"""The queries of the Lake page: each takes an open lake, and returns what JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.lake.session import Lake
from lotus_lake.observe.balance import read_balance
from lotus_lake.observe.files import find_files
from lotus_lake.observe.overview import read_overview
from lotus_lake.observe.tables import preview, read_tables_of
from lotus_lake.project.manifest import built_models, manifest_file

PREVIEW_ROWS = 50


def overview(lake: Lake) -> Any:
    """All streams and enriched tables."""
    return asdict(read_overview(lake))


def files(
    lake: Lake,
    source: str,
    stream: str,
    *,
    event: str | None,
    day: str | None,
    key: str | None,
    limit: int,
    offset: int,
) -> Any:
    """Files of a stream, and whether there are more."""
    found = find_files(
        lake,
        source,
        stream,
        event=event,
        key_prefix=key,
        day=date.fromisoformat(day) if day else None,
        limit=limit + 1,
        offset=offset,
    )
    return {"files": [asdict(file) for file in found[:limit]], "has_more": len(found) > limit}


def rows(lake: Lake, source: str, stream: str, *, table: str | None) -> Any:
    """Some rows of a table of a stream."""
    models = built_models(lake.settings.project_dir)
    return asdict(preview(lake, _stream(lake, source, stream), models, table, PREVIEW_ROWS))


def schema(lake: Lake, source: str, stream: str) -> Any:
    """The tables of a stream."""
    models = built_models(lake.settings.project_dir)
    return [asdict(table) for table in read_tables_of(lake, _stream(lake, source, stream), models)]


def balance(lake: Lake, source: str, stream: str, *, read: bool) -> Any:
    """The balance sheet of a stream."""
    models = built_models(lake.settings.project_dir)
    sheet = read_balance(lake, _stream(lake, source, stream), models, read=read)
    problems = [model.problem for model in sheet.models]
    return asdict(sheet) | {"problems": sheet.problems, "model_problems": problems}


def why(lake: Lake, table: str, where: str, column: str | None) -> Any:
    """What rows of a table are made from."""
    from lotus_lake.observe.why import explain  # SQLGlot: 0.15 s that no other query needs

    manifest = manifest_file(lake.settings.project_dir)
    return asdict(explain(lake, manifest, table, where, column))


def _stream(lake: Lake, source: str, stream: str) -> Stream:
    return find_stream(lake.settings.streams_dir, source, stream)


QUERIES: Mapping[str, Callable[..., Any]] = {
    query.__name__: query for query in (overview, files, rows, schema, balance, why)
}
