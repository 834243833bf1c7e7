"""Loads what tasks and Dag files import before Airflow forks the processes that run them.

Airflow forks a process for every task and for every parse of a Dag file, and each of them would
import the task runner, the providers, Cosmos and this library again: more CPU than most tasks need
for their work. Loaded once, by the scheduler and the Dag processor when they start, all of it is
there in each process that they fork, in memory that they share.

The scheduler loads dbt as well: a task forks it from its own process (see `dbt_process`).

Only modules are loaded, files of botocore and dbt, and DuckDB's extensions, whose signatures are
checked. No connection and no thread is left open, because neither survives a fork; the database in
memory that DuckDB opens for itself is closed.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
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
# What dbt imports for a build.
DBT_MODULES = (
    "dbt.cli.main",
    "dbt.task.build",
    "dbt.adapters.duckdb.environments.local",
    "lotus_lake.dbt_plugin",
)

log = logging.getLogger(__name__)


@hookimpl
def on_starting(component: object) -> None:
    """Load, if this is a part of Airflow that forks, and not a task, which has been forked."""
    job = sys.modules.get("airflow.jobs.job")
    if job and isinstance(component, job.Job) and os.environ.get(VARIABLE, "true") != "false":
        forks_tasks = "airflow.jobs.scheduler_job_runner" in sys.modules
        load([*MODULES, *(DBT_MODULES if forks_tasks else ())])


def load(modules: Sequence[str]) -> None:
    """Import modules, and fill caches of what they use; what fails is logged, and left out."""
    steps: list[tuple[str, Callable[[str], object]]]
    steps = [(name, importlib.import_module) for name in modules]
    steps += [("s3", _read_model), ("duckdb", _close_default), ("extensions", _check_extensions)]
    if set(DBT_MODULES) <= set(modules):
        steps.append(("dbt", _fill_dbt_caches))
    for name, act in steps:
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


def _check_extensions(_: str) -> None:
    """Let DuckDB check the signatures of its extensions, which it would do for each open lake."""
    from lotus_lake.config.settings import Settings
    from lotus_lake.lake import extensions

    with extensions.connect() as con:
        extensions.load_extensions(con, Settings.from_env().catalog.kind)


def _fill_dbt_caches(_: str) -> None:
    """Let dbt and Python write the code, and find the files, that each build would need.

    A forked build then takes 1.8 s of CPU instead of 2.4. The project is the one that was parsed
    last; one that was never parsed is left out.
    """
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.project import (
        Configuration,
        PackageConfig,
        ProfileConfig,
        Project,
        ProjectFlags,
    )
    from dbt.parser.manifest import extended_mashumuro_decoder
    from dbt_common.dataclass_schema import ValidationError

    from lotus_lake.config.settings import Settings
    from lotus_lake.project.manifest import manifest_file

    for contract in (
        Configuration, DuckDBCredentials, PackageConfig, ProfileConfig, Project, ProjectFlags,
    ):  # fmt: skip
        with contextlib.suppress(ValidationError):
            contract.validate({})
    parsed = manifest_file(Settings.from_env().project_dir).with_name("partial_parse.msgpack")
    if parsed.exists():
        manifest = Manifest.from_msgpack(parsed.read_bytes(), decoder=extended_mashumuro_decoder)
        manifest.build_flat_graph()  # type: ignore[no-untyped-call]
    inspect.stack()  # looks for the file of each module that there is; dbt does, for each flag
