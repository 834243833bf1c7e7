"""The contract of a stream: what the standard's own schema accepts, and what the table has."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.landing.tables import landing_columns
from lotus_lake.scaffold.contract import contract
from tests.feeds import FIELDS, write_stream

PROJECT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((files("open_data_contract_standard") / "schema.json").read_text())
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)


# Deeper streams take the validator minutes.
@pytest.mark.parametrize("name", ["klaviyo/events", "klaviyo/metrics", "shopify/customers"])
def test_the_contract_of_a_stream_of_the_demo_is_of_the_standard(name: str) -> None:
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)})
    stream = find_stream(settings.streams_dir, *name.split("/"))
    VALIDATOR.validate(contract(settings, stream, "1.0.0"))


def test_it_has_columns_key_descriptions_and_freshness(tmp_path: Path) -> None:
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(tmp_path)})
    fields = {**FIELDS, "status": {"type": "string", "description": "How far it is."}}
    options = {"freshness": {"error_after_seconds": 7200}, "schedule": "0 * * * *"}
    stream = write_stream(settings.streams_dir, "orders", fields, options)
    found = contract(settings, stream, "2.1.0")
    VALIDATOR.validate(found)
    [table] = found["schema"]
    properties: dict[str, Any] = {each["name"]: each for each in table["properties"]}
    assert list(properties) == list(landing_columns(stream, {}))
    assert properties["id"]["primaryKeyPosition"] == 1
    assert properties["status"]["description"] == "How far it is."
    assert properties["lines"]["items"]["properties"][0]["name"] == "sku"
    assert properties["address"]["logicalType"] == "object"
    assert properties["_airbyte_extracted_at"]["logicalType"] == "timestamp"
    assert (found["version"], found["id"]) == ("2.1.0", "shop__orders")
    assert [(each["property"], each["value"]) for each in found["slaProperties"]] == [
        ("frequency", "0 * * * *"), ("latency", 7200),
    ]  # fmt: skip


def test_the_command_prints_yaml_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(PROJECT))
    as_yaml = CliRunner().invoke(app, ["contract", "shopify", "orders"])
    as_json = CliRunner().invoke(app, ["contract", "shopify", "orders", "--json"])
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
