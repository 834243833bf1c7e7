"""dbt models as Airflow tasks, through Cosmos: one dbt process per model, run and tests in one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos import settings as cosmos_settings
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

from lotus_lake.airflow.assets import is_published
from lotus_lake.airflow.conflicts import count_conflict
from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.dbt_process import ForkedDbt
from lotus_lake.airflow.tasks import killed_at_limit, task_timeout, tell_lineage
from lotus_lake.config.settings import Settings
from lotus_lake.error_translation import fails_again
from lotus_lake.lake.connection import open_to_read
from lotus_lake.lake.session import LAKE, is_conflict
from lotus_lake.ledger.builds import built_snapshots, why_build
from lotus_lake.project.fingerprints import fingerprint
from lotus_lake.project.manifest import Model, dbt_executable
from lotus_lake.project.run_results import failed_nodes

Interceptor = Callable[[Any, Any], None]

# Cosmos writes a digest of the whole dbt project into each Dag's text, so that Airflow makes a new
# version of every Dag when any model changes; with 1,000 streams it reads each file 1,000 times.
cosmos_settings.enable_dag_versioning = False
# It also keeps what it would report in each Dag's parameters; see plugins/no_telemetry.py.
cosmos_settings.enable_telemetry = False
# Nine lines about each group, in the log of every task: each task parses its Dag.
for _name in ("cosmos.converter", "cosmos.dbt.graph", "cosmos.dbt.project"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# Param of a run that builds what has not changed, too.
FORCE = "force"

# What dbt finds itself: SQL that it cannot make, and tests that fail.
_OWN_ERROR = re.compile("Compilation Error|Database Error|Got ")

log = logging.getLogger(__name__)


def dbt_group(
    group_id: str,
    select: str,
    models: Sequence[Model],
    manifest: Path,
    dbt_dir: Path,
    interceptors: Sequence[Interceptor] = (),
    trigger_rule: str = "all_success",
) -> DbtTaskGroup:
    """Render the selected models as a task group.

    dbt runs as a child process, not in the task's: on a SQLite catalog it holds the one-writer
    lock until its process ends.

    Args:
        group_id: Name of the group in the UI.
        select: dbt selector, such as `tag:shopify__orders`.
        models: The models that it selects.
        manifest: Manifest that has at least these models; the smaller, the faster.
        dbt_dir: The dbt project, or a copy of it that parses.
        interceptors: Called with (context, operator) just before dbt starts.
        trigger_rule: When a model runs after those that it reads.
    """
    group = DbtTaskGroup(
        group_id=group_id,
        project_config=ProjectConfig(
            dbt_project_path=dbt_dir,
            manifest_path=manifest,
            install_dbt_deps=False,
        ),
        profile_config=ProfileConfig(
            profile_name="lotus_lake",
            target_name="lake",
            profiles_yml_filepath=dbt_dir / "profiles.yml",
        ),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.SUBPROCESS,
            dbt_executable_path=dbt_executable(),
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[select],
            test_behavior=TestBehavior.BUILD,
            emit_datasets=False,  # the task `publish` updates the assets
        ),
        operator_args={
            "interceptors": [*interceptors, start_dbt],
            "trigger_rule": trigger_rule,
            "callback": tell_failure,
            "append_env": True,
            "execution_timeout": task_timeout(is_long=True),
            "should_store_compiled_sql": False,
            # Unit tests prove the SQL, in CI; they say nothing about today's data.
            "dbt_cmd_flags": ["--exclude-resource-type", "unit_test"],
        },
    )
    docs = {model.name: _doc(model) for model in models}
    for task in group.iter_tasks():
        name = node_name(task)
        task.doc_md = docs.get(name, f"Runs the dbt test `{name}`, which reads several models.")
    return group


def node_name(operator: Any) -> str:
    """Name of the model, or test, that a task of a group runs."""
    return str(operator.extra_context["dbt_node_config"]["resource_name"])


def _doc(model: Model) -> str:
    return (
        f"Builds `{LAKE}.main.{model.name}` with dbt, then runs its data tests.\n\n"
        f"{model.description}\n\n"
        f"By hand, in `include/dbt`: `dbt build --select {model.name}`"
    )


def start_dbt(_context: Any, operator: Any) -> None:
    """Let dbt start from what this process has imported, with what Airflow's connections say.

    Neither is part of the operator: Cosmos would copy its variables into this process, and an
    event of OpenLineage may hold all that is part of it.
    """
    settings = lake_settings()
    dbt = ForkedDbt(
        {
            **settings.s3.to_env(),
            **settings.catalog.to_env(),
            "LAKE_PROJECT_DIR": str(settings.project_dir),
        }
    )
    operator.subprocess_hook = dbt
    # Cosmos would parse SQL that its parser does not understand, and name every table
    # `duckdb://:memory:`.
    operator.calculate_openlineage_events_completes = lambda *_: False
    tell_lineage(operator, lambda: _lineage(settings, node_name(operator), dbt.results))


def _lineage(settings: Settings, name: str, results: str | None) -> Any:
    from lotus_lake.airflow.open_lineage import of_build

    return of_build(settings, name, results)


def tell_failure(dbt_dir: str, **_context: Any) -> None:
    """Fail the task when dbt has failed; the log has its message already, and gets the SQL.

    Cosmos would log all of dbt's output a second time, and dbt has written the SQL to a folder that
    is about to go.

    Args:
        dbt_dir: The copy of the dbt project that dbt ran in.

    Raises:
        AirflowFailException: A retry cannot help: SQL, values or tests have to change.
        AirflowException: It may, such as after a conflict, or when catalog or store went away.
    """
    failed = failed_nodes(Path(dbt_dir, "target"))
    if failed is None:
        raise AirflowException("dbt ended before it built anything; see its message above")
    for node in failed:
        log.info("::group::SQL of %s", node.name)
        log.info("%s", node.sql)
        log.info("::endgroup::")
        if is_conflict(node.message):
            count_conflict(get_current_context()["dag"].dag_id)
    if failed:
        names = ", ".join(node.name for node in failed)
        if all(_OWN_ERROR.match(node.message) or fails_again(node.message) for node in failed):
            raise AirflowFailException(f"{names} failed, as every retry would; see the log above")
        raise AirflowException(f"{names} failed; see the log above")


def skip_unless_needed(
    inputs: Sequence[str],
    models: Mapping[str, Model],
    manifest: Path,
    context: Any,
    operator: Any,
) -> None:
    """Skip a task of a domain that cannot run yet, or whose model would become what it is.

    It cannot run while a table that the domain reads was never built, whose first update starts
    the Dag again. A run may force the models to be built.

    Args:
        inputs: Tables of `main` that the domain reads, and others make.
        models: The models of the group, by name.
        manifest: Manifest of the whole project.
        context: Of the task.
        operator: Its operator.
    """
    name = node_name(operator)
    is_model = name in models  # else a test of several models
    found = fingerprint(manifest, name) if is_model else None
    with killed_at_limit(operator), open_to_read(lake_settings()) as lake:
        if missing := sorted({*inputs} - lake.tables("main") - lake.views("main")):
            raise AirflowSkipException(f"not built yet: {', '.join(missing)}")
        if not is_model:
            return
        reason = why_build(lake, name, models[name].parents, found)
        built = built_snapshots(lake, [name]).get(name, -1)
    if reason is None and not is_published([name], built):
        reason = "its last build was not published: a test may have failed"
    if context["params"].get(FORCE):
        reason = "the run is to build whatever has changed"
    if reason is None:
        raise AirflowSkipException(f"{name} is what it would be: its inputs and SQL are the same")
    log.info("%s is built: %s", name, reason)
    operator.env = {**(operator.env or {}), "LAKE_FINGERPRINT": found or ""}


def skip_when_published(models: Sequence[str], context: Any, _operator: Any) -> None:
    """Skip the task when the models have read all that has landed, and their assets say so.

    A model that was built and not published failed a test, or its `publish` failed: it runs again.
    """
    state = context["ti"].xcom_pull(task_ids="feeder.cursor")
    if not state["unprocessed"] and is_published(models, state["processed_snapshot_id"]):
        raise AirflowSkipException("nothing has landed since the models ran")
