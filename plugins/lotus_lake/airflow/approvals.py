"""The Dag `lake_approvals`: asks a person whether a landing table may change.

Streams with `on_schema_change: ask` put files that would change their landing table into
quarantine. `lake_alerts` starts one run of this Dag for each such change, and its run id is the
change's: nobody is asked twice. The question is an approval of Airflow's, and waits as long as it
has to without a slot; the stream's other files land meanwhile.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, get_current_context

from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.tasks import lake_dag, lake_task, open_stream, run_id
from lotus_lake.airflow.trigger import run_streams
from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.quantities import counted
from lotus_lake.repair.approvals import SchemaQuestion, accept, open_questions

APPROVALS_DAG_ID = "lake_approvals"

_DOC = """\
### Schema changes that wait for a person

A stream with `on_schema_change: ask` lands no file that would change its landing table. This Dag
asks: the task `approve` is a **required action** of the run. *Approve* queues the files, and the
stream's next run adds the columns and lands them. *Reject* leaves them in quarantine, and the
question is not asked again; clear the task `approve` to ask once more.

The same from a shell: `lotus-lake quarantine list` and `lotus-lake quarantine retry --accept`.
"""
# Many changes may wait at a time.
_RUNS = 200

log = logging.getLogger(__name__)


def approvals_dag() -> DAG:
    """The Dag: describe the change, ask, apply it."""
    with lake_dag(
        APPROVALS_DAG_ID,
        description="Asks a person whether a landing table may get the columns of new files",
        doc_md=_DOC,
        schedule=None,
        max_active_runs=_RUNS,
        has_long_tasks=False,
        tags=["maintenance"],
        params={"question": Param("", type="string", title="Id of the change")},
    ) as dag:
        described = describe()
        # Templates fetch the words: words that were arguments would be templates themselves.
        asked = ApprovalOperator(
            task_id="approve",
            doc_md="Waits until a person approves or rejects the change.",
            subject="{{ ti.xcom_pull(task_ids='describe')['subject'] }}",
            body="{{ ti.xcom_pull(task_ids='describe')['body'] }}",
            execution_timeout=None,
        )
        applied = apply(described)
        described >> asked >> applied
        run_streams(applied)
    return dag


def ask_about_changes() -> None:
    """Tasks that start a run of `lake_approvals` for each change that nobody was asked about."""
    TriggerDagRunOperator.partial(
        task_id="ask",
        doc_md="Starts a run of `lake_approvals` for each schema change that waits for a person.",
        trigger_dag_id=APPROVALS_DAG_ID,
        skip_when_already_exists=True,
        map_index_template="{{ task.trigger_run_id }}",
    ).expand_kwargs(find_changes())


@lake_task("Finds schema changes that wait for a person (`on_schema_change: ask`).")
def find_changes() -> list[dict[str, Any]]:
    """The runs of `lake_approvals` that there have to be: an id is all that they are told."""
    with open_lake(lake_settings()) as lake:
        questions = open_questions(lake)
    return [
        {"trigger_run_id": f"change_{question.id}", "conf": {"question": question.id}}
        for question in questions
    ]


@lake_task("Describes the change, and the files that wait for it.")
def describe() -> dict[str, str]:
    """The question, with its subject and its body: Markdown, in which names are plain text."""
    with open_lake(lake_settings()) as lake:
        question = _asked(lake)
    keys = "\n".join(f"* {plain_text(key)}" for key in question.keys)
    more = question.files - len(question.keys)
    return {
        "source": question.source,
        "stream": question.stream,
        "change": question.change,
        "subject": f"May the landing table of {question.source}/{question.stream} change?",
        "body": f"The table would change: **{plain_text(question.change)}**.\n\n"
        f"{counted(question.files, 'file')} cannot land without it:\n\n{keys}\n"
        + (f"* and {more} more\n" if more > 0 else "")
        + "\nApprove: they land with the stream's next run. Reject: they stay in quarantine.",
    }


@lake_task("Queues the files; the run of the stream that follows changes the table and lands them.")
def apply(described: dict[str, str]) -> list[str]:
    """Queue the files; returns the id of their stream, also if they were queued before."""
    with open_stream(described["source"], described["stream"]) as (lake, stream):
        queued = accept(lake, stream, described["change"], run_id())
    log.info("%s in the queue of the stream", counted(queued, "file"))
    return [stream.id]


def _asked(lake: Lake) -> SchemaQuestion:
    wanted = get_current_context()["params"]["question"]
    for question in open_questions(lake):
        if question.id == wanted:
            return question
    raise PermanentError(
        f"no file waits for the change {wanted!r}",
        hint="the files have landed or were dropped meanwhile; `lotus-lake quarantine list`",
    )


def plain_text(text: str) -> str:
    """Text as Markdown that shows nothing but it."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~&:$])", r"\\\1", " ".join(text.split()))
