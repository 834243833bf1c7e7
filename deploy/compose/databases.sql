-- Run by Postgres's image when its volume is new: a database and a role for Airflow, and for the lake.
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv lake_password LAKE_DB_PASSWORD
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE lake;
\connect lake
\i /policies/postgres-roles.sql
ALTER ROLE lake_feeder PASSWORD :'lake_password';
