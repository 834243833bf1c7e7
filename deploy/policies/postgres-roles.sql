-- Roles for a lake whose catalog is in Postgres: one that feeds it, one that only reads it.
-- Run once in the catalog's database, as a superuser, before `lotus-lake init`:
--   psql --dbname lake --file deploy/policies/postgres-roles.sql
-- Then give both a password, with \password lake_feeder and \password lake_reader.
-- docs/security.md explains the roles.

CREATE ROLE lake_feeder LOGIN;
CREATE ROLE lake_reader LOGIN;

-- DuckLake keeps all its tables in this schema and creates new ones as needed.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO lake_feeder;
GRANT USAGE ON SCHEMA public TO lake_reader;

-- If another role has already created tables: REASSIGN OWNED BY ... TO lake_feeder.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO lake_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE lake_feeder IN SCHEMA public
GRANT SELECT ON TABLES TO lake_reader;

-- DuckLake recognises conflicts by Postgres's English messages.
ALTER ROLE lake_feeder SET lc_messages = 'C';
