"""The Dag `lake_reconcile`: compares bucket, ledger and landing table of every stream, daily."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from lotus_lake import operations
from lotus_lake.airflow.alerts import ALERTED
from lotus_lake.airflow.tasks import (
    label_task,
    lake_dag,
    lake_task,
    open_stream,
    run_id,
    tell_landing,
)
from lotus_lake.airflow.trigger import run_streams
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams

RECONCILE_DAG_ID = "lake_reconcile"

_DOC = """\
### Reconcile

A run of a stream lists a window of its prefix. This Dag lists the whole prefix of every stream,
once a day:

* Files that arrived later than `lookback_days` land.
* Files that landed according to the ledger, but are not in the landing table, land again.
* Objects that somebody deleted are reported: the task fails, because queries that read their
  rows fail as well. *Repair* removes those rows from the landing table.

The same from a shell: `lotus-lake reconcile`.
"""

# Key of the XCom of a stream in which something has landed.
_LANDED = "landed"

log = logging.getLogger(__name__)


def reconcile_dag() -> DAG:
    """The Dag: choose -> reconcile, an instance per stream -> run those in which files landed."""
    stream_ids = [stream.id for stream in load_streams(Settings.from_env().streams_dir)[0]]
    with lake_dag(
        RECONCILE_DAG_ID,
        description="Compares the whole bucket with the lake, lands what is missing, reports gaps",
        doc_md=_DOC,
        schedule="43 2 * * *",
        tags=["maintenance"],
        default_args=ALERTED,
        params=_params(stream_ids),
    ) as dag:
        reconciled = reconcile.expand_kwargs(choose())
        landed = landed_in()
        reconciled >> landed
        # The last tasks of a Dag say how its run ended: this one repeats a failure before them.
        [reconciled, run_streams(landed)] >> fail()
    return dag


# A Dag whose only task is mapped has no owner in Airflow's database: it reads those of the others.
@lake_task("Chooses the streams to reconcile: all, or the one that the form names.")
def choose() -> list[dict[str, str]]:
    """Names of the streams; one whose config is broken is left out, and shown by its own error."""
    only = get_current_context()["params"]["only"]
    streams = load_streams(Settings.from_env().streams_dir)[0]
    chosen = [stream for stream in streams if only in ("", stream.id)]
    log.info("to reconcile: %s", ", ".join(stream.id for stream in chosen) or "no stream")
    return [{"source": stream.source, "stream": stream.name} for stream in chosen]


@lake_task(
    "Compares bucket, ledger and landing table of one stream, and lands what is missing. Fails if "
    "something needs a person.",
    map_index_template="{{ label }}",
    # Listings of all streams at once would only slow down those that feed.
    max_active_tis_per_dagrun=2,
)
def reconcile(source: str, stream: str) -> dict[str, Any]:
    """Reconcile one stream."""
    label_task(f"{source}__{stream}")
    request = operations.Reconcile(repair=get_current_context()["params"]["repair"])
    with open_stream(source, stream) as (lake, config):
        result = operations.carry_out(lake, config, request, run_id())
    tell_landing(lake.settings, config)
    if result.figures["registered"]:
        get_current_context()["ti"].xcom_push(_LANDED, config.id)
    if result.problems:
        gone = result.figures["missing"] > result.figures["repaired"]
        hint = "; this Dag does the same with its parameter repair" if gone else ""
        raise AirflowFailException("; ".join(result.problems) + hint)
    return result.figures


@lake_task(
    "Names the streams in which something has landed: a run of each is triggered, for its models.",
    trigger_rule="all_done",
)
def landed_in() -> list[str]:
    """Ids of the streams, also of those that need a person."""
    found = get_current_context()["ti"].xcom_pull(task_ids="reconcile", key=_LANDED)
    found = [found] if isinstance(found, str) else found  # one value is no list
    return sorted(filter(None, found or ()))


@lake_task(
    "Fails if a stream could not be reconciled, so that the run fails, too; skipped otherwise.",
    trigger_rule="one_failed",
    retries=0,
    on_failure_callback=None,
)
def fail() -> None:
    """Fail.

    Raises:
        AirflowFailException: Always.
    """
    raise AirflowFailException("a task before this one has failed: its log says why")


def _params(stream_ids: list[str]) -> dict[str, Param]:
    return {
        "only": Param(
            "",
            type="string",
            enum=["", *stream_ids],
            title="Stream",
            description="If empty, all streams.",
        ),
        "repair": Param(
            False,
            type="boolean",
            title="Repair",
            description="Remove the rows of missing objects from the landing tables, so that "
            "queries of the other rows work again.",
        ),
    }
