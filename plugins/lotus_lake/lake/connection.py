"""Open the lake: DuckDB with its extensions, the S3 secret, DuckLake attached as `lakehouse`."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb

from lotus_lake import error_translation
from lotus_lake.bucket.credentials import renewed_credentials, secret_statement
from lotus_lake.config.connections import CatalogAddress
from lotus_lake.config.settings import Settings
from lotus_lake.error_translation import make_folder
from lotus_lake.errors import CatalogUnavailableError, SettingsError
from lotus_lake.lake.branches import refuse_expired
from lotus_lake.lake.extensions import connect, load_extensions
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.write_lock import write_lock
from lotus_lake.sql import literal

# DuckDB draws it into the standard output, among the rows of --json, once a query takes two
# seconds; a setting of the session, not of the process.
NO_PROGRESS_BAR = "SET enable_progress_bar = false"
_CATALOG_SECRET = "lotus_lake_catalog"  # noqa: S105  the name of one

# libpq's words for a server that cannot be reached any more; its own answer is to wait for hours.
_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 120_000,
}
_DUCKLAKE_RETRIES = 20
_CREATE_ATTEMPTS = 10
# DuckLake's words for a database without its tables.
_NOT_CREATED = "creating a new DuckLake is explicitly disabled"
# Postgres's words, as DuckLake passes them on.
_CREATED_BY_ANOTHER = ("duplicate key value violates unique constraint", "already exists")


@contextlib.contextmanager
def open_lake(
    settings: Settings, *, read_only: bool = False, migrate: bool = False
) -> Iterator[Lake]:
    """Open the lake, and detach it on exit.

    Args:
        settings: Where the lake is.
        read_only: Refuse to write.
        migrate: Bring the catalog to the format of this DuckLake, for good: of a branch only.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached, or fails while the lake is open.
        StorageUnavailableError: The data files cannot be read.
        ResourcesExhaustedError: Memory or disk ran out.
    """
    with connect() as con, error_translation.translated(settings):
        configure(con, settings, read_only=read_only, migrate=migrate)
        try:
            with renewed_credentials(con, settings.s3):
                yield Lake(con, settings)
        finally:
            # DuckDB aborts the process when it closes a transaction whose server went away.
            with contextlib.suppress(duckdb.Error):
                con.execute("ROLLBACK")
            with contextlib.suppress(duckdb.Error):
                con.execute("USE memory")
                con.execute(f"DETACH {LAKE}")


@contextlib.contextmanager
def open_beside(
    lake: Lake, settings: Settings, name: str, snapshot: int | None = None
) -> Iterator[None]:
    """Attach another lake, or another version of it, to an open one, to read both in one query.

    Args:
        lake: Open lake.
        settings: Those of the other; both reach the store by the same access.
        name: What the other is attached as.
        snapshot: Read as of this one; the newest by default.

    Raises:
        SettingsError: There is no such branch or snapshot.
        CatalogUnavailableError: Its catalog cannot be reached.
    """
    _attach(lake.con, settings, read_only=True, name=name, snapshot=snapshot)
    try:
        yield
    finally:
        with contextlib.suppress(duckdb.Error):
            lake.con.execute(f"DETACH {name}")


@contextlib.contextmanager
def open_to_read(settings: Settings) -> Iterator[Lake]:
    """Open the lake read-only; if no catalog was created yet, open an empty lake instead.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        try:
            lake = stack.enter_context(open_lake(settings, read_only=True))
        except CatalogUnavailableError as error:
            if not _is_absent(settings, error):
                raise
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lotus-lake-"))
            catalog = CatalogAddress("sqlite", str(Path(folder, "catalog.sqlite")))
            empty = replace(settings, catalog=catalog, data_path=f"{folder}/data/")
            lake = Lake(stack.enter_context(open_lake(empty)).con, settings)
        yield lake


def _is_absent(settings: Settings, error: CatalogUnavailableError) -> bool:
    if settings.catalog.kind == "sqlite" and not Path(settings.catalog.address).exists():
        return True
    return _NOT_CREATED in str(error)


def configure(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    read_only: bool = False,
    migrate: bool = False,
) -> None:
    """Make a fresh DuckDB connection into one that has the lake attached.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached.
    """
    make_folder(settings.temp_dir, "LAKE_TEMP_DIR")
    for name, value in _session_settings(settings):
        con.execute(f"SET GLOBAL {name} = {literal(value)}")
    con.execute(NO_PROGRESS_BAR)
    load_extensions(con, settings.catalog.kind)
    if settings.s3.ca_bundle:
        con.execute(f"SET GLOBAL ca_cert_file = {literal(settings.s3.ca_bundle)}")
    if secret := secret_statement(settings.s3):
        con.execute(secret)
    if settings.catalog.password:
        word = literal(settings.catalog.password.get_secret_value())
        con.execute(f"CREATE OR REPLACE SECRET {_CATALOG_SECRET} (TYPE postgres, PASSWORD {word})")
    _attach(con, settings, read_only=read_only, migrate=migrate)


