"""Promote tables of a branch into its origin, and roll tables of the lake back to a snapshot.

Both put versions of the tables of models in the place of those that readers see, in one commit,
with what each model remembers of its inputs: watermarks, versions that readers do not see. So the
next build of a model goes on from what its table holds. The commit moves the guards of the streams
on: nothing is retired meanwhile that such a table has still to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lotus_lake.config.streams import load_streams
from lotus_lake.errors import PermanentError
from lotus_lake.lake.branches import refuse_on_branch
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.lake.table_copies import (
    TableCopy,
    count_rows,
    prepare_copy,
    put_in_place,
    replace_rows,
)
from lotus_lake.ledger.builds import built_table
from lotus_lake.ledger.commit import Change, record
from lotus_lake.ledger.guard import read_guard
from lotus_lake.ledger.model_events import (
    PROMOTED,
    ROLLED_BACK,
    ModelEvent,
    last_promotion,
    record_models,
)
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import watermark_table
from lotus_lake.project.manifest import Model
from lotus_lake.repair.staleness import Judge
from lotus_lake.repair.table_sources import Source, open_branch, open_past
from lotus_lake.sql import identifier


@dataclass(frozen=True, slots=True)
class Replacement:
    """A table that another version takes the place of.

    Attributes:
        model: Its model.
        rows_before: Rows of the table as it is; `None` if there is none.
        rows_after: Rows of the version.
        newer: Inputs of which the table has read what the version has not.
    """

    model: str
    rows_before: int | None
    rows_after: int
    newer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Promotion:
    """What promoting, or rolling back, would do.

    Attributes:
        replacements: The tables.
        readers: Other models that read one of them: they are as they were until they are built.
    """

    replacements: tuple[Replacement, ...]
    readers: tuple[str, ...]


@contextmanager
def open_promotion(
    lake: Lake, name: str, models: Mapping[str, Model]
) -> Iterator[tuple[Judge, list[str]]]:
    """Attach a branch, whose tables are to be promoted.

    Args:
        lake: Open origin.
        name: Name of the branch.
        models: All models of the project.

    Yields:
        What compares the two, and the models whose tables were changed on the branch.

    Raises:
        PermanentError: There is no such branch, or the lake is one itself.
    """
    refuse_on_branch(lake)
    with open_branch(lake, name) as source:
        changed = sorted(table for table in source.tables if source.is_changed(table))
        yield _judge(lake, source, models), [table for table in changed if table in models]


@contextmanager
def open_rollback(lake: Lake, snapshot: int | None, models: Mapping[str, Model]) -> Iterator[Judge]:
    """Attach the lake as of a snapshot, by default that before the last promotion.

    Raises:
        PermanentError: Nothing was promoted, the snapshot has expired, or the lake is a branch.
    """
    refuse_on_branch(lake)
    if snapshot is None:
        snapshot = min(last_promotion(lake).values(), default=None)
    if snapshot is None:
        raise PermanentError(
            "no table was ever promoted", hint="--to says which snapshot to go back to"
        )
    with open_past(lake, snapshot) as source:
        yield _judge(lake, source, models)


def plan_promotion(judge: Judge, chosen: Sequence[str]) -> Promotion:
    """Say what putting these tables in place would do; writes nothing.

    Raises:
        PermanentError: It would lose rows, or mix tables that do not belong together.
    """
    lake = judge.lake
    if problems := [text for model in chosen for text in judge.obstacles(model, chosen)]:
        raise PermanentError(
            "; ".join(problems), hint="see docs/changing-models.md#promote-tables-of-a-branch"
        )
    tables = lake.tables("main")
    replacements = tuple(
        Replacement(
            model,
            int(lake.value(f"SELECT count(*) FROM {_table(model)}")) if model in tables else None,
            count_rows(lake, model),
            tuple(judge.newer_inputs(model, chosen)),
        )
        for model in chosen
    )
    return Promotion(replacements, tuple(judge.readers(chosen)))


def promote(
    judge: Judge, chosen: Sequence[str], run_id: str, *, may_be_behind: bool = False
) -> Promotion:
    """Put the tables of these models in place, in one commit.

    Args:
        judge: Of `open_promotion` or `open_rollback`.
        chosen: Names of the models.
        run_id: Who does it, for the ledger.
        may_be_behind: Also where the lake's tables have read more than these; the next builds
            read it again.

    Raises:
        PermanentError: It would lose rows, or the tables are behind.
        StorageUnavailableError: The store could not copy the files; nothing has changed.
        CommitConflictError: Other writers won every time; nothing has changed.
    """
    lake, source = judge.lake, judge.source
    refuse_behind(plan_promotion(judge, chosen), may_be_behind=may_be_behind)
    copies = [prepare_copy(lake, model, source.snapshot) for model in chosen]

    def unit() -> Promotion:
        before = lake.current_snapshot()
        _hold_streams(judge, chosen, run_id)
        # Once more: the lake may have moved on since.
        found = plan_promotion(judge, chosen)
        refuse_behind(found, may_be_behind=may_be_behind)
        for copy in copies:
            _replace(judge, copy)
        events = [_event(source, replaced, before) for replaced in found.replacements]
        record_models(lake, events, run_id)
        return found

    done = PROMOTED if source.branch else "rolled back"
    origin = f"branch {source.branch}" if source.branch else f"snapshot {source.snapshot}"
    return lake.commit(f"{done} {', '.join(chosen)} from {origin}, run {run_id}", unit)


def refuse_behind(found: Promotion, *, may_be_behind: bool) -> None:
    """Refuse a promotion after which readers would miss rows that they see now.

    Raises:
        PermanentError: The inputs of a table have moved on.
    """
    behind = {each.model: each.newer for each in found.replacements if each.newer}
    if behind and not may_be_behind:
        told = "; ".join(f"{model} lacks what is new of {', '.join(behind[model])}"
                         for model in behind)  # fmt: skip
        raise PermanentError(
            f"the lake has moved on since the branch was made: {told}",
            hint="make a new branch and build there, or accept with --behind that these rows are "
            "missing until the next build has read them",
        )


def _judge(lake: Lake, source: Source, models: Mapping[str, Model]) -> Judge:
    streams, _ = load_streams(lake.settings.streams_dir)
    fed = {stream.id: stream for stream in streams if was_fed(lake, stream)}
    return Judge(lake, source, models, fed)


def _hold_streams(judge: Judge, chosen: Sequence[str], run_id: str) -> None:
    """Move the guard of each stream on, so that its feeder retires nothing at the same time."""
    streams = {stream.id: stream for model in chosen for stream in judge.streams_of(model)}
    for _, stream in sorted(streams.items()):
        record(judge.lake, stream, read_guard(judge.lake, stream), Change(), run_id)


def _replace(judge: Judge, copy: TableCopy) -> None:
    lake, model, shared = judge.lake, copy.table, judge.source.shared
    put_in_place(lake, copy, judge.source.snapshot)
    # The next run builds it whatever it was built from, and there are no rows that fail.
    for remembered in (built_table(model), f"failed_rows_{model}"):
        lake.con.execute(f"DROP TABLE IF EXISTS {META}.{identifier(remembered)}")
    marks = f"least(snapshot_id_from, {shared}) AS snapshot_id_from, "
    marks += f"least(snapshot_id_to, {shared}) AS snapshot_id_to"
    replace_rows(lake, "meta", f"inputs_{model}", f"* REPLACE ({marks})")
    if judge.models[model].layer == "processed":
        replace_rows(lake, "meta", f"kept_out_{model}")
        _set_watermark(lake, model, judge.mark(model))


def _set_watermark(lake: Lake, model: str, mark: int) -> None:
    """As the macro advance_watermark has it: the row stays, so that runs of the model conflict."""
    table = watermark_table(model)
    lake.con.execute(
        f"CREATE TABLE IF NOT EXISTS {table} AS SELECT -1::BIGINT AS snapshot_id_from, "
        "-1::BIGINT AS snapshot_id_to, now() AS updated_at"
    )
    lake.con.execute(
        f"UPDATE {table} SET snapshot_id_from = -1, snapshot_id_to = ?, updated_at = now()", [mark]
    )


def _event(source: Source, replaced: Replacement, before: int) -> ModelEvent:
    return ModelEvent(
        replaced.model,
        PROMOTED if source.branch else ROLLED_BACK,
        source.branch,
        source.snapshot,
        before,
        replaced.rows_before,
        replaced.rows_after,
    )


def _table(model: str) -> str:
    return identifier(LAKE, "main", model)
