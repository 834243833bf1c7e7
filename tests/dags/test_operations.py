"""The Dag for operations by hand: its form, and runs of it in this process."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from lotus_lake.airflow.operations import OPERATIONS_DAG_ID, REQUESTS
from lotus_lake.errors import PermanentError
from lotus_lake.lake.connection import open_lake
from lotus_lake.ledger.acknowledgements import read_acknowledged
from lotus_lake.operations import carry_out, plan
from lotus_lake.repair.quarantine import list_quarantined
from lotus_lake.repair.rewind import Point, plan_rewind
from tests.airbyte_server import CLIENT_ID, CLIENT_SECRET, CONNECTION_ID, run_airbyte
from tests.consuming import write_manifest
from tests.dags.conftest import AIRFLOW_HOME, PROJECT
from tests.feeds import DAY, Feed

if TYPE_CHECKING:
    from airflow.sdk import DAG

MODEL = "int_shop__orders"


EMPTY_FORM = {
    "stream": "shop__orders",
    "to_date": None,
    "to_file": None,
    "keys": (),
    "accept": False,
    "feed_again": False,
    "repair": False,
    "empty": False,
    "dry_run": False,
    "person": "anna",
}


pytestmark = pytest.mark.usefixtures("known_dags")


@pytest.fixture
def fed(make_feed: Callable[..., Feed], deployed: dict[str, str]) -> Feed:
    """A stream with a file of each of two days, and one in quarantine."""
    feed = make_feed()
    write_manifest(feed.settings, (MODEL, "shop__orders"))
    for day in (DAY - timedelta(days=1), DAY):
        feed.put(day=day)
    feed.put_bytes("broken.parquet", b"x" * 99)
    feed.run_afresh()
    return feed


def load_dag() -> DAG:
    """The Dag, from its file: the lake of a test has no dbt project for the others."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PROJECT / "dags" / "operations.py")
    assert bag.import_errors == {}
    dag: DAG = bag.dags[OPERATIONS_DAG_ID]
    return dag


def operate(answer: str = "Approve", **form: Any) -> tuple[str, dict[str, Any], str]:
    """Trigger the Dag; how its task ended, what it returned, and the id of the run.

    A person who is asked to confirm gives this answer.
    """
    with answering(answer):
        run = load_dag().test(run_conf={"stream": "shop__orders", **form})
    task = "dry_run" if form.get("dry_run", True) else "operate"
    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database:
        row = database.execute(
            "SELECT value FROM xcom WHERE run_id = ? AND key = 'return_value' AND task_id = ?",
            (run.run_id, task),
        ).fetchone()
    return states[task], json.loads(row[0]) if row else {}, run.run_id


def test_its_form_has_a_typed_field_for_each_choice_and_changes_nothing_by_default(
    deployed: dict[str, str], make_feed: Callable[..., Feed]
) -> None:
    make_feed()
    make_feed("lines")
    dag = load_dag()
    form = {name: dag.params.get_param(name) for name in dag.params}
    assert form["operation"].schema["enum"] == [
        "rewind", "reconcile", "backfill", "retry quarantine", "drop quarantine",
        "acknowledge",
    ]  # fmt: skip
    assert form["stream"].schema["enum"] == ["shop__lines", "shop__orders"]
    assert form["to_date"].schema["format"] == "date"
    assert form["dry_run"].value is True
    assert all(param.schema.get("title") for param in form.values())
    assert all(f"`{name}`" in dag.doc_md for name in form["operation"].schema["enum"])
    assert set(dag.task_ids) == {
        "dry_run", "choose", "confirm", "operate", "changed", "run_stream",
    }  # fmt: skip
    assert dag.schedule is None


def test_a_dry_run_says_what_would_be_done_and_does_nothing(fed: Feed) -> None:
    fed.put("part_1.parquet")
    state, result, _ = operate(operation="rewind", to_date=str(DAY))
    assert (state, result["files"], result["models"]) == ("success", 1, MODEL)
    state, result, _ = operate(operation="reconcile")
    assert (state, result["new_files"]) == ("success", 1)
    state, result, _ = operate(operation="retry quarantine")
    assert (state, result["files"]) == ("success", 1)
    with open_lake(fed.settings) as lake:
        assert fed.guard(lake).cursor.path == fed.key("part_0.parquet")
        assert sorted(fed.events(lake).values()) == [
            ["quarantined"],
            ["registered"],
            ["registered"],
        ]


