"""No Airflow Dag: shows streams that cannot have one as an import error of its own.

Airflow schedules none of the Dags of a file with an import error, so this is not in streams.py.
"""

from lotus_lake.airflow.stream_errors import check_streams

check_streams()
