"""The Dag `lake_operations`: what a person does by hand, for those without a shell.

It carries out what the commands `rewind`, `reconcile`, `backfill` and `quarantine` do. Nothing is
changed until the box *Dry run* is cleared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, get_current_context, task

from lotus_lake.airflow.approvals import plain_text
from lotus_lake.airflow.connections import airbyte_access, lake_settings
from lotus_lake.airflow.tasks import lake_dag, lake_task, run_id
from lotus_lake.airflow.trigger import run_streams
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.operations import (
    Acknowledge,
    Backfill,
    Drop,
    Reconcile,
    Report,
    Request,
    Retry,
    Rewind,
    carry_out,
    plan,
)
from lotus_lake.repair.rewind import Point

OPERATIONS_DAG_ID = "lake_operations"

_DOC = """\
### Operations by hand

Choose an operation and a stream, leave **Dry run** on, and read in the log of the task `dry_run`
what would happen. Then trigger the Dag again with **Dry run** off. A rewind then shows what it
would do, and waits until somebody confirms that: a **required action** of the run. No operation
ever doubles a row. After an operation, a run of the stream is triggered, which goes on with what
has changed.

`rewind`
: Moves the cursor and the models' watermarks back: files from a point on are listed, and their rows
  processed, again. The point is *To date* or *To file*; with neither, it is the very start.
  *Feed again* also replaces the registration of each file.

`reconcile`
: Lists the whole prefix, lands what is missing, and reports objects that are gone. The task fails
  if something needs a person. *Repair* removes the rows of missing objects.

`backfill`
: Asks Airbyte to send the stream again from the start and keeps everything there is. Processed
  tables keep the newest version of each key, so records that come again change nothing in them.
  Needs the connection `airbyte_default`. Airbyte continues after the task has ended;
  `lotus-lake job ID` shows whether everything has landed.

`retry quarantine`
: Puts the quarantined files of *Keys*, or all of the stream, back into the queue; the stream's next
  run tries them again. *Accept* lets them add columns to the landing table, whatever
  `on_schema_change` says.

`drop quarantine`
: Closes the case of the files of *Keys*: they do not land. Their objects stay in the bucket.

`acknowledge`
: Says that you have seen what is wrong with the stream, or with the files of *Keys*. They stay as
  they are, and are not alerted any more until something new happens. The ledger and the Lake page
  say who has seen what, and when.

To pause a stream, use the switch of its own Dag; the Lake page then shows it as *paused*.

