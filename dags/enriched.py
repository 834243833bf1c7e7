"""One asset-triggered Airflow Dag per folder of models/enriched; see lotus_lake.airflow.dags."""

from lotus_lake.airflow.dags import enriched_dags

for dag in enriched_dags():
    globals()[dag.dag_id] = dag
