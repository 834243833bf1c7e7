"""Feeds Airbyte's Parquet files into a DuckLake lakehouse, each file exactly once.

One package per question. Imports point only upwards in this list:

    config, project           settings and stream configs; files of the checkout
    bucket                    keys, objects, credentials
    lake                      DuckLake: connection, commits, write lock, its own tables
    landing, ledger           landing tables; what is known of files and models
    feeder                    list -> batch -> register -> cursor -> cleanup
    repair, upkeep, observe   by hand; at night; look without changing
    doctor                    checks of a deployment
    cli, airflow              the two front ends

Beside them: scaffold and validation (files of the project), airbyte (its API).
"""

__version__ = "0.1.0"
