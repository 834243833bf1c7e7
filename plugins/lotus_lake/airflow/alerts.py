"""The Dag `lake_alerts`: tells people when a stream or a table needs one, and when no longer.

It looks at the ledger, and so notices a stream whose own Dag does not run. Whom it tells, and how,
is up to Airflow's notifiers, which `LAKE_NOTIFIERS` names; without any, alerts are log lines.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, BaseNotifier, Context, Variable, get_current_context

from lotus_lake.airflow.approvals import ask_about_changes
from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.metrics import send_metrics, send_upkeep
from lotus_lake.airflow.tasks import lake_dag, lake_task
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.ledger.schema_changes import ChangesSeen, changes_since
from lotus_lake.observe.alerts import Alert, Known, changes_of_tables, compare, subjects_of
from lotus_lake.observe.overview import read_overview

ALERTS_DAG_ID = "lake_alerts"
VARIABLE = "LAKE_NOTIFIERS"
# Airflow variables: what people were alerted to, up to where changes of tables were told, and, with
# the name of a task after it, that its failure was. XComs of a run that a person has triggered,
# which has no logical date, are not found by later ones.
KNOWN, CHANGES, FAILED = "lake_alerts", "lake_alerts_changes", "lake_alerts_failed_"
_UPKEEP = f"{FAILED}lake_maintenance."

_DOC = f"""\
### Alerts

Every five minutes, compares each stream and enriched table with the last check. Each thing that is
wrong is alerted once, and once more when it has ended: files in quarantine, missing objects, rows
out of balance, a config that cannot be read, files or rows that are stuck, a growing backlog, data
that is late. So is every change of a landing table. The states are those of the Lake page and of
`lotus-lake status`; they are exported as metrics, too, if Airflow exports its own.

Tasks of `lake_maintenance`, `lake_reconcile` and this Dag are alerted when they fail, and when they
succeed again.

Schema changes that wait for a person become runs of `lake_approvals`.

`{VARIABLE}` names the notifiers; without it, alerts are warnings in the log of this Dag's task.
"""

_HINT = (
    f"{VARIABLE} is a JSON list of objects, each with the class of a notifier and its arguments: "
    '[{"notifier": "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier", '
    '"slack_webhook_conn_id": "alerts", "text": "{{ alert.text }}"}]'
)

log = logging.getLogger(__name__)


def alerts_dag() -> DAG:
    """The Dag: one task for alerts, and two that ask about schema changes."""
    with lake_dag(
        ALERTS_DAG_ID,
        description="Alerts people to streams, tables and upkeep that need them",
        doc_md=_DOC,
        schedule="*/5 * * * *",
        has_long_tasks=False,
        default_args=ALERTED,
        tags=["maintenance"],
    ) as dag:
        check()
        ask_about_changes()
    return dag


@lake_task("Compares each stream and enriched table with the last check, and notifies of changes.")
def check() -> dict[str, Sequence[str]]:
    """Notify; returns what needs a person, and why."""
    context, settings, now = get_current_context(), lake_settings(), datetime.now(UTC)
    known, seen = _known(), _seen()
    with open_lake(settings) as lake:
        changes, now_seen = changes_since(lake, seen, now)
        overview = read_overview(lake, now)
    send_metrics(overview)
    send_upkeep({name.removeprefix(_UPKEEP) for name in Variable.keys(prefix=_UPKEEP)}, now)
    alerts, bad = compare(known, subjects_of(overview))
    for alert in [*alerts, *changes_of_tables(changes)]:
        send(alert, context)
    if bad != known:
        Variable.set(KNOWN, dict(bad), serialize_json=True)
    if changes or seen is None:
        told = {**asdict(now_seen), "at": now_seen.at.isoformat()}
        Variable.set(CHANGES, told, serialize_json=True)
    log.info("%d of %d streams and tables need a person", len(bad), len(overview.verdicts))
    return dict(bad)


def _known() -> Known:
    """What people were alerted to; earlier releases kept one state instead of all conditions."""
    known = Variable.get(KNOWN, default={}, deserialize_json=True)
    return {name: told for name, told in known.items() if isinstance(told, list)}


def _seen() -> ChangesSeen | None:
    seen = Variable.get(CHANGES, default=None, deserialize_json=True)
    return seen and ChangesSeen(seen["snapshot_id"], datetime.fromisoformat(seen["at"]))


def alert_of_failure(context: Context) -> None:
    """Callback of tasks whose failure is an alert, once until they succeed again."""
    name = _task(context)
    if Variable.get(FAILED + name, default=None) is None:
        reason = str(context.get("exception") or "see its log")
        send(Alert(name, "failed", "error", reason), context)
        Variable.set(FAILED + name, context["run_id"])


def alert_of_success(context: Context) -> None:
    """Callback of the same tasks: they have failed before, and no longer do."""
    name = _task(context)
    if Variable.get(FAILED + name, default=None) is not None:
        send(Alert(name, "fine again", "ok", "it has succeeded"), context)
        Variable.delete(FAILED + name)


# Default arguments of tasks whose failure is an alert.
ALERTED = {"on_failure_callback": alert_of_failure, "on_success_callback": alert_of_success}


def _task(context: Context) -> str:
    """Name of a task, with what a mapped one is about."""
    instance, label = context["ti"], context.get("label")
    return f"{instance.dag_id}.{instance.task_id}" + (f".{label}" if label else "")


def send(alert: Alert, context: Context) -> None:
    """Send an alert through every notifier; its templates see it as `alert`."""
    log.log(logging.INFO if alert.level == "ok" else logging.WARNING, "%s", alert.text)
    for notifier in notifiers():
        notifier({**context, "alert": {**asdict(alert), "text": alert.text}})


def notifiers() -> Sequence[BaseNotifier]:
    """The notifiers that `LAKE_NOTIFIERS` names, made anew: rendering changes them.

    Raises:
        SettingsError: It cannot be read, or a notifier cannot be made.
    """
    given = os.environ.get(VARIABLE) or "[]"
    try:
        return [_notifier(dict(entry)) for entry in json.loads(given)]
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{VARIABLE}: {type(error).__name__}: {error}", hint=_HINT) from error


def _notifier(entry: dict[str, Any]) -> BaseNotifier:
    module, _, name = entry.pop("notifier").rpartition(".")
    made = getattr(importlib.import_module(module), name)(**entry)
    if not isinstance(made, BaseNotifier):
        raise TypeError(f"{type(made).__name__} is not a notifier of Airflow")
    return made
