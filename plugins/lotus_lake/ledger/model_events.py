"""What people did to the tables of models, beside building them: promoted, and rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake.lake.session import META, Lake

_TABLE = f"""
CREATE TABLE IF NOT EXISTS {META}.model_events (
    model VARCHAR, event VARCHAR, branch VARCHAR, from_snapshot_id BIGINT,
    snapshot_id_before BIGINT, rows_before BIGINT, rows_after BIGINT, recorded_at TIMESTAMPTZ,
    run_id VARCHAR
)
"""
PROMOTED, ROLLED_BACK = "promoted", "rolled_back"


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """What was done to the table of a model.

    Attributes:
        model: Its name.
        event: `promoted` or `rolled_back`.
        branch: The branch that the table comes from, if it does.
        from_snapshot_id: The snapshot of the branch, or of the lake, that it comes from.
        snapshot_id_before: The last snapshot of the lake with the table as it was before.
        rows_before: Rows before; `None` if there was no table.
        rows_after: Rows afterwards.
    """

    model: str
    event: str
    branch: str | None
    from_snapshot_id: int
    snapshot_id_before: int
    rows_before: int | None
    rows_after: int


def record_models(lake: Lake, events: Sequence[ModelEvent], run_id: str) -> None:
    """Append events, in the transaction that does what they say."""
    lake.con.execute(_TABLE)
    for event in events:
        lake.con.execute(
            f"INSERT INTO {META}.model_events VALUES (?, ?, ?, ?, ?, ?, ?, now(), ?)",
            [
                event.model, event.event, event.branch, event.from_snapshot_id,
                event.snapshot_id_before, event.rows_before, event.rows_after, run_id,
            ],
        )  # fmt: skip


def last_promotion(lake: Lake) -> dict[str, int]:
    """The models that were promoted last, together, each with the last snapshot before that."""
    if "model_events" not in lake.tables("meta"):
        return {}
    return dict(
        lake.rows(
            f"""
            SELECT model, snapshot_id_before FROM {META}.model_events
            WHERE event = ? QUALIFY snapshot_id = max(snapshot_id) OVER () ORDER BY model
            """,
            [PROMOTED],
        )
    )


def promoted_since(lake: Lake, snapshot: int) -> set[str]:
    """The models that were promoted or rolled back after a snapshot."""
    if "model_events" not in lake.tables("meta"):
        return set()
    query = f"SELECT DISTINCT model FROM {META}.model_events WHERE snapshot_id > ?"
    return {model for (model,) in lake.rows(query, [snapshot])}
