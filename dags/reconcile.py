"""The Airflow Dag that compares bucket and lake; see lotus_lake.airflow.reconcile."""

from lotus_lake.airflow.reconcile import reconcile_dag

dag = reconcile_dag()
