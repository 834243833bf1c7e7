"""One Airflow Dag per folder of include/dbt/models/enriched; see lotus_lake.airflow.enriched."""

from lotus_lake.airflow.enriched import enriched_dags

globals().update(enriched_dags())
