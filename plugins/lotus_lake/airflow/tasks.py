"""What all our Dags and tasks share: how they are built, named, opened and failed."""

from __future__ import annotations

import faulthandler
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from airflow.sdk import DAG, get_current_context, get_parsing_context, task
from airflow.sdk.exceptions import AirflowFailException

from lotus_lake.airflow.conflicts import conflicts_counted
from lotus_lake.airflow.connections import lake_settings
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

OWNER = "lotus-lake"
START_DATE = datetime(2024, 1, 1, tzinfo=UTC)
# Models, upkeep and repairs read whole tables or buckets; a task of the feeder is bounded.
_LONG_TASKS = 6
# Airflow ends a task at its limit; a process that it could not end is killed a little later.
_KILL_AFTER = 1.1


def wanted_dag_id() -> str | None:
    """The only Dag that this process needs: a task's process runs one; a Dag processor, all."""
    return get_parsing_context().dag_id


@dataclass(frozen=True, slots=True)
class Built:
    """Dags by id, and why the others could not be built."""

    dags: dict[str, DAG]
    errors: list[str]


def build_each(builders: Mapping[str, tuple[Path, Callable[[], DAG]]]) -> Built:
    """Build the Dags that this process needs, each on its own: one that fails hides no other.

    Airflow keeps import errors per Dag file, and schedules no Dag of a file that has one. So the
    file of the Dags leaves out what fails, and another file calls `raise_errors`. A task's process
    needs a single Dag, and gets its error.

    Args:
        builders: By Dag id: what the Dag is built from, for its error, and what builds it.
    """
    wanted, built = wanted_dag_id(), Built({}, [])
    for dag_id, (file, build) in builders.items():
        if wanted == dag_id:
            return Built({dag_id: build()}, [])
        if wanted is None:
            try:
                built.dags[dag_id] = _checked(build())
            # Whatever Airflow or Cosmos raises: the other Dags have to be there.
            except Exception as error:  # noqa: BLE001
                built.errors.append(
                    f"{file}: the Dag {dag_id} cannot be built: {type(error).__name__}: {error}"
                )
    return built


def raise_errors(errors: Sequence[str]) -> None:
    """Fail the Dag file that shows errors, if there are any; not in a task's process.

    Raises:
        PermanentError: All of them, one per paragraph.
    """
    if errors and wanted_dag_id() is None:
        raise PermanentError("\n".join(errors))


def _checked(dag: DAG) -> DAG:
    """Refuse here what Airflow would refuse after the file: its error would hide all of them."""
    dag.validate()  # type: ignore[no-untyped-call]
    dag.check_cycle()
    return dag


def task_timeout(*, is_long: bool = False) -> timedelta:
    """After what time a task that still runs has failed, and is tried again."""
    seconds = Settings.from_env().task_timeout_seconds
    return timedelta(seconds=seconds * (_LONG_TASKS if is_long else 1))


@contextmanager
def killed_at_limit(operator: Any) -> Iterator[None]:
    """Kill the process if the block outlasts the time limit of a task, its operator.

    Airflow's own limit is a signal, which Python handles when a call into DuckDB has returned. One
    that waits for a catalog which has frozen never does. The stacks of all threads are printed.
    """
    if operator.execution_timeout is None:
        yield
        return
    seconds = operator.execution_timeout.total_seconds() * _KILL_AFTER
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def lake_dag(
    dag_id: str,
    *,
    retries: int = 2,
    max_active_runs: int = 1,
    has_long_tasks: bool = True,
    default_args: Mapping[str, Any] | None = None,
    **options: Any,
) -> DAG:
    """A Dag that runs once at a time, unless told otherwise, and does not catch up.

    Args:
        dag_id: Its id.
        retries: Retries of each task, unless the task says otherwise.
        max_active_runs: How many runs there may be at a time.
        has_long_tasks: Whether its tasks read whole tables or buckets; see `task_timeout`.
        default_args: Of its tasks, in addition to ours.
        options: As of `DAG`.
    """
    return DAG(
        dag_id=dag_id,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=max_active_runs,
        auto_register=False,  # a Dag that failed half-way is not to be there
        default_args={
            "owner": OWNER,
            "retries": retries,
            "execution_timeout": task_timeout(is_long=has_long_tasks),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=15),
            **(default_args or {}),
        },
        **options,
    )


def lake_task(doc_md: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`@task` for functions of this library.

    A permanent error fails the task at once; a process that outlasts its time limit is killed.
    Tasks say in their log what they did; the `repr` of what they return is left out of it.

    Args:
        doc_md: What the task does, for its page in the UI.
        options: As of `@task`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        decorator = task(doc_md=doc_md, show_return_value_in_logs=False, **options)
        return decorator(_guarded(function))

    return decorate


def _guarded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Fail at once where a retry cannot help, and at the time limit whatever it waits for."""

    @functools.wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            task = get_current_context()["task"]
            with killed_at_limit(task), conflicts_counted(task.dag_id):
                return function(*args, **kwargs)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error

    return wrapper


@contextmanager
def open_stream(source: str, stream: str) -> Iterator[tuple[Lake, Stream]]:
    """Open the lake for a stream."""
    settings = lake_settings()
    with open_lake(settings) as lake:
        yield lake, find_stream(settings.streams_dir, source, stream)


def label_task(text: str) -> None:
    """Name a mapped task in the UI."""
    get_current_context()["label"] = text  # type: ignore[typeddict-unknown-key]


def run_id() -> str:
    """The run that the task belongs to, as the ledger keeps it."""
    return str(get_current_context()["dag_run"].run_id)


def tell_lineage(operator: Any, find_out: Callable[[], Any]) -> None:
    """Let the operator of a task that runs tell OpenLineage's provider what it read and wrote.

    Args:
        operator: Of the task.
        find_out: Called once the task has ended, and only if the provider is there and has a
            transport; in a process of its own, which can do without Airflow.
    """
    operator.get_openlineage_facets_on_complete = lambda _task_instance: find_out()


def tell_landing(settings: Settings, stream: Stream) -> None:
    """The same of a task, the one that runs: what its run has landed of a stream."""
    run = run_id()

    def find_out() -> Any:
        from lotus_lake.airflow.open_lineage import of_landing

        return of_landing(settings, stream, run)

    tell_lineage(get_current_context()["task"], find_out)
