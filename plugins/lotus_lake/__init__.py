"""Feeds Airbyte's Parquet files into a DuckLake lakehouse, each file exactly once.

Layers, imports point only upwards in this list:

    errors, settings, sql        configuration and text
    streams, keys                what to feed; where its objects lie
    storage                      list objects
    catalog, ledger, landing     the lake: connection, what is known, landing tables
    feeder                       list -> batch -> register -> cursor -> cleanup
    cli, airflow                 the two front ends
"""

__version__ = "0.1.0"
