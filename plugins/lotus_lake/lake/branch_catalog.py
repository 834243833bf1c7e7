"""The catalog of a branch: a copy of its origin's that shares the origin's data files.

All metadata is copied as of one moment, in one transaction. Addresses of data files become
absolute, so that the copy finds the origin's, and what the branch writes lies in a folder of its
own. DuckLake deletes only what is on its deletion list: a trigger keeps the origin's files off the
list of the branch, whoever asks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb

from lotus_lake.config.settings import Settings
from lotus_lake.error_translation import make_folder, one_line
from lotus_lake.errors import SettingsError
from lotus_lake.lake.session import METADATA, Lake
from lotus_lake.sql import identifier, literal

_TABLES = """
SELECT relname::text AS name FROM pg_class
WHERE relkind = 'r' AND starts_with(relname, 'ducklake_')
AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ducklake_snapshot'::regclass)
"""
# The folder of a file's table, which is the same in all versions of the table.
_FOLDER = """(
    SELECT CASE WHEN tables.path_is_relative THEN
        CASE WHEN schemas.path_is_relative THEN {data_path} ELSE '' END || schemas.path
    ELSE '' END || tables.path
    FROM {schema}ducklake_table AS tables
    JOIN {schema}ducklake_schema AS schemas ON schemas.schema_id = tables.schema_id
    WHERE tables.table_id = {schema}{table}.table_id
    ORDER BY tables.begin_snapshot DESC, schemas.begin_snapshot DESC LIMIT 1
)"""
# Holds the last snapshot that the branch shares with its origin.
_POINT = "lotus_lake_branch"
_SQLITE_TRIGGER = """
CREATE TRIGGER keep_files_of_the_origin BEFORE INSERT ON ducklake_files_scheduled_for_deletion
WHEN NOT NEW.path_is_relative AND substr(NEW.path, 1, length({own})) <> {own}
BEGIN SELECT RAISE(IGNORE); END
"""
_POSTGRES_TRIGGER = """
CREATE FUNCTION {schema}keep_files_of_the_origin() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF NOT NEW.path_is_relative AND NOT starts_with(NEW.path, {own}) THEN RETURN NULL; END IF;
    RETURN NEW;
END $body$;
CREATE TRIGGER keep_files_of_the_origin
BEFORE INSERT ON {schema}ducklake_files_scheduled_for_deletion
FOR EACH ROW EXECUTE FUNCTION {schema}keep_files_of_the_origin()
"""


def copy_catalog(lake: Lake, branch: Settings) -> None:
    """Copy the catalog of an open lake; the branch is there as a whole, or not at all.

    Args:
        lake: The origin, open.
        branch: Settings of the branch, which must not exist.
    """
    if branch.catalog.kind == "sqlite":
        _copy_sqlite(lake, branch)
    else:
        _copy_postgres(lake, branch)


def has_catalog(lake: Lake, branch: Settings) -> bool:
    """Whether a branch of an open lake has a catalog."""
    if branch.catalog.kind == "sqlite":
        return Path(branch.catalog.address).exists()
    wanted = literal(str(branch.catalog.schema))
    return bool(lake.metadata_rows(f"SELECT 1 AS found FROM pg_namespace WHERE nspname = {wanted}"))


def drop_catalog(lake: Lake, branch: Settings) -> None:
    """Delete the catalog of a branch, if it has one; its data files stay."""
    if branch.catalog.kind == "sqlite":
        for suffix in ("", "-wal", "-shm", ".lock", ".unfinished"):
            Path(f"{branch.catalog.address}{suffix}").unlink(missing_ok=True)
    elif has_catalog(lake, branch):
        _execute(lake, f"DROP SCHEMA {identifier(str(branch.catalog.schema))} CASCADE")


def branch_point(lake: Lake, name: str) -> int | None:
    """The last snapshot that a branch shares with its origin; `None` for one of an old release.

    Args:
        lake: Open lake.
        name: What the branch is attached as, beside it.
    """
    try:
        found = lake.value(f"SELECT max(snapshot_id) FROM __ducklake_metadata_{name}.{_POINT}")
    except duckdb.CatalogException:
        return None
    return None if found is None else int(found)


def files_below(lake: Lake, folder: str) -> int:
    """How many data files below a folder the catalog of an open lake knows by their address."""
    return int(
        lake.value(
            f"""
            SELECT count(*) FROM {METADATA}.ducklake_data_file
            WHERE NOT path_is_relative AND starts_with(path, ?)
            """,
            [folder],
        )
    )


def _adoption(lake: Lake, branch: Settings, schema: str = "") -> Iterator[str]:
    """Statements that make a copied catalog that of the branch."""
    data_path = literal(lake.settings.data_path)
    for table in ("ducklake_data_file", "ducklake_delete_file"):
        folder = _FOLDER.format(data_path=data_path, schema=schema, table=table)
        yield (
            f"UPDATE {schema}{table} SET path = {folder} || path, path_is_relative = false "
            "WHERE path_is_relative"
        )
    yield f"DELETE FROM {schema}ducklake_files_scheduled_for_deletion"
    yield (
        f"CREATE TABLE {schema}{_POINT} AS "
        f"SELECT max(snapshot_id) AS snapshot_id FROM {schema}ducklake_snapshot"
    )
    own = literal(branch.data_path)
    yield f"UPDATE {schema}ducklake_metadata SET value = {own} WHERE key = 'data_path'"
    trigger = _POSTGRES_TRIGGER if schema else _SQLITE_TRIGGER
    yield trigger.format(schema=schema, own=own)


def _copy_sqlite(lake: Lake, branch: Settings) -> None:
    target = Path(branch.catalog.address)
    make_folder(target.parent, "LAKE_CATALOG")
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    origin = f"{Path(lake.settings.catalog.address).as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(origin, uri=True)) as con:
        con.execute("VACUUM INTO ?", [str(unfinished)])
    with contextlib.closing(sqlite3.connect(unfinished)) as con, con:
        con.execute("PRAGMA journal_mode = WAL")  # a reader could not switch to it
        for statement in _adoption(lake, branch):
            con.execute(statement)
    os.replace(unfinished, target)


def _copy_postgres(lake: Lake, branch: Settings) -> None:
    schema = identifier(str(branch.catalog.schema))
    lake.con.execute("BEGIN")
    try:
        # The transaction is of isolation level repeatable read: all tables are of one moment.
        tables = [str(name) for (name,) in lake.metadata_rows(_TABLES)]
        _execute(lake, f"CREATE SCHEMA {schema}")
        for table in map(identifier, tables):
            copied = f"{schema}.{table}"
            _execute(lake, f"CREATE TABLE {copied} (LIKE {table} INCLUDING ALL)")
            _execute(lake, f"INSERT INTO {copied} TABLE {table}")
        for statement in _adoption(lake, branch, f"{schema}."):
            _execute(lake, statement)
        lake.con.execute("COMMIT")
    except duckdb.Error as error:
        with contextlib.suppress(duckdb.Error):  # what failed before says more
            lake.con.execute("ROLLBACK")
        if "permission denied for database" in str(error):
            raise SettingsError(
                f"this role may not create a schema in Postgres: {one_line(error)}",
                hint="GRANT CREATE ON DATABASE ... TO ..., see docs/changing-models.md",
            ) from error
        raise


def _execute(lake: Lake, statement: str) -> None:
    lake.con.execute("CALL postgres_execute(?, ?)", [METADATA, statement])
