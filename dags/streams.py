"""One Airflow Dag per stream JSON in include/streams; see lotus_lake.airflow.streams."""

from lotus_lake.airflow.streams import stream_dags

globals().update(stream_dags())
