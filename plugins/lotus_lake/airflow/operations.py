"""The Dag for what a person does by hand: go back, reconcile, backfill, decide about bad files.

It does what the commands `rewind`, `reconcile`, `backfill` and `quarantine` do, for those who have
the Airflow UI and no shell. Nothing is changed until the box `Dry run` is cleared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, get_current_context, task

from lotus_lake.airbyte.backfill import plan_backfills, request_backfill
from lotus_lake.airbyte.client import AirbyteClient
from lotus_lake.airflow.connections import airbyte_access, lake_settings
from lotus_lake.airflow.dags import START_DATE
from lotus_lake.airflow.tasks import no_retry_on_permanent
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.lake.session import Lake
from lotus_lake.observe.plan import plan_run
from lotus_lake.project.manifest import ensure_manifest, load_models, processed_models
from lotus_lake.repair import quarantine
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.rewind import Point, plan_rewind, rewind

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATIONS_DAG_ID = "lake_operations"
REWIND, RECONCILE, BACKFILL = "rewind", "reconcile", "backfill"
RETRY, DROP = "retry quarantine", "drop quarantine"

_DOC = """\
### Operations by hand

Choose an operation and a stream, leave **Dry run** on, and read in the log of the task what would
be done. Then trigger it again with **Dry run** off. No operation ever doubles a row.

`rewind`
: Moves the cursor and the watermarks of the models back: files from a point on are looked at, and
  their rows processed, again. The point is *To date* or *To file*; neither is the very start.
  *Feed again* registers each file anew, too, in the place of its old registration.

`reconcile`
: Lists the whole prefix, lands what is missing, and reports objects that are gone. The task fails
  when something is left for a person. *Repair* takes rows out whose object is gone.

`backfill`
: Asks Airbyte to send the stream once more from the start, keeping all there is. Processed tables
  keep the newest version of each key, so records that come again change nothing in them. Needs the
  connection `airbyte_default`. Airbyte works on after the task has ended; `lotus-lake job ID` then
  tells whether everything has landed.

`retry quarantine`
: Puts the quarantined files of *Keys*, or all of the stream, back into the queue; the stream's next
  run tries them again.

`drop quarantine`
: Decides that the files of *Keys* do not land. Their objects stay in the bucket.

