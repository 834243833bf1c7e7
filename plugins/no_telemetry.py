"""Keeps Cosmos from reporting every run to its makers, in each process of Airflow.

Its listeners run where runs and tasks end, in the scheduler and in the workers. Not all of these
import a Dag, but all of them load plugins.
"""

from airflow.plugins_manager import AirflowPlugin
from cosmos import settings

settings.enable_telemetry = False


class NoTelemetryPlugin(AirflowPlugin):
    """Has nothing to register: the loader wants a plugin in each file."""

    name = "no_telemetry"
