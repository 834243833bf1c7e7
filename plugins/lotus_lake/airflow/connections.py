"""Airflow's connections, as the rest of the library knows them."""

from __future__ import annotations

import os

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from pydantic import SecretStr

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.config.connections import (
    CATALOG_CONN_ID,
    CatalogAddress,
    S3Access,
    ca_bundle,
    embedded_s3,
)
from lotus_lake.config.settings import Settings

AWS_CONN_ID = "aws_default"
AIRBYTE_CONN_ID = "airbyte_default"


def lake_settings(aws_conn_id: str | None = AWS_CONN_ID) -> Settings:
    """Settings of the lake with what Airflow's connections say; for tasks, not for Dag files."""
    use_embedded_s3()
    return Settings.from_env(s3=s3_access(S3Hook(aws_conn_id=aws_conn_id)), catalog=catalog())


def catalog() -> CatalogAddress | None:
    """The connection `lake_catalog` of any secrets backend, if `LAKE_CATALOG` is not set."""
    if os.environ.get("LAKE_CATALOG"):
        return None
    try:
        found = Connection.get(CATALOG_CONN_ID)
    except AirflowNotFoundException:
        return None
    return CatalogAddress.from_connection(found.as_json())


def s3_access(hook: S3Hook) -> S3Access:
    """What the hook found: a connection from any secrets backend, or boto3's own chain.

    Keys of the chain stay out of it: whoever needs them, a child process too, asks the chain
    again, and gets new ones when they expire.
    """
    session, said = hook.get_session(), hook.conn_config
    of_connection = said.aws_access_key_id or said.role_arn or said.profile_name
    credentials = session.get_credentials() if of_connection else None
    frozen = credentials.get_frozen_credentials() if credentials else None
    return S3Access(
        endpoint_url=hook.conn_config.get_service_endpoint_url("s3")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL"),
        region=hook.region_name or session.region_name or "us-east-1",
        access_key_id=frozen.access_key if frozen else None,
        secret_access_key=SecretStr(frozen.secret_key) if frozen and frozen.secret_key else None,
        session_token=SecretStr(frozen.token) if frozen and frozen.token else None,
        ca_bundle=ca_bundle(hook.verify, os.environ),
    )


def use_embedded_s3() -> None:
    """Without any other configuration, point boto3 at the store that `make demo` started."""
    os.environ.update(embedded_s3(os.environ))


def airbyte_access() -> AirbyteAccess:
    """Airbyte by the connection `airbyte_default` of any secrets backend, else by `AIRBYTE_*`.

    Raises:
        SettingsError: Neither says where Airbyte is, or one is malformed.
    """
    try:
        connection = Connection.get(AIRBYTE_CONN_ID)
    except AirflowNotFoundException:
        return AirbyteAccess.from_env(os.environ)
    return AirbyteAccess.from_connection(
        connection.as_json(), os.environ.get("AIRBYTE_WORKSPACE_ID")
    )
