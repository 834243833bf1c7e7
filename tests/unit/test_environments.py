"""The environments of docs/environments.md keep out of each other's way."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from tests.policies import Policy

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "environments.md").read_text(encoding="utf-8")
NAMES = ("production", "staging", "development")


@pytest.fixture
def environments() -> dict[str, Settings]:
    """The settings of each environment, from the blocks of the page."""
    found = {}
    for block in re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL):
        title, *lines = block.strip().splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        found[title.removeprefix("# ")] = Settings.from_env(
            {"LAKE_PROJECT_DIR": str(PROJECT), **variables}
        )
    assert tuple(found) == NAMES
    return found


def address(settings: Settings) -> tuple[str, str | None]:
    return settings.catalog.address, settings.catalog.schema


def test_each_has_a_catalog_and_a_folder_of_its_own(environments: dict[str, Settings]) -> None:
    assert len({address(settings) for settings in environments.values()}) == len(NAMES)
    for one, other in permutations(environments.values(), 2):
        assert not one.data_path.startswith(other.data_path)
    development, production = environments["development"], environments["production"]
    assert development.branch
    made = production.of_branch(development.branch)
    assert (address(development), development.data_path) == (address(made), made.data_path)


def test_only_a_branch_shares_the_raw_files_of_another(environments: dict[str, Settings]) -> None:
    for one, other in permutations(environments.values(), 2):
        overlap = f"{one.raw_uri}/".startswith(f"{other.raw_uri}/")
        assert overlap == (one.raw_uri == other.raw_uri)
        if overlap:
            assert one.branch or other.branch


@pytest.mark.parametrize("policy", ["s3-feeder.json", "s3-reader.json", "s3-branch.json"])
def test_the_keys_of_staging_reach_nothing_of_production(
    environments: dict[str, Settings], policy: str
) -> None:
    staging, production = environments["staging"], environments["production"]
    own = Policy.load(policy, staging.bucket)
    for method in ("GET", "PUT", "DELETE"):
        for root in (production.raw_uri, production.data_path.rstrip("/")):
            parts = urlsplit(f"{root}/a.parquet")
            assert not own.allows(method, f"/{parts.netloc}{parts.path}", b"")
    key = urlsplit(f"{staging.data_path}a.parquet").path
    assert own.allows("GET", f"/{staging.bucket}{key}", b"")


def test_the_keys_of_a_branch_change_nothing_of_production(
    environments: dict[str, Settings],
) -> None:
    production, branch = environments["production"], environments["development"]
    own = Policy.load("s3-branch.json", production.bucket)
    for method, root, may in (
        ("GET", production.raw_uri + "/", True), ("PUT", production.raw_uri + "/", False),
        ("DELETE", production.raw_uri + "/", False), ("GET", production.data_path, True),
        ("PUT", production.data_path, False), ("DELETE", production.data_path, False),
        ("PUT", branch.data_path, True), ("DELETE", branch.data_path, True),
    ):  # fmt: skip
        parts = urlsplit(f"{root}a.parquet")
        assert own.allows(method, f"/{parts.netloc}{parts.path}", b"") is may, (method, root)


def test_every_stream_is_in_every_environment(environments: dict[str, Settings]) -> None:
    found = [
        [stream.id for stream in load_streams(settings.streams_dir)[0]]
        for settings in environments.values()
    ]
    assert found[0]
    assert found == [found[0]] * len(NAMES)
