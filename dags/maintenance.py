"""The Airflow Dag that keeps the lake small and fast; see lotus_lake.airflow.maintenance."""

from lotus_lake.airflow.maintenance import maintenance_dag

dag = maintenance_dag()