def _session_settings(settings: Settings) -> list[tuple[str, str | int | bool]]:
    return [
        ("memory_limit", settings.memory_limit),
        ("threads", settings.threads),
        ("temp_directory", str(settings.temp_dir)),
        ("autoinstall_known_extensions", False),
        ("preserve_insertion_order", False),
        ("TimeZone", "UTC"),
    ]


def _attach(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    read_only: bool,
    name: str = LAKE,
    snapshot: int | None = None,
    migrate: bool = False,
) -> None:
    catalog = settings.catalog
    if settings.catalog.kind == "sqlite":
        make_folder(Path(settings.catalog.address).parent, "LAKE_CATALOG")
    if not settings.data_path.startswith("s3://"):
        make_folder(Path(settings.data_path), "LAKE_DATA_PATH")
    if settings.branch and catalog.kind == "sqlite" and not Path(catalog.address).exists():
        raise _no_such_branch(settings.branch)
    # The first ATTACH creates the catalog, which is a write; readers must not wait for a writer.
    created = read_only or _is_created(settings)
    with error_translation.translated(settings, opening=True):
        with contextlib.nullcontext() if created else write_lock(settings):
            statement = attach_statement(
                settings, read_only=read_only, name=name, snapshot=snapshot, migrate=migrate
            )
            _attach_created(con, settings, statement)
        if settings.branch and name == LAKE:
            refuse_expired(Lake(con, settings))
        con.execute(f"SET GLOBAL ducklake_max_retry_count = {_DUCKLAKE_RETRIES}")


def _attach_created(con: duckdb.DuckDBPyConnection, settings: Settings, statement: str) -> None:
    """Attach; on Postgres several may create the catalog at once, and all but one fail to."""
    for attempt in range(_CREATE_ATTEMPTS):
        try:
            con.execute(statement)
        except duckdb.Error as error:
            if settings.branch and _NOT_CREATED in str(error):
                raise _no_such_branch(settings.branch) from None
            lost = any(text in str(error) for text in _CREATED_BY_ANOTHER)
            if not lost or attempt == _CREATE_ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
        else:
            return


def _no_such_branch(name: str) -> SettingsError:
    return SettingsError(
        f"LAKE_BRANCH={name}: there is no such branch",
        hint=f"without LAKE_BRANCH, `lotus-lake branch {name}` makes it",
    )


def _is_created(settings: Settings) -> bool:
    """Whether the catalog holds a committed DuckLake; only SQLite has to be asked.

    Its file alone says nothing: another process may be about to fill it, and a second creator
    would make the first one fail.
    """
    if settings.catalog.kind != "sqlite":
        return True
    uri = f"{Path(settings.catalog.address).as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as con:
            return bool(con.execute("SELECT count(*) FROM ducklake_snapshot").fetchone()[0])
    except sqlite3.Error:
        return False


def attach_statement(
    settings: Settings,
    *,
    read_only: bool = False,
    name: str = LAKE,
    snapshot: int | None = None,
    migrate: bool = False,
) -> str:
    """The ATTACH statement of the lake."""
    catalog = settings.catalog
    options = [f"DATA_PATH {literal(settings.data_path)}"]
    if catalog.kind == "sqlite":
        # Under a rollback journal one open reader makes a commit fail after 5 s.
        options.append("META_JOURNAL_MODE 'WAL'")
    if read_only:
        options.append("READ_ONLY")
    if snapshot is not None:
        options.append(f"SNAPSHOT_VERSION {snapshot}")
    if settings.branch and migrate:
        options.append("AUTOMATIC_MIGRATION true")
    if settings.branch:
        options.append("CREATE_IF_NOT_EXISTS false")
    if catalog.schema:
        options += [f"METADATA_SCHEMA {literal(catalog.schema)}"]
        options += [f"META_SCHEMA {literal(catalog.schema)}"]
    if catalog.password:
        options.append(f"META_SECRET {literal(_CATALOG_SECRET)}")
    address = catalog.address if catalog.kind == "sqlite" else _patient(catalog.address)
    uri = literal(f"ducklake:{catalog.kind}:{address}")
    return f"ATTACH {uri} AS {name} ({', '.join(options)})"


def _patient(address: str) -> str:
    """An address of Postgres with our time limits, unless it says others."""
    words = [f"{name}={value}" for name, value in _PATIENCE.items() if name not in address]
    if "://" not in address:
        return " ".join([address, *words])
    return address + ("&" if "?" in address else "?") + "&".join(words)