The same from a shell: `lotus-lake rewind`, `reconcile`, `backfill`, `quarantine retry`,
`quarantine drop`.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What the form says."""

    operation: str
    stream: str
    to_date: str | None
    to_file: str | None
    keys: tuple[str, ...]
    feed_again: bool
    repair: bool
    dry_run: bool

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Request:
        """Read the parameters of a run."""
        values = {name: params[name] for name in cls.__slots__ if name != "keys"}
        return cls(**values, keys=tuple(params["keys"] or ()))


def operations_dag() -> DAG:
    """One task that does what the form of the trigger asks for."""
    settings = Settings.from_env()
    names = [stream.id for stream in load_streams(settings.streams_dir)[0]]
    with DAG(
        dag_id=OPERATIONS_DAG_ID,
        description="By hand: rewind, reconcile or backfill a stream, retry or drop bad files",
        doc_md=_DOC,
        schedule=None,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["maintenance"],
        default_args={
            "owner": "lotus-lake",
            "retries": 1,
            "retry_delay": timedelta(seconds=30),
        },
        params=_form(names),
    ) as dag:
        operate()
    return dag


@task(task_id="operate", doc_md="Does what the form of the trigger asks for; the log says what.")
@no_retry_on_permanent
def operate() -> dict[str, Any]:
    """Do the operation; the result has counts, the log shows it for people."""
    context = get_current_context()
    request = Request.of(context["params"])
    settings = lake_settings()
    stream = _find(settings, request.stream)
    with _open(settings, dry_run=request.dry_run) as lake:
        result = carry_out(lake, stream, request, str(context["dag_run"].run_id))
    log.info(
        "%s%s of %s:\n%s",
        "dry run, nothing was changed: " if request.dry_run else "",
        request.operation,
        stream.id,
        json.dumps(result, indent=2, default=str),
    )
    if problems := result.get("problems"):
        raise PermanentError("; ".join(problems))
    return {name: value for name, value in result.items() if isinstance(value, int | str)}


def carry_out(lake: Lake, stream: Stream, request: Request, run_id: str) -> dict[str, Any]:
    """Do what a request asks for, or, in a dry run, say what would be done.

    Args:
        lake: Open lake; read-only will do for a dry run.
        stream: The stream.
        request: What to do.
        run_id: Who does it, for the ledger.

    Raises:
        PermanentError: The request contradicts itself, or names what is not there.
    """
    if request.operation == REWIND:
        return _rewind(lake, stream, request, run_id)
    if request.operation == RECONCILE:
        return _reconcile(lake, stream, request, run_id)
    if request.operation == BACKFILL:
        return _backfill(lake, stream, dry_run=request.dry_run)
    return _decide(lake, stream, request, run_id)


def _rewind(lake: Lake, stream: Stream, request: Request, run_id: str) -> dict[str, Any]:
    if request.to_date and request.to_file:
        raise PermanentError("To date and To file exclude each other", hint="clear one of them")
    day = date.fromisoformat(request.to_date[:10]) if request.to_date else None
    models = load_models(ensure_manifest(lake.settings.project_dir))
    consumers = [model.name for model in processed_models(models, stream.id)]
    plan = plan_rewind(lake, stream, Point(key=request.to_file, day=day), consumers)
    result = {
        "files": len(plan.files),
        "bytes": plan.size_bytes,
        "rows": plan.rows,
        "retired_files": plan.retired,
        "cursor_path": plan.cursor.path,
        "models": ", ".join(plan.models),
    }
    if request.dry_run:
        return result
    client = s3_client(lake.settings.s3) if request.feed_again else None
    return {**result, "queued": rewind(lake, stream, plan, run_id, client)}


def _reconcile(lake: Lake, stream: Stream, request: Request, run_id: str) -> dict[str, Any]:
    client = s3_client(lake.settings.s3)
    if request.dry_run:
        plan = plan_run(lake, stream, client, whole=True)
        return {
            "listed": plan.listed,
            "new_files": plan.new_files,
            "waiting_files": plan.waiting_files,
            "refused": [asdict(refused) for refused in plan.refused],
        }
    found = reconcile(lake, stream, client, run_id, repair=request.repair)
    return {**asdict(found), "problems": found.problems}


def _backfill(lake: Lake, stream: Stream, *, dry_run: bool) -> dict[str, Any]:
    client = AirbyteClient(airbyte_access())
    (plan,) = plan_backfills(lake, client, [stream])
    (planned,) = plan.streams
    result = {
        "connection": str(plan.connection),
        "files": planned.held.landed_files,
        "rows": planned.held.landed_rows,
    }
    return result if dry_run else {**result, "job": request_backfill(lake, client, plan)}


def _decide(lake: Lake, stream: Stream, request: Request, run_id: str) -> dict[str, Any]:
    """Retry or drop quarantined files."""
    if request.operation == DROP and not request.keys:
        raise PermanentError("drop quarantine needs keys", hint="one key a line, in Keys")
    if request.dry_run:
        found = quarantine.list_quarantined(lake, stream.source, stream.name)
        chosen = [file for file in found if not request.keys or file.key in request.keys]
        return {"files": len(chosen), "keys": {file.key: file.error for file in chosen}}
    act = quarantine.drop if request.operation == DROP else quarantine.retry
    return {"files": act(lake, stream, request.keys, run_id)}


@contextmanager
def _open(settings: Settings, *, dry_run: bool) -> Iterator[Lake]:
    with open_to_read(settings) if dry_run else open_lake(settings) as lake:
        yield lake


def _find(settings: Settings, stream_id: str) -> Stream:
    streams, _ = load_streams(settings.streams_dir)
    for stream in streams:
        if stream.id == stream_id:
            return stream
    raise PermanentError(f"there is no stream {stream_id!r}", hint="its config may be broken")


def _form(stream_ids: list[str]) -> dict[str, Param]:
    return {
        "operation": Param(
            RECONCILE,
            type="string",
            enum=[REWIND, RECONCILE, BACKFILL, RETRY, DROP],
            title="Operation",
        ),
        # No default: nobody should touch the first stream of the list by accident.
        "stream": Param(type="string", enum=stream_ids or [""], title="Stream"),
        "to_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="To date",
            description="rewind: files of this day and later ones.",
        ),
        "to_file": Param(
            None,
            type=["null", "string"],
            title="To file",
            description="rewind: this key and all that follow it.",
        ),
        "keys": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Keys",
            description="quarantine: keys of objects, one a line; for retry none means all.",
        ),
        "feed_again": Param(
            False,
            type="boolean",
            title="Feed again",
            description="rewind: register the files anew, too.",
        ),
        "repair": Param(
            False,
            type="boolean",
            title="Repair",
            description="reconcile: take rows out of the landing table whose object is gone.",
        ),
        "dry_run": Param(
            True,
            type="boolean",
            title="Dry run",
            description="Only say in the log what would be done.",
        ),
    }
