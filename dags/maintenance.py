"""The Airflow Dag that keeps the lake small; see lotus_lake.airflow.dags."""

from lotus_lake.airflow.dags import maintenance_dag

dag = maintenance_dag()
