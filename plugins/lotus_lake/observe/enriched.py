"""Where the enriched models stand: when each was built, and whether its inputs have moved on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.lake.table_versions import LakeTable, read_tables
from lotus_lake.observe.states import NOT_BUILT, Verdict, judge_enriched
from lotus_lake.project.manifest import Model
from lotus_lake.sql import identifier, literal


@dataclass(frozen=True, slots=True)
class EnrichedStatus:
    """Where an enriched model stands.

    Attributes:
        model: Its name, which is its table's name in the schema `main`.
        built: Whether the table is there.
        rows: Rows of the table.
        size_bytes: Size of its data files.
        built_at: When it was built; `None` once that snapshot has expired.
        behind: Models that it reads and that have changed since.
        verdict: How it is, in a word.
    """

    model: str
    built: bool
    rows: int = 0
    size_bytes: int = 0
    built_at: datetime | None = None
    behind: tuple[str, ...] = ()
    verdict: Verdict = NOT_BUILT


def read_enriched(
    lake: Lake, models: Mapping[str, Model], now: datetime | None = None
) -> list[EnrichedStatus]:
    """Status of all enriched models, in order.

    A processed model has changed when its watermark has; an enriched one when it was built.
    """
    enriched = [model for _, model in sorted(models.items()) if model.layer == "enriched"]
    if not enriched:
        return []
    tables = read_tables(lake, "main")
    parents = sorted({parent for model in enriched for parent in model.parents})
    changed = {name: tables[name].snapshot_id for name in parents if name in tables}
    changed |= _processed_snapshots(lake, parents)
    rows = _count_rows(lake, [model.name for model in enriched if model.name in tables])
    now, found = now or datetime.now(UTC), []
    for model in enriched:
        status = _status(model, tables.get(model.name), rows.get(model.name, 0), changed)
        verdict = judge_enriched(
            built=status.built, built_at=status.built_at, promise=model.freshness, now=now
        )
        found.append(replace(status, verdict=verdict))
    return found


def _status(
    model: Model, table: LakeTable | None, rows: int, changed: Mapping[str, int]
) -> EnrichedStatus:
    if table is None:
        behind = tuple(parent for parent in model.parents if parent in changed)
        return EnrichedStatus(model.name, built=False, behind=behind)
    return EnrichedStatus(
        model.name,
        built=True,
        rows=rows,
        size_bytes=table.size_bytes,
        built_at=table.changed_at,
        behind=tuple(p for p in model.parents if changed.get(p, -1) > table.snapshot_id),
    )


def _count_rows(lake: Lake, models: Sequence[str]) -> dict[str, int]:
    counts = [
        f"SELECT {literal(model)}, count(*) FROM {LAKE}.main.{identifier(model)}"
        for model in models
    ]
    return dict(lake.rows(" UNION ALL ".join(counts))) if counts else {}


def _processed_snapshots(lake: Lake, models: Sequence[str]) -> dict[str, int]:
    """The snapshot in which each processed model last advanced its watermark."""
    known = lake.tables("meta")
    marks = [
        f"SELECT {literal(model)} AS model, max(snapshot_id) AS changed "
        f"FROM {META}.{identifier(f'watermark_{model}')}"
        for model in models
        if f"watermark_{model}" in known
    ]
    rows = lake.rows(" UNION ALL ".join(marks)) if marks else []
    return {model: changed for model, changed in rows if changed is not None}
