"""Loads what tasks and Dag files import before Airflow forks the processes that run them.

Airflow forks a process for every task and for every parse of a Dag file, and each of them would
import the task runner, the providers, Cosmos and this library again: more CPU than most tasks need
for their work. Loaded once, by the scheduler and the Dag processor when they start, all of it is
there in each process that they fork, in memory that they share.

Only modules are loaded, and files of botocore. No connection is opened and no thread is started,
because neither survives a fork; the database in memory that DuckDB opens for itself is closed.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from airflow.listeners import hookimpl

VARIABLE = "LAKE_WARM_PROCESSES"
MODULES = (
    # What a task's process and that of a Dag file are.
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.processor",
    "airflow.dag_processing.dagbag",
    # What the Dag files of this project build, and what their tasks run.
    "lotus_lake.airflow.enriched",
    "lotus_lake.airflow.maintenance",
    "lotus_lake.airflow.operations",
    "lotus_lake.airflow.reconcile",
    "lotus_lake.airflow.streams",
    "cosmos.operators.local",
    "lotus_lake.feeder.bounds",
)

log = logging.getLogger(__name__)


@hookimpl
def on_starting(component: object) -> None:
    """Load, if this is a part of Airflow that forks, and not a task, which has been forked."""
    job = sys.modules.get("airflow.jobs.job")
    if job and isinstance(component, job.Job) and os.environ.get(VARIABLE, "true") != "false":
        load(MODULES)


def load(modules: Sequence[str]) -> None:
    """Import modules, and let boto3 read its model of S3; what fails is logged, and left out."""
    imports: list[tuple[str, Callable[[str], object]]]
    imports = [(name, importlib.import_module) for name in modules]
    for name, act in [*imports, ("s3", _read_model), ("duckdb", _close_default)]:
        try:
            act(name)
        except Exception:  # the process that needs it fails, and Airflow continues
            log.exception("%s could not be loaded in advance; each task loads it", name)


def _read_model(service: str) -> object:
    """boto3 keeps what it reads for a client, 0.2 s of CPU, in its default session."""
    import boto3

    nobody = {"aws_access_key_id": "-", "aws_secret_access_key": "-"}
    return boto3.client(service, region_name="us-east-1", **nobody)  # type: ignore[call-overload]


def _close_default(_: str) -> None:
    """`import duckdb` opens a database in memory, of which a forked process would lack the thread.

    A process that needs it opens its own.
    """
    import duckdb

    duckdb.default_connection().close()
