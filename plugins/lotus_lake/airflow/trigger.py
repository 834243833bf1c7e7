"""Runs of streams that other Dags ask for.

A run that waits looks at the bucket only, not at the lake: it does not notice files that somebody
has put back into the queue. It gives way to a run that is queued, and that one looks at both.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator


def run_streams(stream_ids: Any) -> Any:
    """A task that triggers the Dags of streams, and is skipped if there are none.

    Args:
        stream_ids: What another task returns: a list of their ids.
    """
    return TriggerDagRunOperator.partial(
        task_id="run_stream",
        doc_md="Triggers a run of the stream, because one that waits does not see the queue.",
        fail_when_dag_is_paused=False,
        map_index_template="{{ task.trigger_dag_id }}",
    ).expand(trigger_dag_id=stream_ids)
