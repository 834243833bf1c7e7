"""Repairs of a stream that people ask for: a request, its plan, its result.

`plan` returns what a request would do and changes nothing; `carry_out` does it. The command line
and the Dags `lake_operations` and `lake_reconcile` make the requests and show the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.airbyte.backfill import BackfillPlan, plan_backfills, request_backfill
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.streams import Stream
from lotus_lake.errors import PermanentError, SettingsError
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.acknowledgements import note_acknowledgement
from lotus_lake.ledger.events import files_with
from lotus_lake.ledger.schema import was_fed
from lotus_lake.observe.overview import read_streams
from lotus_lake.observe.plan import plan_run
from lotus_lake.project.manifest import (
    built_models,
    ensure_manifest,
    load_models,
    processed_models,
)
from lotus_lake.quantities import counted, readable_bytes
from lotus_lake.repair import quarantine
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.rewind import Point, RewindPlan, plan_rewind, rewind


@dataclass(frozen=True, slots=True)
class Rewind:
    """Look at files from a point on, and let the models process their rows, again.

    With `feed_again` each file is also registered again, in the place of its old registration.
    """

    point: Point
    feed_again: bool = False

    def __post_init__(self) -> None:
        """Refuse a point that is several."""
        parts = (self.point.key, self.point.day, self.point.snapshot_id)
        if sum(part is not None for part in parts) > 1:
            raise SettingsError(
                "a file, a date and a snapshot cannot be combined as the point to go back to",
                hint="choose one of them",
            )


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Compare everything and land what is missing.

    Attributes:
        repair: Take out rows whose object is gone.
        empty: Take out the rows of an overwrite stream of which no object is left.
    """

    repair: bool = False
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Backfill:
    """Have Airbyte send the stream again from the start."""

    airbyte: AirbyteAccess


