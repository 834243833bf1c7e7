"""The keys of the object store, for DuckDB: a secret, replaced before the keys of a role expire."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb

from lotus_lake.bucket.objects import access_errors
from lotus_lake.config.connections import S3Access
from lotus_lake.errors import SettingsError
from lotus_lake.sql import literal

if TYPE_CHECKING:
    from botocore.credentials import Credentials

_S3_SECRET = "lotus_lake_s3"  # noqa: S105  the name of one
# boto3 asks for new keys a quarter of an hour before they expire.
RENEWAL_SECONDS = 60.0

log = logging.getLogger(__name__)


def secret_statement(access: S3Access, credentials: Credentials | None = None) -> str | None:
    """The CREATE SECRET statement for DuckDB; `None` when no credentials are known.

    Args:
        access: How to reach the store.
        credentials: Of boto3's chain, where the access names no keys; asked for if missing.

    Raises:
        SettingsError: The credentials that the chain names cannot be used.
    """
    key_id, secret, token = access.access_key_id, access.secret_access_key, access.session_token
    # Empty, not left out: for what is left out DuckDB takes the environment's, another key's.
    values: dict[str, str | bool] = {
        "KEY_ID": key_id or "",
        "SECRET": secret.get_secret_value() if secret else "",
        "SESSION_TOKEN": token.get_secret_value() if token else "",
    }
    if key_id is None:
        credentials = credentials or _chain_credentials()
        if credentials is None:
            return None
        with access_errors():
            frozen = credentials.get_frozen_credentials()
        values = {
            "KEY_ID": frozen.access_key or "",
            "SECRET": frozen.secret_key or "",
            "SESSION_TOKEN": frozen.token or "",
        }
    values["REGION"] = access.region
    if access.endpoint_url:
        scheme, _, host = access.endpoint_url.partition("://")
        values |= {"ENDPOINT": host.rstrip("/"), "USE_SSL": scheme == "https", "URL_STYLE": "path"}
    words = [f"{name} {literal(value)}" for name, value in values.items()]
    return f"CREATE OR REPLACE SECRET {_S3_SECRET} (TYPE s3, {', '.join(words)})"


@contextlib.contextmanager
def renewed_credentials(con: duckdb.DuckDBPyConnection, access: S3Access) -> Iterator[None]:
    """Replace the keys of a role before they expire, as long as the block runs.

    boto3's clients renew their keys by themselves; DuckDB has those that it was given. A statement
    that is running opens its next file with the new ones.
    """
    credentials = _chain_credentials() if access.access_key_id is None else None
    if not hasattr(credentials, "refresh_needed"):  # keys that stay, or none
        yield
        return
    done = threading.Event()
    renewal = threading.Thread(
        target=_renew, args=(con.cursor(), access, credentials, done), daemon=True
    )
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()


def _renew(
    con: duckdb.DuckDBPyConnection,
    access: S3Access,
    credentials: Credentials,
    done: threading.Event,
) -> None:
    known = None
    with con:
        while not done.wait(RENEWAL_SECONDS):
            try:
                statement = secret_statement(access, credentials)
            except SettingsError as error:  # the next attempt may succeed before the keys expire
                log.warning("the keys of the role could not be renewed: %s", error)
                continue
            if statement and statement != known:
                con.execute(statement)
                known = statement


def _chain_credentials() -> Credentials | None:
    """What boto3's own chain finds: variables, profiles, a role of the container or machine."""
    import boto3  # 0.4 s that commands about files on disk do not have to wait

    with access_errors():
        return boto3.Session().get_credentials()
