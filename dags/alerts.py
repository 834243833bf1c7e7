"""The Airflow Dag that alerts people to streams that need one; see lotus_lake.airflow.alerts."""

from lotus_lake.airflow.alerts import alerts_dag

dag = alerts_dag()
