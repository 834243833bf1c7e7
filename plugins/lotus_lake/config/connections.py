"""How to reach the object store and the catalog: from variables, or from Airflow connections."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

from lotus_lake.config.project_dir import LAKE_DIR, find_project_dir
from lotus_lake.errors import SettingsError

EMBEDDED_S3_FILE = "s3.json"


CATALOG_CONN_ID = "lake_catalog"


_PASSWORD = re.compile(r"password\s*=|://[^@\s]*:[^@\s]*@", re.IGNORECASE)


_PLAIN_WORD = re.compile(r"[^\s'\\]+")


# What the extra of the catalog's connection may say, in libpq's words.
_LIBPQ_WORDS = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version",
    "channel_binding", "gssencmode", "krbsrvname", "passfile", "connect_timeout", "keepalives",
    "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
    "target_session_attrs", "application_name", "options",
)  # fmt: skip


# Any of these means that S3 is configured. A role of the machine has no variable: whoever says
# where the raw files are does not mean the store of the demo.
_S3_NAMES = (
    "LAKE_RAW_URI",
    "AIRFLOW_CONN_AWS_DEFAULT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


_CATALOG_HINT = (
    'use {"conn_type": "postgres", "host": ..., "schema": "the database", "login": ..., '
    '"password": ..., "extra": {"sslmode": "verify-full"}}'
)


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach the object store. Without keys, boto3's own credential chain is used."""

    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    ca_bundle: str | None = None

    def __post_init__(self) -> None:
        """Refuse an endpoint with keys in it, which every error would repeat."""
        refuse_userinfo(self.endpoint_url or "", "the endpoint of the S3 store")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> S3Access:
        """Read `AIRFLOW_CONN_AWS_DEFAULT`, else `AWS_*`, else the embedded store of `make demo`."""
        if connection := env.get("AIRFLOW_CONN_AWS_DEFAULT"):
            return cls.from_connection(connection, env)
        return cls._from_aws_variables({**env, **embedded_s3(env)})

    @classmethod
    def from_connection(cls, text: str, env: Mapping[str, str] | None = None) -> S3Access:
        """Read an Airflow connection in its JSON or its URI form.

        Args:
            text: The connection.
            env: Variables for what it does not say.

        Raises:
            SettingsError: It is neither. The text itself is not repeated: it holds secrets.
        """
        try:
            login, password, extra = parse_connection(text)[:3]
            service = (extra.get("service_config") or {}).get("s3") or {}
            endpoint_url = service.get("endpoint_url") or extra.get("endpoint_url")
            verify = extra.get("verify")
        except (ValueError, AttributeError):
            raise SettingsError(
                "AIRFLOW_CONN_AWS_DEFAULT is neither JSON nor a URI",
                hint='use {"conn_type": "aws", "login": ..., "password": ..., "extra": {...}}',
            ) from None
        return cls(
            endpoint_url=endpoint_url,
            region=extra.get("region_name") or "us-east-1",
            access_key_id=login or None,
            secret_access_key=SecretStr(password) if password else None,
            session_token=SecretStr(t) if (t := extra.get("aws_session_token")) else None,
            ca_bundle=ca_bundle(verify, env or {}),
        )

    @classmethod
    def _from_aws_variables(cls, env: Mapping[str, str]) -> S3Access:
        secret, token = env.get("AWS_SECRET_ACCESS_KEY"), env.get("AWS_SESSION_TOKEN")
        return cls(
            endpoint_url=env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or None,
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
            access_key_id=env.get("AWS_ACCESS_KEY_ID") or None,
            secret_access_key=SecretStr(secret) if secret else None,
            session_token=SecretStr(token) if token else None,
            ca_bundle=ca_bundle(None, env),
        )

    def to_env(self) -> dict[str, str]:
        """The same access as `AWS_*` variables, for a child process."""
        values = {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": _reveal(self.secret_access_key),
            "AWS_SESSION_TOKEN": _reveal(self.session_token),
            "AWS_CA_BUNDLE": self.ca_bundle,
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class CatalogAddress:
    """Which database holds DuckLake's metadata: a SQLite file, or libpq words for Postgres.

    Without a password in an Airflow connection, libpq takes it from PGPASSWORD or a passfile.

    Attributes:
        kind: Which database.
        address: The file, or the words.
        password: From an Airflow connection.
        schema: Of a branch in Postgres: the schema that holds its metadata.
        origin: Of a branch: the address of the catalog that it was made from.
    """

    kind: Literal["sqlite", "postgres"]
    address: str
    password: SecretStr | None = None
    schema: str | None = None
    origin: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str], default: str) -> CatalogAddress:
        """Read `LAKE_CATALOG`, else the Airflow connection `lake_catalog`, else the default."""
        if (connection := env.get("AIRFLOW_CONN_LAKE_CATALOG")) and not env.get("LAKE_CATALOG"):
            return cls.from_connection(connection)
        return cls.parse(env.get("LAKE_CATALOG") or default)

    @classmethod
    def parse(cls, text: str) -> CatalogAddress:
        """Read `sqlite:/abs/file.sqlite` or `postgres:host=... dbname=... user=...`.

        Raises:
            SettingsError: Another form, a relative file, or a password in the text.
        """
        if _PASSWORD.search(unquote(text)):  # before any message repeats the text
            raise SettingsError(
                "LAKE_CATALOG contains a password",
                hint="put it in PGPASSWORD, a passfile or the connection lake_catalog",
            )
        kind, _, address = text.partition(":")
        if kind == "sqlite" and Path(address).is_absolute():
            return cls("sqlite", address)
        if kind == "postgres" and address.strip():
            return cls("postgres", address)
        said = "LAKE_CATALOG" if "@" in text else f"LAKE_CATALOG={text!r}"  # user:password@host
        raise SettingsError(
            f"{said} is not the address of a catalog",
            hint="sqlite:/absolute/file.sqlite or postgres:host=... dbname=... user=...",
        )

    @classmethod
    def from_connection(cls, text: str) -> CatalogAddress:
        """Read the connection `lake_catalog` in its JSON or its URI form.

        Raises:
            SettingsError: It is neither, is not of Postgres, names no host, or its extra has a word
                that libpq does not know: a misspelt `sslmode` would not protect anything. The text
                itself is not repeated: it holds a password.
        """
        try:
            fields = parse_connection(text)
            words = dict(fields.extra.items())
        except (ValueError, AttributeError):
            raise SettingsError(
                f"the connection {CATALOG_CONN_ID} is neither JSON nor a URI", hint=_CATALOG_HINT
            ) from None
        if fields.conn_type not in ("postgres", "postgresql"):
            raise SettingsError(
                f"the connection {CATALOG_CONN_ID} is of type {fields.conn_type!r}, not postgres",
                hint=_CATALOG_HINT,
            )
        unknown = sorted(words.keys() - set(_LIBPQ_WORDS))
        if unknown or not fields.host:
            raise SettingsError(
                f"the connection {CATALOG_CONN_ID} "
                + (f"says {', '.join(unknown)} in its extra" if unknown else "names no host"),
                hint=f"its extra may contain {', '.join(_LIBPQ_WORDS)}"
                if unknown
                else _CATALOG_HINT,
            )
        words = {
            "host": fields.host,
            "port": fields.port,
            "dbname": fields.schema,
            "user": fields.login,
            **words,
        }
        address = " ".join(f"{name}={_libpq(str(word))}" for name, word in words.items() if word)
        return cls("postgres", address, SecretStr(fields.password) if fields.password else None)

    def of_branch(self, name: str) -> CatalogAddress:
        """The catalog of a branch: a file, or a schema, beside this one."""
        if self.kind == "sqlite":
            path = Path(self.address)
            file = path.with_name(f"{path.stem}-branches") / f"{name}.sqlite"
            return replace(self, address=str(file), origin=self.address)
        # DuckLake qualifies its tables with the schema; our own SQL on them finds it on the path.
        schema = f"branch_{name}"
        word = f"-csearch_path={schema}"
        joint, word = (" ", word) if "://" not in self.address else ("?", quote(word))
        joint = "&" if joint == "?" and "?" in self.address else joint
        address = f"{self.address}{joint}options={word}"
        return replace(self, address=address, schema=schema, origin=self.address)

    def to_env(self) -> dict[str, str]:
        """The same catalog as variables, for a child process; of a branch, `LAKE_BRANCH` aside."""
        password = {"PGPASSWORD": _reveal(self.password)} if self.password else {}
        return {"LAKE_CATALOG": f"{self.kind}:{self.origin or self.address}", **password}  # type: ignore[dict-item]


