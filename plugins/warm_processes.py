"""Lets Airflow import what the processes that it forks will need; see lotus_lake.airflow.warm."""

from airflow.plugins_manager import AirflowPlugin

from lotus_lake.airflow import warm


class WarmProcessesPlugin(AirflowPlugin):
    """Listens for parts of Airflow that start."""

    name = "warm_processes"
    listeners = [warm]  # noqa: RUF012  the attribute is Airflow's
