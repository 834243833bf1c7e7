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
from lotus_lake.airflow.metrics import send_metrics
from lotus_lake.airflow.tasks import lake_dag, lake_task
from lotus_lake.errors import SettingsError
from lotus_lake.lake.connection import open_lake
from lotus_lake.observe.alerts import Alert, compare
from lotus_lake.observe.overview import read_overview

ALERTS_DAG_ID = "lake_alerts"
VARIABLE = "LAKE_NOTIFIERS"
# Airflow variable: what people were alerted to. XComs of a run that a person has triggered, which
# has no logical date, are not found by later ones.
KNOWN = "lake_alerts"

_DOC = f"""\
### Alerts

Every five minutes, compares the state of each stream and enriched table with the last check:
*broken*, *stuck* or *late* is alerted once, and once more when it is fine again. The states are
those of the Lake page and of `lotus-lake status`. Failed tasks of `lake_maintenance` and
`lake_reconcile` are alerted too. The same states are exported as metrics, if Airflow exports its
own.

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
        description="Alerts people to streams and tables that are broken, stuck or late",
        doc_md=_DOC,
        schedule="*/5 * * * *",
        has_long_tasks=False,
        default_args={"on_failure_callback": alert_of_failure},
        tags=["maintenance"],
    ) as dag:
        check()
        ask_about_changes()
    return dag


@lake_task("Compares each stream and enriched table with the last check, and notifies of changes.")
def check() -> dict[str, str]:
    """Notify; returns what needs a person, with their states."""
    context = get_current_context()
    known = Variable.get(KNOWN, default={}, deserialize_json=True)
    settings, now = lake_settings(), datetime.now(UTC)
    with open_lake(settings) as lake:
        overview = read_overview(lake, now)
    send_metrics(overview)
    alerts, bad = compare(known, overview.verdicts)
    for alert in alerts:
        send(alert, context)
    if bad != known:
        Variable.set(KNOWN, dict(bad), serialize_json=True)
    log.info("%d of %d streams and tables need a person", len(bad), len(overview.verdicts))
    return dict(bad)


def alert_of_failure(context: Context) -> None:
    """Callback of tasks whose failure is an alert."""
    instance = context["ti"]
    reason = str(context.get("exception") or "see its log")
    send(Alert(f"{instance.dag_id}.{instance.task_id}", "failed", "error", reason), context)


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
