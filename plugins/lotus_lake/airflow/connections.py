"""Airflow's connections, as the rest of the library knows them."""

from __future__ import annotations

import logging
import os

import boto3
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


# They say where each client found its keys and its endpoint, five lines in the log of every task.
for _name in ("botocore", "aiobotocore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def lake_settings(aws_conn_id: str | None = AWS_CONN_ID) -> Settings:
    """Settings of the lake with what Airflow's connections say; for tasks, not for Dag files."""
    use_embedded_s3()
    return Settings.from_env(s3=s3_access(existing(aws_conn_id)), catalog=catalog())


def existing(conn_id: str | None) -> str | None:
    """The connection's id if any secrets backend knows it; hooks warn of one that is missing."""
    return conn_id if conn_id and _find(conn_id) else None


def catalog() -> CatalogAddress | None:
    """The connection `lake_catalog` of any secrets backend, if `LAKE_CATALOG` is not set."""
    if os.environ.get("LAKE_CATALOG"):
        return None
    found = _find(CATALOG_CONN_ID)
    return CatalogAddress.from_connection(found.as_json()) if found else None


def s3_access(aws_conn_id: str | None) -> S3Access:
    """What a connection of any secrets backend says of S3, or else boto3's own chain.

    Keys of the chain stay out of it: whoever needs them, a child process too, asks the chain
    again, and gets new ones when they expire.
    """
    endpoint_url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if aws_conn_id is None:
        region = boto3.session.Session().region_name or "us-east-1"
        return S3Access(endpoint_url, region, ca_bundle=ca_bundle(None, os.environ))
    hook = S3Hook(aws_conn_id=aws_conn_id)
    session, said = hook.get_session(), hook.conn_config
    of_connection = said.aws_access_key_id or said.role_arn or said.profile_name
    credentials = session.get_credentials() if of_connection else None
    frozen = credentials.get_frozen_credentials() if credentials else None
    return S3Access(
        endpoint_url=said.get_service_endpoint_url("s3") or endpoint_url,
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
    if connection := _find(AIRBYTE_CONN_ID):
        return AirbyteAccess.from_connection(
            connection.as_json(), os.environ.get("AIRBYTE_WORKSPACE_ID")
        )
    return AirbyteAccess.from_env(os.environ)


def _find(conn_id: str) -> Connection | None:
    try:
        found: Connection = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    return found
