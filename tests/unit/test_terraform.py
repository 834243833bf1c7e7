"""The Terraform files: sound as text, and evaluated by Terraform itself with stand-in resources."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from lotus_lake.airbyte.access import api_roots
from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream, load_streams
from tests.check_terraform import PROJECT, TERRAFORM_DIR, committed_state, problems

TERRAFORM = shutil.which("terraform")
VALUES = {
    "airbyte_url": "https://airbyte.example.com/",
    "airbyte_client_id": "id",
    "airbyte_client_secret": "hunter2",
    "workspace_id": "11111111-0000-4000-8000-000000000001",
    "bucket": "landing",
    "shopify_shop": "example",
    "shopify_api_password": "shop-hunter2",
    "klaviyo_api_key": "mail-hunter2",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the files, beside the stream configs as in the repository."""
    shutil.copytree(PROJECT / "include" / "streams", tmp_path / "include" / "streams")
    copy = tmp_path / "include" / "airbyte" / "terraform"
    shutil.copytree(TERRAFORM_DIR, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return copy


def test_the_files_are_sound() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("sources.tf", "var.shopify_shop", "var.shop", "var.shop is not declared"),
        ("sources.tf", "var.shopify_shop", '"x"', "var.shopify_shop is not used"),
        ("destination.tf", "local.path_format", "local.format", "local.format is not declared"),
        ("destination.tf", "local.path_format", '"x"', "local.path_format is not used"),
        (
            "connections.tf",
            "airbyte_destination.raw",
            "airbyte_destination.s3",
            "airbyte_destination.s3 is not declared",
        ),
        (
            "connections.tf",
            "raw.destination_id",
            "raw.id",
            "airbyte_destination.raw has no attribute id",
        ),
        (
            "sources.tf",
            'resource "airbyte_source" "klaviyo"',
            'resource "airbyte_source_klaviyo" "klaviyo"',
            "airbyte_source_klaviyo.klaviyo: the provider has no airbyte_source_klaviyo since 1.1",
        ),
        (
            "connections.tf",
            "namespace_format     =",
            "namespace_pattern    =",
            "airbyte_connection.to_lake has no argument namespace_pattern",
        ),
        (
            "connections.tf",
            "  source_id      = local.source_ids[each.key]\n",
            "",
            "airbyte_connection.to_lake needs source_id",
        ),
        (
            "variables.tf",
            'private API key of Klaviyo, with read access."\n  type        = string\n'
            "  sensitive   = true".replace("private", "Private"),
            'Key."\n  type = string',
            "var.klaviyo_api_key is not sensitive",
        ),
        (
            "variables.tf",
            'read access."\n',
            'read access."\n  default     = "pk_1"\n',
            "var.klaviyo_api_key has a default, which would be in git",
        ),
        (
            "streams.tf",
            "/../../streams",
            "/../streams",
            "'${path.module}/../streams' is read, but there is no such file or folder",
        ),
        ("outputs.tf", '"raw_uri" {', '"raw_uri"', "outputs.tf: does not parse"),
    ],
)
def test_every_mistake_is_found(folder: Path, file: str, old: str, new: str, problem: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert any(found.startswith(problem) for found in problems(folder)), problems(folder)


def test_a_folder_without_resources_is_not_sound(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: declares no resource"]


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("include/airbyte/terraform/terraform.tfstate", True),
        ("terraform.tfstate.backup", True),
        ("include/airbyte/terraform/terraform.tfvars", True),
        ("prod.auto.tfvars", True),
        ("include/airbyte/terraform/terraform.tfvars.example", False),
        ("include/airbyte/terraform/variables.tf", False),
        ("include/airbyte/terraform/.terraform.lock.hcl", False),
    ],
)
def test_state_and_values_must_not_be_committed(name: str, refused: bool) -> None:
    assert bool(committed_state([name])) == refused
    if refused:
        ignored = subprocess.run(
            ["git", "check-ignore", "--quiet", "--no-index", name], cwd=PROJECT, check=False
        )
        assert ignored.returncode == 0


