"""Make the files of a stream: config, landing DDL, dbt source, processed model and its tests."""
