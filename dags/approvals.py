"""The Airflow Dag that asks people about schema changes; see lotus_lake.airflow.approvals."""

from lotus_lake.airflow.approvals import approvals_dag

dag = approvals_dag()
