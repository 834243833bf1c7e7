"""One Airflow Dag per stream JSON in include/streams; see lotus_lake.airflow.dags."""

from lotus_lake.airflow.dags import stream_dags

for dag in stream_dags():
    globals()[dag.dag_id] = dag
