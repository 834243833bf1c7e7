"""The Dags as Airflow sees them: which there are, their tasks, and what parsing them takes."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow._shared.module_loading import find_path_from_directory
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dag import DagModel
from airflow.sdk import DAG, AssetAny
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.session import create_session

from lotus_lake.config.settings import Settings
from lotus_lake.project.manifest import ensure_manifest
from lotus_lake.scaffold.new_project import make_project
from lotus_lake.scaffold.stream_files import plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from tests.dags.conftest import PROJECT, load_dags
from tests.projects import copy_project

STREAMS_DIR = PROJECT / "include" / "streams"
GROUPS = PROJECT / "include" / "dbt" / "target" / "groups"
ENRICHED_DIR = PROJECT / "include" / "dbt" / "models" / "enriched"
DAG_FILES = sorted((PROJECT / "dags").glob("*.py"))
STREAM_FILES = {
    f"{path.parent.name}__{path.stem}": path
    for path in sorted(STREAMS_DIR.glob("*/[!_]*.json"))
    if json.loads(path.read_text()).get("selected", True)
}
UPKEEP = {
    "lake_alerts", "lake_approvals", "lake_maintenance", "lake_operations", "lake_reconcile",
}  # fmt: skip
ENRICHED = {f"enriched__{path.parent.name}" for path in ENRICHED_DIR.glob("*/*.sql")}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    """All Dags."""
    return load_dags()


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """What dbt knows."""
    parsed: dict[str, Any] = json.loads(ensure_manifest(PROJECT).read_text())
    return parsed


@pytest.fixture(params=list(STREAM_FILES))
def stream_dag(request: pytest.FixtureRequest, bag: DagBag) -> DAG:
    """The Dag of each stream."""
    dag: DAG = bag.dags[request.param]
    return dag


def test_there_is_one_dag_per_stream_and_per_domain_and_three_for_upkeep(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert len(STREAM_FILES) == 9
    assert set(bag.dags) == {*STREAM_FILES, *ENRICHED, *UPKEEP}


def test_every_dag_and_task_has_our_owner_and_says_what_it_does(bag: DagBag) -> None:
    for dag in bag.dags.values():
        # What Airflow's database keeps leaves out mapped tasks.
        kept = LazyDeserializedDAG(data=DagSerialization.to_dict(dag))
        assert (dag.dag_id, kept.owner) == (dag.dag_id, "lotus-lake")
        assert dag.doc_md
        assert dag.description
        for task in dag.tasks:
            assert (task.task_id, task.owner) == (task.task_id, "lotus-lake")
            assert task.doc_md, f"{dag.dag_id}.{task.task_id}"


def test_every_task_has_a_time_limit_and_one_setting_changes_all_of_them(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limits(parsed: DagBag) -> dict[tuple[str, str], float]:
        return {
            (dag.dag_id, task.task_id): task.execution_timeout.total_seconds()
            for dag in parsed.dags.values()
            for task in dag.tasks
            if task.task_id not in ("approve", "confirm")  # a person takes as long as they take
        }

    found = limits(bag)
    of_upkeep = [task for dag_id, task in found if dag_id in UPKEEP]
    assert len(found) == 8 * len(STREAM_FILES) + 2 + 3 + len(of_upkeep)
    assert len(of_upkeep) == 22
    for dag_id, task_id in (("lake_approvals", "approve"), ("lake_operations", "confirm")):
        assert bag.dags[dag_id].task_dict[task_id].execution_timeout is None
    assert set(found.values()) == {3600, 6 * 3600}
    assert {task for (_, task), seconds in found.items() if seconds == 3600} == {
        "wait_for_files", "publish", "check", "find_changes", "ask", "describe", "apply",
        "run_stream",
        *(f"feeder.{name}" for name in ("list", "batch", "register", "cursor", "cleanup")),
    }  # fmt: skip
    monkeypatch.setenv("LAKE_TASK_TIMEOUT_SECONDS", "60")
    assert limits(load_dags()) == {task: seconds / 60 for task, seconds in found.items()}


def test_with_notifications_a_run_waits_longer_and_is_polled_no_more_often(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_EVENTS_QUEUE", "https://sqs.eu-central-1.amazonaws.com/1/lake-events")
    for parsed, seconds in ((bag, 3600), (load_dags(), 6 * 3600)):
        waits = [parsed.dags[stream].task_dict["wait_for_files"] for stream in STREAM_FILES]
        assert {(task.timeout, task.poke_interval) for task in waits} == {(seconds, 60)}


def test_what_builds_a_model_shows_its_grain_and_how_to_build_it_by_hand(bag: DagBag) -> None:
    task = bag.dags["enriched__sales"].task_dict["enriched.fct_sales_model_build"]
    assert "`lakehouse.main.fct_sales`" in task.doc_md
    assert "One row per order." in task.doc_md
    assert "`dbt build --select fct_sales`" in task.doc_md


def test_a_streams_tasks_are_those_of_the_picture(
    stream_dag: DAG, manifest: dict[str, Any]
) -> None:
    (model,) = (
        node["name"] for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and stream_dag.dag_id in node["tags"]
    )  # fmt: skip
    processed = f"processed.{model}_model_build"
    downstream = {
        "wait_for_files": {"feeder.list"},
        "feeder.list": {"feeder.batch"},
        "feeder.batch": {"feeder.register", "feeder.cursor"},
        "feeder.register": {"feeder.cursor"},
        "feeder.cursor": {"feeder.cleanup", processed, "publish"},
        "feeder.cleanup": set(),
        processed: {"publish"},
        "publish": set(),
    }
    assert {task.task_id: task.downstream_task_ids for task in stream_dag.tasks} == downstream


def test_batches_are_registered_one_after_the_other_under_a_readable_label(
    stream_dag: DAG,
) -> None:
    mapped = [task for task in stream_dag.tasks if task.is_mapped]
    assert [task.task_id for task in mapped] == ["feeder.register"]
    assert mapped[0].max_active_tis_per_dagrun == 1
    assert mapped[0].partial_kwargs["map_index_template"] == "{{ label }}"


def test_a_stream_has_one_run_at_a_time_and_no_catch_up(stream_dag: DAG) -> None:
    assert stream_dag.max_active_runs == 1
    assert stream_dag.catchup is False
    assert stream_dag.tags == {"stream", stream_dag.dag_id.split("__")[0]}


def test_a_streams_sensor_watches_its_prefix(stream_dag: DAG) -> None:
    source, name = stream_dag.dag_id.split("__")
    sensor = stream_dag.task_dict["wait_for_files"]
    assert (sensor.source, sensor.stream) == (source, name)
    assert sensor.bucket_key == f"s3://landing/raw/{source}/{name}/*"
    assert sensor.consumers == [f"int_{stream_dag.dag_id}"]


def test_a_streams_page_names_its_table_its_prefix_and_its_cursor(stream_dag: DAG) -> None:
    source, name = stream_dag.dag_id.split("__")
    text = stream_dag.doc_md or ""
    assert f"`lakehouse.staging.stg_{stream_dag.dag_id}`" in text
    assert f"`lakehouse.main.int_{stream_dag.dag_id}`" in text
    assert f"`s3://landing/raw/{source}/{name}/`" in text
    assert f"include/streams/{source}/{name}.json" in text
    assert re.search(
        r"SELECT \* FROM lakehouse\.meta\.feeder_cursors\s+"
        rf"WHERE source = '{source}' AND stream = '{name}';",
        text,
    )


def test_only_the_last_task_of_a_stream_updates_an_asset(stream_dag: DAG) -> None:
    model = f"int_{stream_dag.dag_id}"
    outlets = {task.task_id: task.outlets for task in stream_dag.tasks if task.outlets}
    assert list(outlets) == ["publish"]
    assert [(asset.name, asset.uri) for asset in outlets["publish"]] == [
        (model, f"ducklake://lakehouse/main/{model}")
    ]


def test_the_sales_are_rebuilt_when_any_processed_table_that_they_read_was_updated(
    bag: DagBag, manifest: dict[str, Any]
) -> None:
    fact = "model.lotus_lake.fct_sales"
    read = {
        manifest["nodes"][parent]["name"]
        for parent, children in manifest["child_map"].items()
        if fact in children and parent.startswith("model.")
    }
    assert read == set(
        re.findall(r"ref\('(\w+)'\)", (ENRICHED_DIR / "sales/fct_sales.sql").read_text())
    )
    dag = bag.dags["enriched__sales"]
    condition = dag.timetable.asset_condition
    assert isinstance(condition, AssetAny)
    assert {asset.name for asset in condition.objects} == read
    assert len(condition.objects) == len(read) > 1


def test_an_enriched_dag_builds_its_models_then_updates_their_assets(bag: DagBag) -> None:
    dag = bag.dags["enriched__sales"]
    tasks = {task.task_id: task.downstream_task_ids for task in dag.tasks}
    assert tasks == {"enriched.fct_sales_model_build": {"publish"}, "publish": set()}
    assert [asset.name for asset in dag.task_dict["publish"].outlets] == ["fct_sales"]
    assert (dag.max_active_runs, dag.catchup, dag.tags) == (1, False, {"enriched", "sales"})


def test_upkeep_runs_once_a_day_one_task_at_a_time_and_behind_everything_else(bag: DagBag) -> None:
    dag = bag.dags["lake_maintenance"]
    work = {"compact_tables", "find_orphans", "statistics"}
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "expire_snapshots": {"delete_files"},
        "delete_files": work,
        **{key: {"report"} for key in work},
        "report": set(),
    }
    assert dag.timetable.expression == "17 3 * * *"
    assert (dag.max_active_runs, dag.max_active_tasks, dag.catchup) == (1, 1, False)
    assert {(task.priority_weight, task.retries) for task in dag.tasks} == {(1, 2)}
    assert {str(task.weight_rule) for task in dag.tasks} == {"absolute"}
    assert set(dag.params) == {"budget_minutes", "orphan_share"}


def test_every_stream_is_reconciled_once_a_day_before_upkeep_deletes_anything(bag: DagBag) -> None:
    dag = bag.dags["lake_reconcile"]
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "choose": {"reconcile"}, "reconcile": {"landed_in", "fail"},
        "landed_in": {"run_stream"}, "run_stream": {"fail"}, "fail": set(),
    }  # fmt: skip
    task = dag.task_dict["reconcile"]
    assert task.is_mapped
    assert task.max_active_tis_per_dagrun == 2
    assert task.partial_kwargs["map_index_template"] == "{{ label }}"
    assert dag.timetable.expression == "43 2 * * *"
    assert (dag.max_active_runs, dag.catchup, dag.tags) == (1, False, {"maintenance"})


def test_reconcile_asks_for_a_stream_and_whether_to_repair(bag: DagBag) -> None:
    params = bag.dags["lake_reconcile"].params
    assert params.dump() == {"only": "", "repair": False}
    stream = params.get_param("only")
    assert set(stream.schema["enum"]) == {"", *STREAM_FILES}
    assert stream.resolve("shopify__orders") == "shopify__orders"
    with pytest.raises(ParamValidationError):
        stream.resolve("shopify__order")


def test_the_outlets_of_streams_are_what_the_enriched_dags_wait_for(bag: DagBag) -> None:
    updated = {
        (asset.name, asset.uri)
        for stream_id in STREAM_FILES
        for asset in bag.dags[stream_id].task_dict["publish"].outlets
    }
    awaited = {
        (asset.name, asset.uri)
        for dag_id in ENRICHED
        for asset in bag.dags[dag_id].timetable.asset_condition.objects
    }
    assert awaited
    assert awaited <= updated


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.name)
def test_a_dag_file_is_short_and_has_no_logic(file: Path) -> None:
    source = file.read_text()
    assert len(source.splitlines()) < 40
    # dbt imports every module that is named after it.
    assert not file.name.startswith("dbt_")
    defined = (ast.FunctionDef, ast.ClassDef, ast.If, ast.Try, ast.With, ast.Lambda)
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, defined)]


def test_airflows_plugin_loader_leaves_the_library_alone() -> None:
    plugins = PROJECT / "plugins"

    def found(ignore_file: str) -> list[str]:
        paths = map(Path, find_path_from_directory(str(plugins), ignore_file, "glob"))
        return [path.name for path in paths if "lotus_lake" in path.relative_to(plugins).parts]

    assert "streams.py" in found("no such file")
    assert found(".airflowignore") == []


def test_no_process_of_airflow_calls_home() -> None:
    """The scheduler and the api-server import no Dag, but have Cosmos' listeners as well."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW__COSMOS__", "DO_NOT_TRACK", "SCARF"))
    }
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "from airflow.plugins_manager import ensure_plugins_loaded\n"
            "from cosmos.telemetry import should_emit\n"
            "before = should_emit()\n"
            "ensure_plugins_loaded()\n"
            "print('telemetry', before, should_emit())",
        ],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "telemetry True False" in said


