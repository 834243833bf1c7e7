"""dbt-duckdb plugin: gives a dbt process the same lake as every other process.

With a SQLite catalog the process is a writer from its first statement to its last: it keeps the
one-writer lock until it exits, so run one model at a time (`threads: 1`).
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from lotus_lake.bucket.credentials import renewed_credentials
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import NO_PROGRESS_BAR, configure
from lotus_lake.lake.tables import COMMENT_MACRO
from lotus_lake.lake.write_lock import write_lock

_until_exit = ExitStack()
atexit.register(_until_exit.close)


class Plugin(BasePlugin):
    """Loads the extensions, creates the S3 secret, attaches `lakehouse`."""

    def configure_connection(self, conn: DuckDBPyConnection) -> Any:
        """Configure dbt's connection from the environment."""
        settings = Settings.from_env()
        configure(conn, settings)
        conn.execute(COMMENT_MACRO)
        _until_exit.enter_context(renewed_credentials(conn, settings.s3))
        _until_exit.enter_context(write_lock(settings))

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Configure each of its cursors, which are sessions of their own."""
        cursor.execute(NO_PROGRESS_BAR)
