"""Lets the scheduler and the Dag processor load what the processes that they fork will need."""

from airflow.plugins_manager import AirflowPlugin

from lotus_lake.airflow import warm


class WarmProcessesPlugin(AirflowPlugin):
    """Listens for parts of Airflow that start."""

    name = "warm_processes"
    listeners = [warm]  # noqa: RUF012  the attribute is Airflow's