def test_parsing_opens_no_connection_and_no_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_manifest(PROJECT)  # a checkout that was parsed before: nothing is to be done

    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"called while Dags were parsed: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(duckdb, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    parsed = load_dags()
    assert parsed.import_errors == {}
    assert set(STREAM_FILES) < set(parsed.dags)


@pytest.mark.parametrize("wanted", ["shopify__orders", "enriched__sales"])
def test_a_tasks_process_builds_only_the_dag_it_runs(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
    parsed = load_dags()
    assert parsed.import_errors == {}
    assert set(parsed.dags) == {wanted, *UPKEEP}


@pytest.mark.parametrize("wanted", [None, "shopify__orders"])
def test_dags_of_streams_read_what_dbt_knows_of_them_and_not_of_the_whole_project(
    wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_manifest(PROJECT)
    if wanted:
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
    opened: list[Path] = []
    listening = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:  # a hook stays for good
        if listening and event == "open" and isinstance(arguments[0], str):
            opened.append(Path(arguments[0]))

    sys.addaudithook(note)
    parsed = DagBag(PROJECT / "dags" / "streams.py")
    listening = False
    ids = {wanted} if wanted else set(STREAM_FILES)
    assert set(parsed.dags) == ids
    groups = {path.stem for path in opened if path.parent == GROUPS / "processed"}
    assert groups == ids
    assert [path for path in opened if path.name == "manifest.json"] == []
    configs = [path for path in opened if path.is_relative_to(STREAMS_DIR)]
    assert len(configs) == len(ids)


def test_the_small_manifests_together_have_every_model_once(manifest: dict[str, Any]) -> None:
    found: list[str] = []
    for file in GROUPS.glob("*/*.json"):
        found += json.loads(file.read_text())["nodes"]
    models = [key for key, node in manifest["nodes"].items() if node["resource_type"] == "model"]
    assert sorted(found) == sorted(models)


def test_a_broken_stream_json_is_an_import_error_of_its_own_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = tmp_path / "streams" / "shopify"
    shutil.copytree(STREAMS_DIR / "shopify", streams)
    broken = streams / "customers.json"
    document = json.loads(broken.read_text())
    broken.write_text(json.dumps(document | {"feeder": {"batch_files": 4711}}))
    (streams / "order_refunds.json").write_text('{"stream": ')
    monkeypatch.setenv("LAKE_STREAMS_DIR", str(streams.parent))

    parsed = load_dags()

    assert set(parsed.dags) == {"shopify__orders", *ENRICHED, *UPKEEP}
    ((file, error),) = parsed.import_errors.items()
    assert Path(file).name == "stream_errors.py"
    assert f"{broken}: $.feeder.batch_files = 4711: " in error
    assert f"{streams / 'order_refunds.json'}:1:" in error


def test_a_dag_that_airflow_refuses_is_an_import_error_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: None
) -> None:
    """A damaged manifest of one stream stands for whatever only Airflow or Cosmos refuses."""
    copy_project(tmp_path)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    (tmp_path / "include/dbt/target/groups/processed/shopify__orders.json").write_text('{"no')

    parsed = load_dags()

    assert set(parsed.dags) == {*STREAM_FILES, *ENRICHED, *UPKEEP} - {"shopify__orders"}
    ((file, error),) = parsed.import_errors.items()
    assert Path(file).name == "stream_errors.py"
    assert str(tmp_path / "include/streams/shopify/orders.json") in error
    assert "customers" not in error
    # What the Dag processor makes of it: the others can be scheduled.
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(parsed, "dags-folder", None)
    with create_session() as session:
        kept = {
            row.dag_id: (row.is_stale, row.has_import_errors) for row in session.query(DagModel)
        }
    assert set(kept) >= set(parsed.dags)
    assert {kept[dag_id] for dag_id in parsed.dags} == {(False, False)}


@pytest.mark.parametrize("code", ["select * from {{ ref('int_nothing') }}", "select {{ 1"])
def test_a_model_that_does_not_parse_is_one_import_error_and_every_dag_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    copy_project(tmp_path)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    (tmp_path / "include/dbt/models/processed/shopify/int_shopify__broken.sql").write_text(code)

    parsed = load_dags()

    assert set(parsed.dags) == {*STREAM_FILES, *ENRICHED, *UPKEEP}
    ((file, error),) = parsed.import_errors.items()
    assert Path(file).name == "model_errors.py"
    assert "int_shopify__broken" in error
    for dag_id in STREAM_FILES:
        tasks = parsed.dags[dag_id].task_dict
        assert f"processed.int_{dag_id}_model_build" in tasks
        last_good = tmp_path / "include/dbt/target/last_good"
        assert Path(tasks[f"processed.int_{dag_id}_model_build"].project_dir) == last_good
        # A model that is not known yet may read what would be retired.
        assert tasks["feeder.cleanup"].op_kwargs["consumers"] is None


def test_a_history_is_built_and_waited_for_like_the_other_model_of_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_project(tmp_path)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("LAKE_STREAMS_DIR", str(tmp_path / "include/streams"))
    config = tmp_path / "include/streams/shopify/orders.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"history": True}))
    settings = Settings.from_env()
    write_files(plan_files(settings, "shopify", "orders", Choices()), keep=True)
    ensure_manifest(tmp_path)

    tasks = load_dags().dags["shopify__orders"].task_dict

    models = ["hist_shopify__orders", "int_shopify__orders"]
    builds = {f"processed.{model}_model_build" for model in models}
    assert builds <= set(tasks)
    assert builds <= tasks["feeder.cursor"].downstream_task_ids
    assert sorted(tasks["feeder.cleanup"].op_kwargs["consumers"]) == models
    assert sorted(tasks["wait_for_files"].consumers) == models


def test_a_domain_that_cannot_be_a_dag_is_an_import_error_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_project(tmp_path)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    code = "{{ config(contract={'enforced': false}) }} select * from {{ ref('%s') }}"
    for name, reads in {
        "fct_loose": "int_shopify__orders", "sales ops/fct_ops": "int_shopify__orders",
        "a/fct_a": "dim_b", "b/dim_b": "int_shopify__orders", "b/fct_b": "fct_a",
    }.items():  # fmt: skip
        path = tmp_path / f"include/dbt/models/enriched/{name}.sql"
        path.parent.mkdir(exist_ok=True)
        path.write_text(code % reads)

    parsed = load_dags()

    assert set(parsed.dags) == {*STREAM_FILES, *ENRICHED, *UPKEEP}
    ((file, error),) = parsed.import_errors.items()
    assert Path(file).name == "model_errors.py"
    for text in ("is not in a folder", "'sales ops' is not a valid name", "endlessly: "):
        assert text in error


def test_without_any_manifest_streams_are_fed_and_nothing_is_retired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_project(tmp_path)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    shutil.rmtree(tmp_path / "include/dbt/target")
    (tmp_path / "include/dbt/models/enriched/sales/fct_sales.yml").write_text("models: [")

    parsed = load_dags()

    assert set(parsed.dags) == {*STREAM_FILES, *UPKEEP}
    assert [Path(file).name for file in parsed.import_errors] == ["model_errors.py"]
    for dag_id in STREAM_FILES:
        tasks = parsed.dags[dag_id].task_dict
        assert set(tasks) == {
            "wait_for_files", *(f"feeder.{name}" for name in
                                ("list", "batch", "register", "cursor", "cleanup")),
        }  # fmt: skip
        assert tasks["feeder.cleanup"].op_kwargs["consumers"] is None


def test_a_stream_that_is_not_selected_has_no_dag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = tmp_path / "streams" / "shopify"
    shutil.copytree(STREAMS_DIR / "shopify", streams)
    document = json.loads((streams / "customers.json").read_text())
    (streams / "customers.json").write_text(json.dumps(document | {"selected": False}))
    (streams / "_catalog.json").write_text("{}")
    monkeypatch.setenv("LAKE_STREAMS_DIR", str(streams.parent))
    parsed = load_dags()
    assert parsed.import_errors == {}
    assert set(parsed.dags) & set(STREAM_FILES) == {"shopify__orders", "shopify__order_refunds"}


def test_the_dags_of_a_new_project_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lake"
    make_project(Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)}), folder)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(folder))
    bag = DagBag(folder / "dags")
    assert bag.import_errors == {}
    assert set(bag.dags) == UPKEEP
