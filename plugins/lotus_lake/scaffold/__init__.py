"""Write the files of a new stream: config, landing DDL, dbt source, processed model and tests."""