The same from a shell: `lotus-lake rewind`, `reconcile`, `backfill`, `quarantine retry`,
`quarantine drop`, `acknowledge`.
"""

Form = Mapping[str, Any]

# What each choice of the form asks for.
REQUESTS: Mapping[str, Callable[[Form], Request]] = {
    "rewind": lambda form: Rewind(
        Point(form["to_file"] or None, _day(form["to_date"])), form["feed_again"]
    ),
    "reconcile": lambda form: Reconcile(form["repair"], form["empty"]),
    "backfill": lambda _: Backfill(airbyte_access()),
    "retry quarantine": lambda form: Retry(tuple(form["keys"] or ()), form["accept"]),
    "drop quarantine": lambda form: Drop(tuple(form["keys"] or ())),
    "acknowledge": lambda form: Acknowledge(form["person"], tuple(form["keys"] or ())),
}

# What is shown, and waits for a person to confirm it. Others may be asked for meanwhile.
_CONFIRMED = ("rewind",)
_RUNS = 20
# What they change, the stream's next run goes on with.
_FOR_THE_NEXT_RUN = ("rewind", "reconcile", "retry quarantine")

log = logging.getLogger(__name__)


def operations_dag() -> DAG:
    """A task that does what the form asks for, and one that has the stream run then."""
    stream_ids = [stream.id for stream in load_streams(Settings.from_env().streams_dir)[0]]
    with lake_dag(
        OPERATIONS_DAG_ID,
        description="By hand: rewind, reconcile or backfill a stream, retry or drop bad files",
        doc_md=_DOC,
        schedule=None,
        max_active_runs=_RUNS,
        tags=["maintenance"],
        retries=1,
        default_args={"retry_delay": timedelta(seconds=30)},
        params=_form(stream_ids),
    ) as dag:
        planned, done = dry_run(), operate()
        chosen = choose(planned)
        # Templates fetch the words: words that were arguments would be templates themselves.
        confirmed = ApprovalOperator(
            task_id="confirm",
            doc_md="Waits until a person has seen what would be done, and confirms or rejects it.",
            subject="{{ params.operation }} {{ params.stream }}?",
            body="{{ ti.xcom_pull(task_ids='dry_run')['words'] }}",
            execution_timeout=None,
        )
        chosen >> confirmed >> done
        chosen >> done
        run_streams(changed(done))
    return dag


@lake_task("Logs what the operation would do, if that is asked for or has to be confirmed.")
def dry_run() -> dict[str, Any]:
    """Plan the operation; the result has counts and words, the log shows all of it."""
    form, settings = _filled_in(), lake_settings()
    if not form["dry_run"] and form["operation"] not in _CONFIRMED:
        return {}
    stream = _find(settings, form["stream"])
    with open_to_read(settings) as lake:
        planned = plan(lake, stream, REQUESTS[form["operation"]](form))
    _report(f"dry run of {form['operation']}, nothing was changed", stream, planned)
    return {**_counts(planned.figures), "words": plain_text(planned.summary)}


@task.branch(doc_md="Goes on unless it is a dry run; with what has to be confirmed, by asking.")
def choose(_planned: dict[str, Any]) -> str | None:
    """Id of the task that is next."""
    form = get_current_context()["params"]
    if form["dry_run"]:
        return None
    return "confirm" if form["operation"] in _CONFIRMED else "operate"


@lake_task(
    "Does what the trigger form asks for, if it is no dry run.",
    trigger_rule="none_failed_min_one_success",
)
def operate() -> dict[str, Any]:
    """Do the operation; the result has counts, the log shows all of it."""
    form, settings = _filled_in(), lake_settings()
    stream = _find(settings, form["stream"])
    with open_lake(settings) as lake:
        result = carry_out(lake, stream, REQUESTS[form["operation"]](form), run_id())
    _report(form["operation"], stream, result)
    if result.problems:
        raise PermanentError("; ".join(result.problems))
    return _counts(result.figures)


@lake_task("Names the stream whose next run has something to do now, which is then triggered.")
def changed(_result: dict[str, Any]) -> list[str]:
    """Id of the stream, unless nothing was changed that a run of it would look at."""
    form = get_current_context()["params"]
    return [form["stream"]] if form["operation"] in _FOR_THE_NEXT_RUN else []


def _filled_in() -> Form:
    """The form, and who has filled it in."""
    context = get_current_context()
    return {**context["params"], "person": context["dag_run"].triggering_user_name or run_id()}


def _report(what: str, stream: Stream, told: Report) -> None:
    figures = json.dumps(told.figures, indent=2, default=str)
    log.info("%s: %s: %s\n%s", what, stream.id, told.summary, figures)


def _counts(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into XCom: counts and names; lists of files stay in the log."""
    shown = {**figures}
    if "models" in shown:
        shown["models"] = ", ".join(shown["models"])
    return {name: value for name, value in shown.items() if isinstance(value, int | str)}


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text[:10]) if text else None


def _find(settings: Settings, stream_id: str) -> Stream:
    for stream in load_streams(settings.streams_dir)[0]:
        if stream.id == stream_id:
            return stream
    raise PermanentError(
        f"there is no stream {stream_id!r}", hint="its config may be broken: lotus-lake validate"
    )


def _form(stream_ids: list[str]) -> dict[str, Param]:
    return {
        "operation": Param("reconcile", type="string", enum=[*REQUESTS], title="Operation"),
        # No default: nobody should touch the first stream of the list by accident.
        "stream": Param(type="string", enum=stream_ids or [""], title="Stream"),
        "to_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="To date",
            description="rewind: files of this day and later.",
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
            description="quarantine, acknowledge: keys of objects, one per line; none means all, "
            "except for a drop.",
        ),
        "accept": Param(
            False,
            type="boolean",
            title="Accept",
            description="retry quarantine: accept the schema changes of these files.",
        ),
        "feed_again": Param(
            False,
            type="boolean",
            title="Feed again",
            description="rewind: also register the files again.",
        ),
        "repair": Param(
            False,
            type="boolean",
            title="Repair",
            description="reconcile: remove the rows of missing objects from the landing table.",
        ),
        "empty": Param(
            False,
            type="boolean",
            title="Empty",
            description="reconcile: the source is empty; remove the rows of an overwrite stream "
            "whose objects are all gone.",
        ),
        "dry_run": Param(
            True,
            type="boolean",
            title="Dry run",
            description="Change nothing; log what would happen.",
        ),
    }