# Evaluated by Terraform. The provider cannot be had offline: its resources are replaced by
# terraform_data, which is built in, so that every expression is worked out with real values.


def stand_ins(text: str) -> str:
    """The same text with resources that need no provider."""
    text = re.sub(r"(?ms)^provider .*?^}\n", "", text)
    text = re.sub(r"(?ms)^  required_providers \{.*?^  \}\n", "", text)
    text = re.sub(
        r'(?ms)^resource "(airbyte_\w+)" "(\w+)" \{\n(.*?)^\}\n',
        lambda match: _stand_in(match[1], match[2], match[3]),
        text,
    )
    text = re.sub(r"airbyte_(source|destination)\.(\w+)\.\w+_id", r"terraform_data.\1_\2.id", text)
    return text.replace("airbyte_connection.to_lake", "terraform_data.connection_to_lake").replace(
        "connection.connection_id", "connection.id"
    )


def _stand_in(kind: str, name: str, body: str) -> str:
    outside = "".join(re.findall(r"(?m)^  for_each .*\n", body))
    inside = re.sub(r"(?ms)^  lifecycle \{.*?^  \}\n", "", body.replace(outside, "", 1))
    short = kind.removeprefix("airbyte_")
    return f'resource "terraform_data" "{short}_{name}" {{\n{outside}input = {{\n{inside}}}\n}}\n'


