"""The feeder as a task group: thin wrappers around `lotus_lake.feeder`.

XCom carries counts and queue positions; files and their keys stay in the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from airflow.sdk import task_group
from airflow.sdk.exceptions import AirflowSkipException
from airflow.task.trigger_rule import TriggerRule

from lotus_lake.airflow.tasks import label_task, lake_task, open_stream, run_id, tell_landing
from lotus_lake.bucket.objects import s3_client
from lotus_lake.feeder.batch import Batch, plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.quantities import counted
from lotus_lake.repair.quarantine import quarantined_in

# Files in quarantine that a run names in its log; the others are counted.
_SHOWN_FILES = 10

log = logging.getLogger(__name__)


@task_group(group_id="feeder", tooltip="Registers new files in the landing table")
def feeder(source: str, stream: str, consumers: Sequence[str], all_known: bool) -> Any:
    """List -> batch -> register -> cursor -> cleanup; returns the output of `cursor`.

    Args:
        source: Source of the stream.
        stream: Name of the stream.
        consumers: The models that read it.
        all_known: Whether these are all of them; if not, nothing is retired.
    """
    name = {"source": source, "stream": stream}
    listing = list_new(**name)
    batches = batch(**name)
    registered = register.partial(**name).expand(batch=batches)
    state = cursor(**name, consumers=list(consumers))
    listing >> batches
    (
        [batches, registered]
        >> state
        >> cleanup(**name, consumers=list(consumers) if all_known else None)
    )
    return state


@lake_task(
    "Lists the objects in the stream's window of the bucket, and queues those that the ledger "
    "does not know.",
    task_id="list",
)
def list_new(source: str, stream: str) -> dict[str, Any]:
    """List the window and record what is new."""
    with open_stream(source, stream) as (lake, config):
        listing = list_files(lake, config, s3_client(lake.settings.s3), run_id())
    log.info("%s", listing.summary)
    return asdict(listing)


@lake_task(
    "Cuts the queue into batches of bounded size; each is one commit, and one instance of "
    "`register`.",
    task_id="batch",
)
def batch(source: str, stream: str) -> list[dict[str, Any]]:
    """Plan the batches of this run."""
    with open_stream(source, stream) as (lake, config):
        batches = plan_batches(lake, config)
    for planned in batches:
        log.info("%s", planned.label)
    if not batches:
        log.info("no file can be registered now")
    return [asdict(planned) for planned in batches]


@lake_task(
    "Registers the files of one batch in the landing table. Files, ledger, guard and cursor change "
    "in one commit.",
    task_id="register",
    max_active_tis_per_dagrun=1,
    map_index_template="{{ label }}",
)
def register(source: str, stream: str, batch: dict[str, Any]) -> dict[str, Any]:
    """Register one batch."""
    planned = Batch(**batch)
    label_task(planned.label)
    with open_stream(source, stream) as (lake, config):
        result = register_batch(lake, config, planned, run_id())
    if result.quarantined:
        label_task(f"{planned.label}, {result.quarantined} QUARANTINED")
    return asdict(result)


@lake_task(
    "Reads back from the lake what this run committed, where the cursor stands and which files "
    "wait.",
    task_id="cursor",
    # A run that found no file to register still has to say where the stream stands.
    trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
)
def cursor(source: str, stream: str, consumers: list[str]) -> dict[str, Any]:
    """Read the committed state."""
    with open_stream(source, stream) as (lake, config):
        state = read_state(lake, config, run_id(), consumers)
        bad = quarantined_in(lake, config, run_id(), limit=_SHOWN_FILES)
    tell_landing(lake.settings, config)
    log.info("%s", state.summary)
    for file in bad:
        log.warning("quarantined %s: %s", file.key, file.error)
    if state.quarantined:
        log.warning(
            "%s quarantined; to see all of the stream and what to do about them, run "
            "`lotus-lake quarantine list %s %s`, or SELECT key, error "
            "FROM lakehouse.meta.feeder_files WHERE source = '%s' AND stream = '%s' "
            "AND event = 'quarantined'",
            counted(state.quarantined, "file"), source, stream, source, stream,
        )  # fmt: skip
    return asdict(state)


@lake_task(
    "Retires raw files that are older than the stream's retention and that every processed model "
    "has read; `lake_maintenance` deletes them later.",
    task_id="cleanup",
)
def cleanup(source: str, stream: str, consumers: list[str] | None) -> dict[str, Any]:
    """Retire old files, once it is known who reads them."""
    if consumers is None:
        raise AirflowSkipException(
            "nothing is retired while the dbt project does not parse, because the models that "
            "read the stream are unknown; see the import error of dags/model_errors.py"
        )
    with open_stream(source, stream) as (lake, config):
        retired = retire_files(lake, config, consumers, run_id())
    if not retired.files:
        log.info("no raw file is ready to be retired")
    return asdict(retired)