def test_a_rewind_is_shown_and_waits_until_it_is_confirmed(fed: Feed) -> None:
    with open_lake(fed.settings) as lake:
        before = fed.guard(lake)
    form = {"operation": "rewind", "to_date": str(DAY), "dry_run": False}
    state, result, run_id = operate("Reject", **form)
    assert (state, result) == ("skipped", {})
    assert asked(run_id) == [("rewind shop__orders?", True)]
    with open_lake(fed.settings) as lake:
        assert fed.guard(lake) == before
    state, result, run_id = operate("Approve", **form)
    assert (state, result["files"], len(asked(run_id))) == ("success", 1, 1)
    with open_lake(fed.settings) as lake:
        assert fed.guard(lake).version > before.version


def asked(run_id: str) -> list[tuple[str, bool]]:
    """What a person was asked, and whether the answer to what would be done was there."""
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database:
        rows = database.execute(
            "SELECT subject, body FROM hitl_detail JOIN task_instance ON id = ti_id "
            "WHERE run_id = ?",
            (run_id,),
        ).fetchall()
    return [(subject, "1 file" in body) for subject, body in rows]


@contextmanager
def answering(answer: str) -> Iterator[None]:
    """Answer, as Airflow's UI does, whatever a person is asked meanwhile."""
    over = threading.Event()

    def answer_all() -> None:
        from airflow.models.hitl import HITLDetail, HITLUser
        from airflow.models.trigger import handle_event_submit
        from airflow.triggers.base import TriggerEvent
        from airflow.utils.session import create_session
        from sqlalchemy import select

        while not over.wait(0.5):
            with create_session() as session:
                unanswered = select(HITLDetail).where(HITLDetail.responded_at.is_(None))
                for detail in session.scalars(unanswered):
                    if detail.task_instance.state != "awaiting_input":
                        continue
                    detail.responded_by = HITLUser(id="anna", name="anna")
                    detail.responded_at, detail.params_input = datetime.now(UTC), {}
                    detail.chosen_options = [answer]
                    handle_event_submit(
                        TriggerEvent(detail.as_resume_event_payload()),
                        task_instance=detail.task_instance,
                        session=session,
                    )

    thread = threading.Thread(target=answer_all, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def test_the_stream_runs_after_an_operation_and_not_after_a_dry_run(fed: Feed) -> None:
    before = triggered()
    for operation, dry_run, runs in (
        ("retry quarantine", True, 0), ("retry quarantine", False, 1),
        ("rewind", False, 2), ("reconcile", False, 3),
    ):  # fmt: skip
        operate(operation=operation, dry_run=dry_run)
        assert triggered() == before + runs, operation


def test_what_somebody_has_seen_is_noted_with_who_and_what(fed: Feed) -> None:
    state, result, _ = operate(operation="acknowledge")
    assert (state, result["seen"]) == ("success", "1 file in quarantine")
    with open_lake(fed.settings) as lake:
        assert read_acknowledged(lake) == {}
    state, _, run_id = operate(operation="acknowledge", dry_run=False)
    assert state == "success"
    before = fed.key("broken.parquet")
    with open_lake(fed.settings) as lake:
        latest = read_acknowledged(lake)["shop/orders"].latest
        assert latest is not None
        assert (latest.by, latest.reasons) == ("dag_test", ("1 file in quarantine",))
        assert lake.rows("SELECT dag_run_id FROM lakehouse.meta.acknowledgements") == [(run_id,)]
        assert fed.events(lake)[before] == ["quarantined"]


def triggered() -> int:
    """How many runs of the stream other Dags have triggered."""
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database:
        [(runs,)] = database.execute(
            "SELECT count(*) FROM dag_run WHERE dag_id = 'shop__orders' "
            "AND run_type = 'operator_triggered'"
        )
    return int(runs)


def test_each_operation_does_what_its_command_does(fed: Feed) -> None:
    late = fed.put("part_1.parquet", day=DAY - timedelta(days=400))
    state, result, run_id = operate(operation="reconcile", dry_run=False)
    assert (state, result["late"], result["registered"]) == ("success", 1, 1)
    state, result, _ = operate(operation="retry quarantine", dry_run=False)
    assert (state, result["files"]) == ("success", 1)
    fed.run_afresh()
    broken = fed.key("broken.parquet")
    state, result, _ = operate(operation="drop quarantine", keys=[broken], dry_run=False)
    assert (state, result["files"]) == ("success", 1)
    state, result, _ = operate(operation="rewind", to_date=str(DAY), dry_run=False)
    assert (state, result["files"]) == ("success", 1)
    with open_lake(fed.settings) as lake:
        assert list_quarantined(lake, None, None) == []
        assert fed.events(lake)[late] == ["registered"]
        assert fed.guard(lake).cursor.path == fed.key("part_0.parquet", DAY - timedelta(days=1))
        assert plan_rewind(lake, fed.stream, Point(), []).files == 3
        runs = {row[0] for row in lake.rows("SELECT dag_run_id FROM lakehouse.meta.file_events")}
    assert run_id in runs


def test_a_backfill_is_asked_for_once_its_dry_run_has_said_what_it_means(
    fed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_airbyte() as airbyte:
        connection = {
            "conn_type": "airbyte",
            "host": airbyte.url,
            "login": CLIENT_ID,
            "password": CLIENT_SECRET,
        }
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", json.dumps(connection))
        airbyte.add_connection("shop", ["orders", "customers"])
        state, result, _ = operate(operation="backfill")
        assert (state, result["files"]) == ("success", 2)
        assert CONNECTION_ID in result["connection"]
        assert airbyte.jobs == {}
        state, result, _ = operate(operation="backfill", dry_run=False)
        assert state == "success"
        (job,) = airbyte.jobs.values()
        assert (job["configType"], job["id"]) == ("refresh", result["job"])
        (asked,) = airbyte.calls("connections/refresh")
        assert asked["refreshMode"] == "Merge"
        assert [item["streamName"] for item in asked["streams"]] == ["orders"]
    with open_lake(fed.settings) as lake:
        noted = lake.rows("SELECT stream, job_id FROM lakehouse.meta.backfill_requests")
    assert noted == [("orders", job["id"])]
    kept = [path for path in AIRFLOW_HOME.rglob("*") if path.is_file()]
    assert [path for path in kept if CLIENT_SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"operation": "drop quarantine"}, "needs keys"),
        ({"operation": "retry quarantine", "keys": ("raw/no-such-key",)}, "not in the quarantine"),
        ({"operation": "drop quarantine", "keys": ("raw/no-such-key",)}, "not in the quarantine"),
        ({"operation": "acknowledge", "keys": ("raw/no-such-key",)}, "neither in quarantine nor"),
        ({"operation": "rewind", "to_file": "raw/no-such-key"}, "has not landed"),
        (
            {"operation": "rewind", "to_file": "raw/a", "to_date": "2026-03-10"},
            "cannot be combined",
        ),
    ],
)
def test_what_cannot_be_done_is_told_by_the_plan_and_by_the_operation(
    fed: Feed, form: dict[str, Any], said: str
) -> None:
    filled = {**EMPTY_FORM, **form}
    with open_lake(fed.settings) as lake:
        for act in (plan, partial(carry_out, run_id="by hand")):
            with pytest.raises(PermanentError, match=said):
                act(lake, fed.stream, REQUESTS[filled["operation"]](filled))


def test_a_permanent_error_fails_the_run_without_a_retry(fed: Feed) -> None:
    state, result, run_id = operate(operation="drop quarantine", keys=["raw/no-such-key"],
                                    dry_run=False)  # fmt: skip
    assert (state, result) == ("failed", {})
    with closing(sqlite3.connect(AIRFLOW_HOME / "airflow.db")) as database:
        tries = database.execute(
            "SELECT try_number, max_tries FROM task_instance "
            "WHERE run_id = ? AND task_id = 'operate'",
            (run_id,),
        ).fetchall()
    assert tries == [(1, 1)]
