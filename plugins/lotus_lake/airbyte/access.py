"""Airbyte's address and credentials, from `AIRBYTE_*` or from an Airflow connection."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from lotus_lake.config.connections import ConnectionFields, parse_connection
from lotus_lake.errors import SettingsError

CONNECTION = "AIRFLOW_CONN_AIRBYTE_DEFAULT"
_CLOUD_HOST = "api.airbyte.com"
_CLOUD_CONFIG_API = "https://cloud.airbyte.com/api/v1"
# What people paste: the address of the web page, or that of either API.
_API_PATHS = ("/api/public/v1", "/api/public", "/api/v1", "/api", "/v1")


@dataclass(frozen=True, slots=True)
class AirbyteAccess:
    """Airbyte's address and credentials.

    Attributes:
        config_api: Root of the configuration API, which knows schemas and refreshes.
        public_api: Root of the public API, which starts syncs.
        origin: Where the settings come from, for messages: the variables or the connection.
        client_id: Client id of an application; tokens are fetched with it and `client_secret`.
        client_secret: Secret of the application.
        token: A bearer token to use as it is.
        username: User of a server with basic authentication.
        password: Password of this user.
        workspace_id: The only workspace to use; without it, all that these credentials can see.
    """

    config_api: str
    public_api: str
    origin: str = "AIRBYTE_*"
    client_id: str | None = None
    client_secret: SecretStr | None = None
    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    workspace_id: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> AirbyteAccess:
        """Read `AIRFLOW_CONN_AIRBYTE_DEFAULT`, else `AIRBYTE_*`.

        Raises:
            SettingsError: Neither says where Airbyte is, or one is malformed.
        """
        if connection := env.get(CONNECTION):
            return cls.from_connection(connection, env.get("AIRBYTE_WORKSPACE_ID"))
        url = env.get("AIRBYTE_URL")
        if not url:
            raise SettingsError(
                f"neither AIRBYTE_URL nor {CONNECTION} has the address of Airbyte",
                hint="AIRBYTE_URL=https://airbyte.example.com AIRBYTE_CLIENT_ID=... "
                "AIRBYTE_CLIENT_SECRET=... (in Airbyte: Settings, Applications)",
            )
        return cls(
            *api_roots(url, "AIRBYTE_URL"),
            client_id=env.get("AIRBYTE_CLIENT_ID") or None,
            client_secret=_secret(env.get("AIRBYTE_CLIENT_SECRET")),
            token=_secret(env.get("AIRBYTE_TOKEN")),
            username=env.get("AIRBYTE_USERNAME") or None,
            password=_secret(env.get("AIRBYTE_PASSWORD")),
            workspace_id=env.get("AIRBYTE_WORKSPACE_ID") or None,
        )

    @classmethod
    def from_connection(cls, text: str, workspace_id: str | None = None) -> AirbyteAccess:
        """Read an Airflow connection as the Airbyte provider has it.

        The host is Airbyte's address, login and password are client id and secret.

        Raises:
            SettingsError: It is malformed. The text itself is not repeated: it holds secrets.
        """
        try:
            fields = parse_connection(text)
            url = _connection_url(fields)
            extra_token = fields.extra.get("token")
        except (ValueError, AttributeError):
            raise SettingsError(
                f"{CONNECTION} is neither JSON nor a URI",
                hint='use {"conn_type": "airbyte", "host": "https://airbyte.example.com", '
                '"login": "client id", "password": "client secret"}',
            ) from None
        return cls(
            *api_roots(url, f"the host of {CONNECTION}"),
            origin=CONNECTION,
            client_id=fields.login or None,
            client_secret=_secret(fields.password),
            token=_secret(extra_token),
            workspace_id=workspace_id or None,
        )

    def __post_init__(self) -> None:
        """Refuse half a login."""
        pairs = [
            ("AIRBYTE_CLIENT_ID", self.client_id, "AIRBYTE_CLIENT_SECRET", self.client_secret),
            ("AIRBYTE_USERNAME", self.username, "AIRBYTE_PASSWORD", self.password),
        ]
        if self.origin == CONNECTION:
            pairs = [("its login", self.client_id, "its password", self.client_secret)]
        for name, value, secret_name, secret in pairs:
            if bool(value) != bool(secret):
                there, missing = (name, secret_name) if value else (secret_name, name)
                raise SettingsError(
                    f"{self.origin}: {there} is set, but {missing} is not",
                    hint="set both or neither",
                )

    @property
    def kind(self) -> Literal["token", "application", "basic", "none"]:
        """How to authorise a request."""
        if self.token:
            return "token"
        if self.client_id:
            return "application"
        return "basic" if self.username else "none"

    @property
    def token_api(self) -> str:
        """Root of the API that hands out tokens: a self-managed server has it in both."""
        own = self.public_api.endswith("/api/public/v1")
        return self.config_api if own else self.public_api

    @property
    def variables(self) -> str:
        """Settings to check if Airbyte refuses the login."""
        if self.origin == CONNECTION:
            return f"{CONNECTION} (login and password: client id and client secret)"
        return {
            "token": "AIRBYTE_TOKEN",
            "application": "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET",
            "basic": "AIRBYTE_USERNAME and AIRBYTE_PASSWORD",
            "none": "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET (none is set)",
        }[self.kind]

    def basic_header(self) -> str:
        """Value of the header `Authorization` for basic authentication."""
        password = self.password.get_secret_value() if self.password else ""
        return "Basic " + base64.b64encode(f"{self.username}:{password}".encode()).decode()


def api_roots(url: str, name: str) -> tuple[str, str]:
    """Addresses of the configuration API and of the public API, without a trailing slash.

    Args:
        url: Address of the server, or of either API.
        name: Where the address comes from, for the message.

    Raises:
        SettingsError: It is not an address. At most the host is repeated: it may hold a password.
    """
    try:
        parts = urlsplit(url.strip())
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # such as a port that is not a number
        is_address = False
    if not is_address:
        raise SettingsError(
            f"{name} is not the address of a server", hint="such as https://airbyte.example.com"
        ) from None
    if parts.username or parts.password:
        raise SettingsError(
            f"{name} contains a login ({parts.hostname})",
            hint="put it in AIRBYTE_USERNAME and AIRBYTE_PASSWORD",
        )
    if parts.hostname == _CLOUD_HOST:
        return _CLOUD_CONFIG_API, f"https://{_CLOUD_HOST}/v1"
    path = parts.path.rstrip("/")
    for api_path in _API_PATHS:
        if path.endswith(api_path):
            path = path.removesuffix(api_path)
            break
    root = f"{parts.scheme}://{parts.netloc}{path}"
    return f"{root}/api/v1", f"{root}/api/public/v1"


def _connection_url(fields: ConnectionFields) -> str:
    host = fields.host or ""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    if fields.port and not parts.port:
        parts = parts._replace(netloc=f"{parts.netloc}:{fields.port}")
    return parts.geturl()


def _secret(text: str | None) -> SecretStr | None:
    return SecretStr(text) if text else None
