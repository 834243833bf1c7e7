"""The Airflow Dag that compares bucket and lake as a whole; see lotus_lake.airflow.dags."""

from lotus_lake.airflow.dags import reconcile_dag

dag = reconcile_dag()