class ConnectionFields(NamedTuple):
    """What an Airflow connection says; a missing field is `None` or empty."""

    login: str | None
    password: str | None
    extra: dict[str, Any]
    host: str | None
    port: int | None
    conn_type: str | None
    schema: str | None


def parse_connection(text: str) -> ConnectionFields:
    """Read an Airflow connection in its JSON or its URI form.

    Raises:
        ValueError: It is neither; the error may repeat the text, which holds secrets.
        AttributeError: Its JSON is not an object.
    """
    if text.lstrip().startswith("{"):
        fields = json.loads(text)
        extra = fields.get("extra") or {}
        return ConnectionFields(
            fields.get("login"),
            fields.get("password"),
            json.loads(extra) if isinstance(extra, str) else extra,
            fields.get("host"),
            int(port) if (port := fields.get("port")) else None,
            fields.get("conn_type"),
            fields.get("schema"),
        )
    parts = urlsplit(text)
    if "://" not in text:
        raise ValueError
    extra = dict(parse_qsl(parts.query))
    if "__extra__" in extra:
        extra = json.loads(extra["__extra__"])
    return ConnectionFields(
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        extra,
        unquote(parts.hostname or ""),
        parts.port,
        parts.scheme,
        unquote(parts.path.strip("/")),
    )


def embedded_s3(env: Mapping[str, str]) -> dict[str, str]:
    """`AWS_*` variables of the store that `make demo` started; empty when S3 is configured."""
    file = find_project_dir(env) / LAKE_DIR / EMBEDDED_S3_FILE
    if any(name in env for name in _S3_NAMES) or not file.exists():
        return {}
    variables: dict[str, str] = json.loads(file.read_text())
    return variables


def refuse_userinfo(url: str, name: str) -> None:
    """Make sure that an address holds no user and no password.

    Args:
        url: The address.
        name: Of the setting, for the error, which does not repeat the address.

    Raises:
        SettingsError: It does.
    """
    if "@" in urlsplit(url).netloc:
        raise SettingsError(
            f"{name} contains a user or a key in front of its host",
            hint="put keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in aws_default",
        )


def ca_bundle(verify: Any, env: Mapping[str, str]) -> str | None:
    """The file of certificates to trust: what the connection says, else `AWS_CA_BUNDLE`.

    Raises:
        SettingsError: The connection asks not to verify at all.
    """
    if verify is False or str(verify).lower() == "false":
        raise SettingsError(
            "the connection aws_default has verify: false, which would accept any server as the "
            "store",
            hint="name the file of the store's certificate authority there, or in AWS_CA_BUNDLE",
        )
    return verify if isinstance(verify, str) and verify else env.get("AWS_CA_BUNDLE") or None


def _libpq(word: str) -> str:
    """A word of a connection string, quoted when libpq needs that."""
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
