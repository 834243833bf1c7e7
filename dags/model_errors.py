"""No Airflow Dag: shows a dbt project that does not parse as an import error of its own.

The Dags go on with the manifest of the last one that did, so this is not in their files.
"""

from lotus_lake.airflow.enriched import check_models

check_models()