@pytest.fixture
def plan(folder: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Plan with some values; returns the arguments of each resource by its address."""
    if TERRAFORM is None:
        pytest.skip("terraform is not installed")
    for path in folder.glob("*.tf"):
        path.write_text(stand_ins(path.read_text()))

    def run(**values: Any) -> dict[str, Any]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "CHECKPOINT_DISABLE": "1",
            **{f"TF_VAR_{name}": value for name, value in (VALUES | values).items()},
        }

        def terraform(*arguments: str) -> str:
            result = subprocess.run(
                [str(TERRAFORM), *arguments],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stdout + result.stderr
            return result.stdout

        terraform("init", "-input=false", "-no-color")
        terraform("validate", "-no-color")
        terraform("plan", "-input=false", "-no-color", "-out=plan")
        document = json.loads(terraform("show", "-json", "plan"))
        resources = document["planned_values"]["root_module"]["resources"]
        return {
            item["address"].removeprefix("terraform_data."): item["values"]["input"]
            for item in resources
        }

    return run


def test_objects_are_written_where_the_feeder_looks(plan: Callable[..., dict[str, Any]]) -> None:
    resources = plan(raw_prefix="lake/raw")
    destination = json.loads(resources["destination_raw"]["configuration"])
    settings = Settings.from_env({"LAKE_RAW_URI": "s3://landing/lake/raw"})
    connections = {
        address: values for address, values in resources.items() if "connection_" in address
    }
    assert len(connections) == 2
    for connection in connections.values():
        assert connection["namespace_definition"] == "custom_format"
        for stream in connection["configurations"]["streams"]:
            # As the connector fills them in, for a sync of 2026-03-01 (destination-s3 1.5 to 1.8).
            path = destination["s3_path_format"]
            for name, value in (
                ("NAMESPACE", connection["namespace_format"]),
                ("STREAM_NAME", stream["name"]),
                ("YEAR", "2026"),
                ("MONTH", "03"),
                ("DAY", "01"),
            ):
                path = path.replace(f"${{{name}}}", value)
            name = destination["file_name_pattern"]
            for variable, value in (
                ("sync_id", "4711"),
                ("timestamp", "1772323200000"),
                ("part_number", "0"),
                ("format_extension", ".parquet"),
            ):
                name = name.replace(f"{{{variable}}}", value)
            key = f"{destination['s3_bucket_path']}/{path}{name}"
            source = connection["namespace_format"]
            fed = find_stream(PROJECT / "include" / "streams", source, stream["name"])
            layout = layout_of(settings, fed)
            assert layout.problem(key) is None, key
            assert layout.day(key, datetime.now(UTC)) == date(2026, 3, 1)
            assert key.endswith("/4711_1772323200000_0.parquet")
    assert destination["s3_bucket_name"] == settings.bucket
    assert destination["format"]["format_type"] == "Parquet"


def test_connections_send_what_the_stream_configs_say(plan: Callable[..., dict[str, Any]]) -> None:
    resources = plan()
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)})
    streams, _ = load_streams(settings.streams_dir)
    sent = {
        (values["namespace_format"], stream["name"]): stream
        for address, values in resources.items()
        if "connection_" in address
        for stream in values["configurations"]["streams"]
    }
    assert len(sent) == len(streams) > 0
    for stream in streams:
        config, found = stream.config, sent[stream.source, stream.name]
        assert found["sync_mode"] == f"{config.sync_mode}_{config.destination_sync_mode}"
        assert found["cursor_field"] == list(config.cursor_field)
        assert found["primary_key"] == [list(path) for path in config.primary_key]
        fields = [item["field_path"] for item in found["selected_fields"]]
        assert fields == [[name] for name in config.fields]


def test_connectors_get_their_values(plan: Callable[..., dict[str, Any]]) -> None:
    resources = plan(
        s3_access_key_id="key",
        s3_secret_access_key="s3-hunter2",
        s3_endpoint="http://minio:9000",
        schedules='{shopify = "0 0 6 * * ?"}',
    )
    assert json.loads(resources["source_shopify"]["configuration"]) == {
        "shop": "example",
        "start_date": "2020-01-01",
        "credentials": {"auth_method": "api_password", "api_password": "shop-hunter2"},
    }
    assert json.loads(resources["source_klaviyo"]["configuration"])["api_key"] == "mail-hunter2"
    destination = json.loads(resources["destination_raw"]["configuration"])
    assert destination["access_key_id"] == "key"
    assert destination["secret_access_key"] == "s3-hunter2"
    assert destination["s3_endpoint"] == "http://minio:9000"
    schedules = {
        values["namespace_format"]: (
            values["schedule"]["schedule_type"],
            values["schedule"]["cron_expression"],
        )
        for address, values in resources.items()
        if "connection_" in address
    }
    assert schedules == {"shopify": ("cron", "0 0 6 * * ?"), "klaviyo": ("manual", None)}


def test_without_keys_none_are_sent(plan: Callable[..., dict[str, Any]]) -> None:
    destination = json.loads(plan()["destination_raw"]["configuration"])
    assert not {"access_key_id", "secret_access_key", "s3_endpoint"} & set(destination)


def test_the_providers_log_in_is_not_in_the_plan(
    plan: Callable[..., dict[str, Any]], folder: Path
) -> None:
    plan()
    assert TERRAFORM
    shown = subprocess.run(
        [TERRAFORM, "show", "-json", "plan"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert '"hunter2"' not in shown
    assert "shop-hunter2" in shown


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://airbyte.example.com/", "https://airbyte.example.com/api/public/v1"),
        ("http://localhost:8000", "http://localhost:8000/api/public/v1"),
        ("https://api.airbyte.com", "https://api.airbyte.com/v1"),
    ],
)
def test_the_providers_api_is_that_of_the_command_line(
    plan: Callable[..., dict[str, Any]], folder: Path, url: str, api: str
) -> None:
    (folder / "api.tf").write_text(
        'resource "terraform_data" "api" {\n  input = local.public_api\n}\n'
    )
    assert plan(airbyte_url=url)["api"] == api == api_roots(url, "AIRBYTE_URL")[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("airbyte_url", "airbyte.example.com"),
        ("airbyte_url", "https://airbyte.example.com/api/v1"),
        ("raw_prefix", "raw/"),
        ("raw_prefix", "/raw"),
        ("raw_prefix", ""),
        ("shopify_start_date", "2020-1-1"),
        ("klaviyo_start_date", "2020-01-01"),
    ],
)
def test_a_wrong_value_is_refused(
    plan: Callable[..., dict[str, Any]], name: str, value: str
) -> None:
    with pytest.raises(AssertionError, match=f"{name} is"):
        plan(**{name: value})
