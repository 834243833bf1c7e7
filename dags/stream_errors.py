"""No Airflow Dag: shows broken stream JSONs as an import error of their own.

A file with an import error has none of its Dags scheduled, so this must not be in streams.py.
"""

from lotus_lake.airflow.dags import check_streams

check_streams()
