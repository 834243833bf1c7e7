"""The queries of the Lake page: each takes an open lake, and returns what JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.acknowledgements import acknowledged_files
from lotus_lake.ledger.schema_changes import read_changes
from lotus_lake.observe.activity import read_activity
from lotus_lake.observe.balance import read_balance
from lotus_lake.observe.files import find_files
from lotus_lake.observe.overview import read_overview
from lotus_lake.observe.tables import (
    Known,
    preview,
    read_tables,
    tables_of_domain,
    tables_of_stream,
)
from lotus_lake.project.manifest import Model, built_models, manifest_file

PREVIEW_ROWS = 50
# Objects of a plan: 20 requests for them are no load for a store.
PLAN_OBJECTS, _PLAN_ROWS = 20_000, 50


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
    seen = acknowledged_files(lake, source, stream)
    return {
        "files": [asdict(file) for file in found[:limit]],
        "acknowledged": {f.key: asdict(seen[f.key]) for f in found[:limit] if f.key in seen},
        "has_more": len(found) > limit,
    }


def rows(lake: Lake, source: str, stream: str, *, table: str | None) -> Any:
    """Some rows of a table of a stream."""
    tables = tables_of_stream(_stream(lake, source, stream), _models(lake))
    return asdict(preview(lake, tables, table, PREVIEW_ROWS))


def schema(lake: Lake, source: str, stream: str) -> Any:
    """The tables of a stream, and the changes of its landing table."""
    found = _stream(lake, source, stream)
    return {
        "tables": _described(lake, tables_of_stream(found, _models(lake))),
        "changes": [asdict(change) for change in read_changes(lake, found)],
    }


def activity(lake: Lake, source: str, stream: str, *, span: str) -> Any:
    """What happened to a stream over time."""
    return [asdict(part) for part in read_activity(lake, _stream(lake, source, stream), span)]


def domain_rows(lake: Lake, domain: str, *, table: str | None) -> Any:
    """Some rows of an enriched table."""
    return asdict(preview(lake, tables_of_domain(domain, _models(lake)), table, PREVIEW_ROWS))


def domain_schema(lake: Lake, domain: str) -> Any:
    """The enriched tables of a domain."""
    return {"tables": _described(lake, tables_of_domain(domain, _models(lake))), "changes": []}


def balance(lake: Lake, source: str, stream: str, *, read: bool) -> Any:
    """The balance sheet of a stream."""
    sheet = read_balance(lake, _stream(lake, source, stream), _models(lake), read=read)
    problems = [model.problem for model in sheet.models]
    return asdict(sheet) | {"problems": sheet.problems, "model_problems": problems}


def plan(lake: Lake, source: str, stream: str) -> Any:
    """What the next run of a stream would do, as far as a bounded look at the bucket tells."""
    from lotus_lake.bucket.objects import s3_client  # boto3, which no other query needs
    from lotus_lake.observe.plan import plan_run

    client = s3_client(lake.settings.s3, attempts=1)
    found = plan_run(lake, _stream(lake, source, stream), client, limit=PLAN_OBJECTS)
    return asdict(found) | {
        "batches": len(found.batches),
        "landing_files": sum(batch.files for batch in found.batches),
        "days": [asdict(day) for day in found.days[-_PLAN_ROWS:]],
        "more_days": max(0, len(found.days) - _PLAN_ROWS),
        "refused": [asdict(one) for one in found.refused[:_PLAN_ROWS]],
        "more_refused": max(0, len(found.refused) - _PLAN_ROWS),
    }


def why(lake: Lake, table: str, where: str, column: str | None) -> Any:
    """What rows of a table are made from."""
    from lotus_lake.observe.why import explain  # SQLGlot: 0.15 s that no other query needs

    manifest = manifest_file(lake.settings.project_dir)
    return asdict(explain(lake, manifest, table, where, column))


def _described(lake: Lake, tables: list[Known]) -> Any:
    return [asdict(table) for table in read_tables(lake, tables)]


def _models(lake: Lake) -> Mapping[str, Model]:
    return built_models(lake.settings.project_dir)


def _stream(lake: Lake, source: str, stream: str) -> Stream:
    return find_stream(lake.settings.streams_dir, source, stream)


QUERIES: Mapping[str, Callable[..., Any]] = {
    query.__name__: query
    for query in (
        overview,
        files,
        rows,
        schema,
        activity,
        balance,
        plan,
        domain_rows,
        domain_schema,
        why,
    )
}