@dataclass(frozen=True, slots=True)
class Retry:
    """Put quarantined files back into the queue; all of the stream without keys.

    With `accept`, they may add columns to the landing table, whatever `on_schema_change` says.
    """

    keys: tuple[str, ...] = ()
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Decide that quarantined files do not land."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse to drop everything by accident."""
        if not self.keys:
            raise PermanentError("drop needs keys", hint="name each file to drop")


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Note that a person has seen what is wrong: it stays, and only what is new is alerted again.

    Attributes:
        by: Who.
        keys: Which files, in quarantine or missing; without keys, all that is wrong.
    """

    by: str
    keys: tuple[str, ...] = ()


Request = Rewind | Reconcile | Backfill | Retry | Drop | Acknowledge


@dataclass(frozen=True, slots=True)
class Report:
    """What a request would do, or has done.

    Attributes:
        figures: Counts and names, for machines.
        summary: The same in words.
        problems: What is left for a person, each with what to do.
    """

    figures: dict[str, Any]
    summary: str
    problems: tuple[str, ...] = ()


def plan(lake: Lake, stream: Stream, request: Request) -> Report:
    """Tell what a request would do; a lake that is open to read will do.

    Raises:
        PermanentError: The request names what is not there.
        StorageUnavailableError: The bucket could not be listed.
        AirbyteUnavailableError: Airbyte did not answer.
    """
    match request:
        case Rewind():
            return _plan_rewind(lake, stream, request)[1]
        case Reconcile():
            return _plan_reconcile(lake, stream)
        case Backfill():
            return _plan_backfill(lake, stream, AirbyteClient(request.airbyte))[1]
        case Retry():
            return _plan_decision(lake, stream, request.keys, "put back into the queue")
        case Drop():
            return _plan_decision(lake, stream, request.keys, "dropped")
        case Acknowledge():
            return _plan_acknowledgement(lake, stream, request)[1]


def carry_out(lake: Lake, stream: Stream, request: Request, run_id: str) -> Report:
    """Do what a request asks for, as the lake is now.

    Args:
        lake: Open lake.
        stream: The stream.
        request: What to do.
        run_id: Who does it, for the ledger.

    Raises:
        PermanentError: The request names what is not there.
        StorageUnavailableError: The bucket could not be listed; nothing was done.
        AirbyteBusyError: A job of the connection is open already.
        AirbyteUnavailableError: Airbyte did not answer; no job was started.
    """
    match request:
        case Rewind():
            return _rewind(lake, stream, request, run_id)
        case Reconcile():
            return _reconcile(lake, stream, request, run_id)
        case Backfill():
            return _backfill(lake, stream, AirbyteClient(request.airbyte))
        case Retry():
            count = quarantine.retry(lake, stream, request.keys, run_id, accept=request.accept)
            return Report({"files": count}, f"{counted(count, 'file')} in the queue")
        case Drop():
            count = quarantine.drop(lake, stream, request.keys, run_id)
            return Report({"files": count}, f"{counted(count, 'file')} dropped")
        case Acknowledge():
            seen_at = datetime.now(UTC)
            reasons, report = _plan_acknowledgement(lake, stream, request)
            note_acknowledgement(lake, stream, reasons, (seen_at, request.by), run_id)
            return report


def _plan_rewind(lake: Lake, stream: Stream, request: Rewind) -> tuple[RewindPlan, Report]:
    models = load_models(ensure_manifest(lake.settings.project_dir))
    consumers = [model.name for model in processed_models(models, stream.id)]
    found = plan_rewind(lake, stream, request.point, consumers)
    figures = {
        "files": found.files,
        "bytes": found.size_bytes,
        "rows": found.rows,
        "retired_files": found.retired,
        "cursor_path": found.cursor.path,
        "models": list(found.models),
    }
    size, rows = readable_bytes(found.size_bytes), counted(found.rows, "row")
    summary = (
        f"{counted(found.files, 'file')} ({size}, {rows}) would be listed and processed "
        f"again{', and fed again' if request.feed_again else ''}"
    )
    if found.retired:
        summary += f"\n{counted(found.retired, 'file')} retired before: their rows stay as they are"
    return found, Report(figures, summary)


def _rewind(lake: Lake, stream: Stream, request: Rewind, run_id: str) -> Report:
    found, planned = _plan_rewind(lake, stream, request)
    client = s3_client(lake.settings.s3) if request.feed_again else None
    queued = rewind(lake, stream, found, run_id, client)
    return Report(
        {**planned.figures, "queued": queued},
        f"done; {counted(queued, 'file')} in the queue; the stream's next run continues from here",
    )


def _plan_reconcile(lake: Lake, stream: Stream) -> Report:
    found = plan_run(lake, stream, s3_client(lake.settings.s3), whole=True)
    figures = {
        "listed": found.listed,
        "new_files": found.new_files,
        "waiting_files": found.waiting_files,
        "refused": [asdict(refused) for refused in found.refused],
    }
    return Report(
        figures,
        f"{counted(found.listed, 'object')} listed; {found.new_files} new and "
        f"{found.waiting_files} waiting would land, {len(found.refused)} would be refused",
    )


def _reconcile(lake: Lake, stream: Stream, request: Reconcile, run_id: str) -> Report:
    client = s3_client(lake.settings.s3)
    found = reconcile(lake, stream, client, run_id, repair=request.repair, empty=request.empty)
    name = f"{stream.source} {stream.name}"
    return Report(
        asdict(found),
        found.summary,
        tuple(problem.replace("SOURCE STREAM", name) for problem in found.problems),
    )


def _plan_backfill(
    lake: Lake, stream: Stream, client: AirbyteClient
) -> tuple[BackfillPlan, Report]:
    (found,) = plan_backfills(lake, client, [stream])
    held = found.streams[0].held
    figures = {
        "connection": str(found.connection),
        "files": held.landed_files,
        "rows": held.landed_rows,
    }
    summary = (
        f"Airbyte's connection {found.connection} would send all records again, as new files; the "
        f"lake holds {counted(held.landed_rows, 'row')} in {counted(held.landed_files, 'file')}"
    )
    return found, Report(figures, summary)


def _backfill(lake: Lake, stream: Stream, client: AirbyteClient) -> Report:
    found, planned = _plan_backfill(lake, stream, client)
    job = request_backfill(lake, client, found)
    return Report(
        {**planned.figures, "job": job},
        f"Airbyte started job {job}; `lotus-lake job {job}` shows what has landed",
    )


def _plan_decision(lake: Lake, stream: Stream, keys: Sequence[str], done: str) -> Report:
    found = {
        file.key: file.error
        for file in quarantine.list_quarantined(lake, stream.source, stream.name)
    }
    if unknown := set(keys) - set(found):
        raise PermanentError(
            f"not in the quarantine of {stream.id}: {', '.join(sorted(unknown))}",
            hint=f"lotus-lake quarantine list {stream.source} {stream.name}",
        )
    chosen = {key: found[key] for key in keys or found}
    return Report(
        {"files": len(chosen), "keys": chosen}, f"{counted(len(chosen), 'file')} would be {done}"
    )


def _plan_acknowledgement(
    lake: Lake, stream: Stream, request: Acknowledge
) -> tuple[dict[str | None, tuple[str, ...]], Report]:
    """What is said of each file that is acknowledged, or of the stream."""
    reasons: dict[str | None, tuple[str, ...]] = {}
    if request.keys:
        faults = files_with(lake, stream, ("quarantined", "missing")) if was_fed(lake) else []
        known = {file.key: file.event for file in faults}
        if unknown := set(request.keys) - set(known):
            raise PermanentError(
                f"neither in quarantine nor missing: {', '.join(sorted(unknown))}",
                hint=f"lotus-lake files {stream.source} {stream.name} --event quarantined",
            )
        reasons |= {key: (known[key],) for key in request.keys}
    else:
        models = built_models(lake.settings.project_dir)
        for found in read_streams(lake, models, datetime.now(UTC)):
            if found.stream_id == stream.id and not found.findings:
                raise PermanentError(
                    f"nothing is wrong with {stream.id}: {found.verdict.reason}",
                    hint="lotus-lake status shows what needs a person",
                )
            if found.stream_id == stream.id:
                reasons[None] = tuple(one.verdict.reason for one in found.findings)
    said = "; ".join(
        f"{key} {why}" if key else why for key, some in reasons.items() for why in some
    )
    summary = f"seen by {request.by}: {said}; only what is new is alerted from now on"
    return reasons, Report({"by": request.by, "seen": said}, summary)
