"""Open the lake: DuckDB with its extensions, the S3 secret, DuckLake attached as `lakehouse`."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from lotus_lake import failures
from lotus_lake.bucket.credentials import renewed_credentials, secret_statement
from lotus_lake.config.settings import Settings
from lotus_lake.errors import CommitConflictError, SettingsError
from lotus_lake.lake.write_lock import write_lock
from lotus_lake.sql import literal

LAKE = "lakehouse"
META = f"{LAKE}.meta"
STAGING = f"{LAKE}.staging"
# DuckLake's own tables, and the id of a landing table in them, by its name.
METADATA = f"__ducklake_metadata_{LAKE}"
STAGING_TABLE_ID = (
    f"SELECT max(table_id) FROM {METADATA}.ducklake_table JOIN {METADATA}.ducklake_schema "
    "USING (schema_id) WHERE table_name = ? AND schema_name = 'staging' "
    f"AND {METADATA}.ducklake_table.end_snapshot IS NULL"
)

_CATALOG_SECRET = "lotus_lake_catalog"  # noqa: S105  the name of one

COMMIT_ATTEMPTS = 12
_DUCKLAKE_RETRIES = 20
_CREATE_ATTEMPTS = 10
# Postgres's words, as DuckLake passes them on.
_CREATED_BY_ANOTHER = ("duplicate key value violates unique constraint", "already exists")

_CONFLICT_TEXTS = (
    "transaction conflict",
    "database is locked",
    "maximum retry count",
    "could not serialize access",
)

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Lake:
    """An open lake. Use `open_lake`; one process, one thread."""

    con: duckdb.DuckDBPyConnection
    settings: Settings

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        return self.con.execute(sql, parameters).fetchall()

    def tables(self, schema: str) -> set[str]:
        """Names of the committed tables of a schema of the lake.

        Asks DuckLake's metadata: DuckDB would load every table to list them, 20 s for thousands.
        """
        return {
            name
            for (name,) in self.rows(
                f"SELECT table_name FROM {METADATA}.ducklake_table AS tables "
                f"JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id) "
                "WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL "
                "AND schema_name = ?",
                [schema],
            )
        }

    def metadata_rows(self, sql: str) -> list[Any]:
        """All rows of a query that the catalog's database runs itself, where the rows are."""
        return self.rows(f"SELECT * FROM {self.settings.catalog.kind}_query(?, ?)", [METADATA, sql])

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """First column of the first row; `None` when there is no row."""
        row = self.con.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def ask_postgres(self, sql: str) -> list[Any]:
        """First column of a query that the Postgres of the catalog runs by itself."""
        return [row[0] for row in self.rows("FROM postgres_query(?, ?)", [METADATA, sql])]

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[int]:
        """Read as of one snapshot, whose id is given, until the block ends.

        DuckLake's own tables may be ahead of it: they are read later, in a transaction of theirs.
        """
        self.con.execute("BEGIN TRANSACTION")
        try:
            yield int(self.value(f"SELECT id FROM {LAKE}.current_snapshot()"))
        finally:
            with contextlib.suppress(duckdb.Error):  # what failed before says more
                self.con.execute("ROLLBACK")

    def commit(self, message: str, unit: Callable[[], Result]) -> Result:
        """Run `unit` in one transaction, that is, one DuckLake snapshot.

        The whole unit runs again, after a random pause, when another writer got in the way.

        Args:
            message: Commit message, shown by `lakehouse.snapshots()`.
            unit: Reads and writes through this lake; must not swallow a DuckDB error, because
                COMMIT of an aborted transaction answers OK and does nothing.

        Raises:
            CommitConflictError: Other writers won every time.
        """
        return self._retried(message, partial(self._snapshot, message, unit))

    def commit_metadata(
        self, message: str, statements: Sequence[tuple[str, Sequence[object]]]
    ) -> None:
        """Run statements on DuckLake's own tables in one transaction; it makes no snapshot.

        Args:
            message: What is done, for errors.
            statements: SQL and its parameters.

        Raises:
            CommitConflictError: Other writers won every time.
        """

        def unit() -> None:
            with self._transaction():
                for statement, parameters in statements:
                    self.con.execute(statement, parameters)

        self._retried(message, unit)

    def _snapshot(self, message: str, unit: Callable[[], Result]) -> Result:
        with self._transaction():
            result = unit()
            self.con.execute(f"CALL {LAKE}.set_commit_message(?, ?)", ["lotus-lake", message])
        return result

    def _retried(self, message: str, transaction: Callable[[], Result]) -> Result:
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                return transaction()
            except duckdb.Error as error:
                if not is_conflict(error):
                    raise
                log.info(
                    "commit %r met another writer, attempt %d: %s", message, attempt + 1, error
                )
                time.sleep(random.uniform(0.05, 0.2) * min(attempt + 1, 5))  # noqa: S311
        raise CommitConflictError(
            f"{message}: lost against other writers {COMMIT_ATTEMPTS} times",
            hint="run it again; if it stays, look for a process that writes to this stream",
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with write_lock(self.settings):
            self.con.execute("BEGIN TRANSACTION")
            try:
                yield
                self.con.execute("COMMIT")
            except BaseException:
                # After a failed COMMIT there is no transaction left to roll back.
                with contextlib.suppress(duckdb.Error):
                    self.con.execute("ROLLBACK")
                raise


def is_conflict(error: Exception) -> bool:
    """Whether a DuckDB error says that another writer got in the way."""
    text = str(error).lower()
    return any(part in text for part in _CONFLICT_TEXTS)


@contextlib.contextmanager
def open_lake(settings: Settings, *, read_only: bool = False) -> Iterator[Lake]:
    """Open the lake, and detach it on exit.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached, or fails while the lake is open.
        StorageUnavailableError: The data files cannot be read.
        ResourcesExhaustedError: Memory or disk ran out.
    """
    con = duckdb.connect(":memory:")
    try:
        configure(con, settings, read_only=read_only)
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
    except duckdb.Error as error:
        if (meant := failures.of_use(settings, error)) is None:
            raise
        raise meant from error
    finally:
        con.close()


def configure(
    con: duckdb.DuckDBPyConnection, settings: Settings, *, read_only: bool = False
) -> None:
    """Make a fresh DuckDB connection into one that has the lake attached.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached.
    """
    failures.make_folder(settings.temp_dir, "LAKE_TEMP_DIR")
    for name, value in _session_settings(settings):
        con.execute(f"SET GLOBAL {name} = {literal(value)}")
    load_extensions(con, settings.catalog.kind)
    if settings.s3.ca_bundle:
        con.execute(f"SET GLOBAL ca_cert_file = {literal(settings.s3.ca_bundle)}")
    if secret := secret_statement(settings.s3):
        con.execute(secret)
    if settings.catalog.password:
        word = literal(settings.catalog.password.get_secret_value())
        con.execute(f"CREATE OR REPLACE SECRET {_CATALOG_SECRET} (TYPE postgres, PASSWORD {word})")
    _attach(con, settings, read_only=read_only)


def _session_settings(settings: Settings) -> list[tuple[str, str | int | bool]]:
    return [
        ("memory_limit", settings.memory_limit),
        ("threads", settings.threads),
        ("temp_directory", str(settings.temp_dir)),
        ("autoinstall_known_extensions", False),
        ("preserve_insertion_order", False),
        ("TimeZone", "UTC"),
    ]


def _attach(con: duckdb.DuckDBPyConnection, settings: Settings, *, read_only: bool) -> None:
    if settings.catalog.kind == "sqlite":
        failures.make_folder(Path(settings.catalog.address).parent, "LAKE_CATALOG")
    if not settings.data_path.startswith("s3://"):
        failures.make_folder(Path(settings.data_path), "LAKE_DATA_PATH")
    # The first ATTACH creates the catalog, which is a write; readers must not wait for a writer.
    created = read_only or _is_created(settings)
    try:
        with contextlib.nullcontext() if created else write_lock(settings):
            _attach_created(con, attach_statement(settings, read_only=read_only))
        con.execute(f"SET GLOBAL ducklake_max_retry_count = {_DUCKLAKE_RETRIES}")
    except duckdb.Error as error:
        raise failures.of_attach(settings, error) from error


def _attach_created(con: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Attach; on Postgres several may create the catalog at once, and all but one fail to."""
    for attempt in range(_CREATE_ATTEMPTS):
        try:
            con.execute(statement)
        except duckdb.Error as error:
            lost = any(text in str(error) for text in _CREATED_BY_ANOTHER)
            if not lost or attempt == _CREATE_ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
        else:
            return


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


def attach_statement(settings: Settings, *, read_only: bool = False) -> str:
    """The ATTACH statement of the lake."""
    catalog = settings.catalog
    options = [f"DATA_PATH {literal(settings.data_path)}"]
    if catalog.kind == "sqlite":
        # Under a rollback journal one open reader makes a commit fail after 5 s.
        options.append("META_JOURNAL_MODE 'WAL'")
    if read_only:
        options.append("READ_ONLY")
    if catalog.password:
        options.append(f"META_SECRET {literal(_CATALOG_SECRET)}")
    uri = literal(f"ducklake:{catalog.kind}:{catalog.address}")
    return f"ATTACH {uri} AS {LAKE} ({', '.join(options)})"


def load_extensions(con: duckdb.DuckDBPyConnection, catalog_kind: str) -> None:
    """Load what the lake needs, from the installed wheels, or else from DuckDB's own repository.

    Raises:
        SettingsError: An extension is in neither place.
    """
    for name in ("httpfs", f"{catalog_kind}_scanner", "ducklake"):
        wheel = _extension_wheel(name)
        try:
            if wheel is None:
                con.execute(f"INSTALL {name}")
                con.execute(f"LOAD {name}")
            else:
                con.execute(f"LOAD {literal(str(wheel))}")
        except duckdb.Error as error:
            raise SettingsError(
                f"DuckDB {duckdb.__version__} could not load its extension {name}: {error}",
                hint=f"pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
            ) from error


def _extension_wheel(name: str) -> Path | None:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    file = folder / f"{name}.duckdb_extension"
    return file if file.exists() else None
