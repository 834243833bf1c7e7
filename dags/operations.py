"""The Airflow Dag for operations by hand; see lotus_lake.airflow.operations."""

from lotus_lake.airflow.operations import operations_dag

dag = operations_dag()
