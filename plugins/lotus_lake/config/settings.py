"""Where the catalog, the lake's own data and the bucket are.

Everything comes from the environment (for S3 and the catalog also from an Airflow connection) and
is read once, at the edge: the command line, a task, the dbt plugin. The rest gets a `Settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from lotus_lake.config.connections import CatalogAddress, S3Access, refuse_userinfo
from lotus_lake.config.path_format import (
    DEFAULT_PATH_FORMAT,
    STREAM_NAME,
    path_format_problem,
)
from lotus_lake.config.project_dir import LAKE_DIR, find_project_dir
from lotus_lake.errors import SettingsError

# A part of a file name, of a key and of a Postgres schema.
_BRANCH = re.compile(r"[a-z][a-z0-9_]{0,39}")
# What a person may mean as a word of the command.
_NO_BRANCH = ("main", "list", "create", "drop")
_SIZE = re.compile(r"\d+(\.\d+)?\s*[KMGT]i?B", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Settings:
    """All a process needs to know to open the lake."""

    project_dir: Path
    catalog: CatalogAddress
    data_path: str
    raw_uri: str
    path_format: str
    streams_dir: Path
    sources_dir: Path
    s3: S3Access
    memory_limit: str
    threads: int
    temp_dir: Path
    poke_interval_seconds: float
    events_queue: str | None
    events_poll_seconds: float
    task_timeout_seconds: float
    backup_days: int
    branches_path: str | None = None
    branch: str | None = None

    @classmethod
    def from_env(
        cls,
        env: Mapping[str, str] | None = None,
        s3: S3Access | None = None,
        catalog: CatalogAddress | None = None,
    ) -> Settings:
        """Read the configuration contract from the environment.

        Args:
            env: Variables; those of the process by default.
            s3: Access that is known already (from an Airflow connection); read from `env` if not.
            catalog: The catalog, in the same way.

        Raises:
            SettingsError: A variable is malformed, or the raw prefix and `LAKE_DATA_PATH` overlap.
        """
        env = os.environ if env is None else env
        project_dir = find_project_dir(env)
        lake_dir = project_dir / LAKE_DIR
        data_path = env.get("LAKE_DATA_PATH") or str(lake_dir / "data")
        raw_uri = (env.get("LAKE_RAW_URI") or "s3://landing/raw").rstrip("/")
        _check_uris(raw_uri, data_path)
        settings = cls(
            project_dir=project_dir,
            catalog=catalog
            or CatalogAddress.from_env(env, f"sqlite:{lake_dir / 'catalog.sqlite'}"),
            data_path=data_path.rstrip("/") + "/",
            raw_uri=raw_uri,
            path_format=_path_format(env.get("LAKE_PATH_FORMAT") or DEFAULT_PATH_FORMAT),
            streams_dir=Path(env.get("LAKE_STREAMS_DIR") or project_dir / "include" / "streams"),
            sources_dir=project_dir / "include" / "sources",
            s3=s3 or S3Access.from_env(env),
            memory_limit=_memory_limit(env.get("LAKE_MEMORY_LIMIT") or "2GiB"),
            threads=_threads(env.get("LAKE_THREADS") or "2"),
            temp_dir=Path(env.get("LAKE_TEMP_DIR") or lake_dir / "tmp"),
            poke_interval_seconds=_seconds(env, "LAKE_POKE_INTERVAL_SECONDS", "60"),
            events_queue=_queue(env.get("LAKE_EVENTS_QUEUE") or ""),
            events_poll_seconds=_seconds(env, "LAKE_EVENTS_POLL_SECONDS", "7200"),
            task_timeout_seconds=_seconds(env, "LAKE_TASK_TIMEOUT_SECONDS", "3600"),
            backup_days=_days(env.get("LAKE_BACKUP_DAYS") or "2"),
            branches_path=(env.get("LAKE_BRANCHES_PATH") or "").rstrip("/") or None,
        )
        branch = env.get("LAKE_BRANCH")
        return settings.of_branch(branch) if branch else settings

    def of_branch(self, name: str) -> Settings:
        """The same lake on a branch, which has a catalog and a folder of its own.

        Raises:
            SettingsError: The name is not one of a branch, or its folder would lie in the lake's
                own or in the raw prefix.
        """
        if not _BRANCH.fullmatch(name) or name in _NO_BRANCH:
            raise SettingsError(
                f"{name!r} is not a name for a branch",
                hint="up to 40 of a-z, 0-9 and _, beginning with a letter; not "
                + ", ".join(_NO_BRANCH),
            )
        folder = self.branches_path or f"{self.data_path.rstrip('/')}-branches"
        if not self.branches_path and folder.count("/") < 3:
            raise SettingsError(
                f"LAKE_DATA_PATH={self.data_path!r} is a whole bucket: branches have no place "
                "beside it",
                hint="set LAKE_BRANCHES_PATH, such as s3://another-bucket/branches",
            )
        _check_uris(self.raw_uri, folder, "LAKE_BRANCHES_PATH")
        if f"{folder}/".startswith(self.data_path):
            raise SettingsError(
                f"LAKE_BRANCHES_PATH={folder!r} lies in LAKE_DATA_PATH: upkeep of the lake would "
                "delete the files of its branches",
                hint=f"choose a folder beside it, such as {self.data_path.rstrip('/')}-branches",
            )
        return replace(
            self,
            catalog=self.catalog.of_branch(name),
            data_path=f"{folder}/{name}/",
            branch=name,
        )

    @property
    def bucket(self) -> str:
        """Bucket of the raw files."""
        return urlsplit(self.raw_uri).netloc

    @property
    def raw_prefix(self) -> str:
        """Key prefix of all raw files, ending in a slash; empty when the whole bucket is raw."""
        path = urlsplit(self.raw_uri).path.strip("/")
        return f"{path}/" if path else ""

    def uri(self, key: str) -> str:
        """Full address of a raw object."""
        return f"s3://{self.bucket}/{key}"


def _check_uris(raw_uri: str, data_path: str, name: str = "LAKE_DATA_PATH") -> None:
    refuse_userinfo(raw_uri, "LAKE_RAW_URI")
    refuse_userinfo(data_path, name)
    raw = urlsplit(raw_uri)
    if raw.scheme != "s3" or not raw.netloc:
        raise SettingsError(
            f"LAKE_RAW_URI={raw_uri!r} is not an S3 prefix", hint="s3://bucket/prefix"
        )
    if not data_path.startswith("s3://") and not Path(data_path).is_absolute():
        raise SettingsError(
            f"{name}={data_path!r} is neither s3:// nor an absolute folder",
            hint="s3://bucket/lake/ or /absolute/folder",
        )
    check_apart(raw_uri, data_path, name)


def check_apart(raw_uri: str, data_path: str, name: str = "LAKE_DATA_PATH") -> None:
    """Make sure that neither of the raw prefix and the lake's folder lies in the other.

    Raises:
        SettingsError: One does.
    """
    raw = urlsplit(raw_uri)
    raw_side = f"s3://{raw.netloc}/{raw.path.strip('/')}".rstrip("/") + "/"
    data_side = data_path.rstrip("/") + "/"
    if raw_side.startswith(data_side) or data_side.startswith(raw_side):
        raise SettingsError(
            f"{name}={data_path!r} and LAKE_RAW_URI={raw_uri!r} overlap: cleaning the "
            "lake's folder would delete raw files that wait to be fed",
            hint="put them side by side, such as s3://bucket/raw and s3://bucket/lake",
        )


def _path_format(text: str) -> str:
    problem = path_format_problem(text)
    if problem is None and STREAM_NAME not in text:
        problem = f"has no {STREAM_NAME}: all streams would have the same keys"
    if problem:
        raise SettingsError(
            f"LAKE_PATH_FORMAT={text!r} {problem}",
            hint="copy it from Airbyte's S3 destination, in single quotes; see docs/layouts.md",
        )
    return text


def _memory_limit(text: str) -> str:
    if not _SIZE.fullmatch(text.strip()):
        raise SettingsError(
            f"LAKE_MEMORY_LIMIT={text!r} is not a size", hint="such as 2GiB or 500MB"
        )
    return text.strip()


def _seconds(env: Mapping[str, str], name: str, default: str) -> float:
    text = env.get(name) or default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 1 <= seconds <= 86400:
        raise SettingsError(
            f"{name}={text!r} is not a number of seconds", hint="1 to 86400 seconds"
        )
    return seconds


def _queue(text: str) -> str | None:
    refuse_userinfo(text, "LAKE_EVENTS_QUEUE")
    url = urlsplit(text)
    if text and not (url.scheme in ("http", "https") and url.hostname and url.path.strip("/")):
        raise SettingsError(
            f"LAKE_EVENTS_QUEUE={text!r} is not the URL of an SQS queue",
            hint="such as https://sqs.eu-central-1.amazonaws.com/123456789012/lake-events",
        )
    return text or None


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise SettingsError(f"LAKE_THREADS={text!r} is not a number of threads", hint="1 to 256")
    return int(text)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 366:
        raise SettingsError(f"LAKE_BACKUP_DAYS={text!r} is not a number of days", hint="1 to 366")
    return int(text)
