"""Feeds Airbyte's Parquet files into a DuckLake lakehouse, each file exactly once.

One package per question. Imports point only upwards in this list (see pyproject.toml):

    config, project           settings and stream configs; files of the checkout
    bucket                    keys, objects, credentials
    lake                      DuckLake: connection, commits, write lock, its own tables
    landing, ledger           landing tables; what is known of files and models
    feeder                    list -> batch -> register -> cursor -> cleanup
    scaffold                  files of a new stream
    repair, upkeep, observe   repairs by hand; work at night; views
    airbyte, validation       Airbyte's jobs; do the project's files fit together?
    doctor, operations        checks of a deployment; repairs, as request and result
    cli, airflow, dbt_plugin  the front ends
"""

__version__ = "0.1.0"
