"""The feeder as Airflow tasks: thin wrappers around `lotus_lake.feeder`.

XCom carries counts and queue positions; files and their keys stay in the ledger.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, ParamSpec, TypeVar

from airflow.sdk import Asset, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.task.trigger_rule import TriggerRule

from lotus_lake.airflow.connections import lake_settings
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.errors import PermanentError
from lotus_lake.feeder.batch import Batch, plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.cursor import read_state
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.ledger.watermarks import files_read
from lotus_lake.repair.quarantine import quarantined_in
from lotus_lake.repair.reconcile import reconcile

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Files in quarantine that a run names in its log; the others are counted.
_SHOWN_FILES = 10

log = logging.getLogger(__name__)


def no_retry_on_permanent(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Fail at once where a retry cannot help."""

    @functools.wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error

    return wrapper


@task_group(group_id="feeder", tooltip="Registers new files into the landing table")
def feeder(source: str, stream: str, consumers: Sequence[str]) -> Any:
    """List -> batch -> register -> cursor -> cleanup; returns the output of `cursor`."""
    name = {"source": source, "stream": stream}
    listing = list_new(**name)
    batches = batch(**name)
    registered = register.partial(**name).expand(batch=batches)
    state = cursor(**name, consumers=list(consumers))
    listing >> batches
    [batches, registered] >> state >> cleanup(**name, consumers=list(consumers))
    return state


@task(task_id="list", doc_md="Finds the objects that the ledger does not know.")
@no_retry_on_permanent
def list_new(source: str, stream: str) -> dict[str, Any]:
    """List the window and record what is new."""
    with _open(source, stream) as (lake, config):
        listing = list_files(lake, config, s3_client(lake.settings.s3), _run_id())
    log.info("%s", listing)
    return asdict(listing)


@task(task_id="batch", doc_md="Cuts the waiting files into batches, one commit each.")
@no_retry_on_permanent
def batch(source: str, stream: str) -> list[dict[str, Any]]:
    """Plan the batches of this run."""
    with _open(source, stream) as (lake, config):
        batches = plan_batches(lake, config)
    for planned in batches:
        log.info("%s", planned.label)
    return [asdict(planned) for planned in batches]


@task(
    task_id="register",
    doc_md="Registers the files of one batch, with ledger, guard and cursor, in one commit.",
    max_active_tis_per_dagrun=1,
    map_index_template="{{ label }}",
)
@no_retry_on_permanent
def register(source: str, stream: str, batch: dict[str, Any]) -> dict[str, Any]:
    """Register one batch."""
    planned = Batch(**batch)
    _label(planned.label)
    with _open(source, stream) as (lake, config):
        result = register_batch(lake, config, planned, _run_id())
    if result.quarantined:
        _label(f"{planned.label}, {result.quarantined} QUARANTINED")
    return asdict(result)


@task(
    task_id="cursor",
    doc_md="Reads back from the lake where the stream stands, and says what this run did.",
    # A run that found no file to register has still to say where it stands.
    trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
)
@no_retry_on_permanent
def cursor(source: str, stream: str, consumers: list[str]) -> dict[str, Any]:
    """Read the committed state."""
    with _open(source, stream) as (lake, config):
        state = read_state(lake, config, _run_id(), consumers)
        bad = quarantined_in(lake, config, _run_id(), limit=_SHOWN_FILES)
    log.info(
        "cursor %s; %d files landed, %d of them as copies (%d rows), %d empty, %d quarantined, "
        "%d wait",
        state.cursor_path, state.registered, state.copied, state.row_count, state.empty,
        state.quarantined, state.backlog_files,
    )  # fmt: skip
    for file in bad:
        log.warning("quarantined %s: %s", file.key, file.error)
    if state.quarantined:
        log.warning(
            "%d files were quarantined; all of the stream, and what to do about them: "
            "`lotus-lake quarantine list %s %s`, or SELECT key, error "
            "FROM lakehouse.meta.feeder_files WHERE source = '%s' AND stream = '%s' "
            "AND event = 'quarantined'",
            state.quarantined, source, stream, source, stream,
        )  # fmt: skip
    return asdict(state)


@task(
    task_id="cleanup",
    doc_md="Retires raw files that are older than the retention and consumed by every model.",
)
@no_retry_on_permanent
def cleanup(source: str, stream: str, consumers: list[str]) -> dict[str, Any]:
    """Retire old files."""
    with _open(source, stream) as (lake, config):
        return asdict(retire_files(lake, config, consumers, _run_id()))


@task(
    task_id="reconcile",
    doc_md="Compares bucket, ledger and landing table of a stream; lands what is missing.",
    map_index_template="{{ label }}",
    # Listings of all streams at once would only slow down those that feed.
    max_active_tis_per_dagrun=2,
)
@no_retry_on_permanent
def reconcile_stream(source: str, stream: str) -> dict[str, Any]:
    """Reconcile one stream; red when something is left that a person has to look at."""
    _label(f"{source}__{stream}")
    params = get_current_context()["params"]
    if params["only"] not in ("", f"{source}__{stream}"):
        raise AirflowSkipException(f"only {params['only']} was asked for")
    with _open(source, stream) as (lake, config):
        client = s3_client(lake.settings.s3)
        result = reconcile(lake, config, client, _run_id(), repair=params["repair"])
    if result.problems:
        said = "; ".join(result.problems).replace("SOURCE STREAM", f"{source} {stream}")
        raise AirflowFailException(f"{said}; so does this Dag with its parameter repair")
    return asdict(result)


def publish_stream(assets: Sequence[Asset], source: str, stream: str, state: Any) -> Any:
    """Last task of a stream's run; it is skipped, or not reached, with the models above it."""

    @task(task_id="publish", doc_md=_PUBLISH_DOC, outlets=list(assets))
    def publish(state: dict[str, Any], *, outlet_events: Any = None) -> None:
        models = [asset.name for asset in assets]
        with _open(source, stream) as (lake, config):
            read = files_read(lake, config, models, after=state["processed_snapshot_id"])
        _update(assets, outlet_events, {"stream": config.id, **asdict(read)})

    return publish(state)


def publish_domain(assets: Sequence[Asset], domain: str) -> Any:
    """Last task of an enriched run; says which updates triggered it, if any did."""

    @task(task_id="publish", doc_md=_PUBLISH_DOC, outlets=list(assets))
    def publish(*, outlet_events: Any = None, triggering_asset_events: Any = None) -> None:
        triggered_by = sorted(asset.name for asset in triggering_asset_events or {})
        _update(assets, outlet_events, {"domain": domain, "triggered_by": triggered_by})

    return publish()


_PUBLISH_DOC = "Updates the assets; what is scheduled on them runs next."


def _update(assets: Sequence[Asset], outlet_events: Any, extra: dict[str, Any]) -> None:
    for asset in assets:
        outlet_events[asset].extra = extra  # clear text in Airflow's database: no secrets
    log.info("updated %s: %s", ", ".join(asset.name for asset in assets), extra)


@contextmanager
def _open(source: str, stream: str) -> Iterator[tuple[Lake, Stream]]:
    settings = lake_settings()
    with open_lake(settings) as lake:
        yield lake, find_stream(settings.streams_dir, source, stream)


def _label(text: str) -> None:
    """Name a mapped task in the UI."""
    get_current_context()["label"] = text  # type: ignore[typeddict-unknown-key]


def _run_id() -> str:
    return str(get_current_context()["dag_run"].run_id)
