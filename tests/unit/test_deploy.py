"""What `make check` finds in the deployment files, and the secrets that are made for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hcl2
import pytest
from cryptography.fernet import Fernet

PROJECT = Path(__file__).resolve().parents[2]
NEEDED = (
    "docker-compose.yml",
    "requirements-production.txt",
    "deploy/compose/example.env",
    "deploy/helm",
    "deploy/kubernetes",
    "tests/check_deploy.py",
)


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT / "plugins")}
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in NEEDED:
        source, target = PROJECT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return tmp_path


def test_only_the_bucket_may_send_to_the_queue_that_the_policy_lets_triggerers_read() -> None:
    text = (PROJECT / "deploy" / "events" / "main.tf").read_text()
    module = hcl2.loads(text)
    data = {kind: body for block in module["data"] for kind, body in block.items()}
    (statement,) = data["aws_iam_policy_document"]["queue"]["statement"]
    assert statement["actions"] == ["sqs:SendMessage"]
    assert statement["principals"] == [{"type": "Service", "identifiers": ["s3.amazonaws.com"]}]
    assert {item["variable"]: item["values"] for item in statement["condition"]} == {
        "aws:SourceArn": ["${data.aws_s3_bucket.raw.arn}"],
        "aws:SourceAccount": ["${data.aws_caller_identity.current.account_id}"],
    }
    resources = {kind: body for block in module["resource"] for kind, body in block.items()}
    (queue,) = resources["aws_s3_bucket_notification"]["events"]["queue"]
    assert queue["filter_prefix"] == "${var.raw_prefix}"
    variables = {name: body for block in module["variable"] for name, body in block.items()}
    policy = json.loads((PROJECT / "deploy" / "policies" / "sqs-events.json").read_text())
    granted = {arn for item in policy["Statement"] for arn in item["Resource"]}
    assert granted == {f"arn:aws:sqs:*:*:{variables['queue_name']['default']}"}


def test_the_deployment_files_fit_together(project: Path) -> None:
    checked = run(project / "tests" / "check_deploy.py")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("docker-compose.yml", "${REDIS_PASSWORD:?run make up}", "sesame", "BROKER_URL has its va"),
        ("docker-compose.yml", "${TAG:-dev}", "dev", "TAG is only in one of them"),
        ("docker-compose.yml", "s3://landing/lake", "s3://landing/raw/lake", "overlap"),
        ("docker-compose.yml", "healthcheck:", "x-health:", "scheduler has no health check"),
        ("deploy/kubernetes/lake.env", "MEMORY_LIMIT=1GiB", "MEMORY_LIMIT=1", "not a size"),
        ("deploy/kubernetes/airflow.example.env", "jwt-secret", "jwt", "airflow has no jwt-secret"),
        ("deploy/kubernetes/kustomization.yaml", "name: lake,", "name: sea,", "makes no lake"),
        ("deploy/kubernetes/network-policy.yaml", "policyTypes", "policies", "policies"),
        ("deploy/helm/values.yaml", 'airflowVersion: "3', 'airflowVersion: "2', "does not pin"),
    ],
)
def test_what_does_not_fit_is_named(
    project: Path, file: str, old: str, new: str, problem: str
) -> None:
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    checked = run(project / "tests" / "check_deploy.py")
    assert checked.returncode == 1
    assert problem in checked.stderr


def test_secrets_are_random_private_and_never_replaced(tmp_path: Path) -> None:
    script, example = PROJECT / "deploy" / "make_secrets.py", tmp_path / "example.env"
    example.write_text("# kept\nPORT=8080\nPASSWORD=\nfernet-key=\n")
    for name in ("one.env", "two.env"):
        assert run(script, str(example), str(tmp_path / name)).returncode == 0
    one, two = (tmp_path / name for name in ("one.env", "two.env"))
    comment, port, password, fernet = one.read_text().splitlines()
    assert (comment, port) == ("# kept", "PORT=8080")
    assert len(password) > 40
    Fernet(fernet.removeprefix("fernet-key="))
    assert set(one.read_text().splitlines()) & set(two.read_text().splitlines()) == {comment, port}
    assert one.stat().st_mode & 0o777 == 0o600

    again = run(script, str(example), str(one))
    assert again.returncode == 1
    assert "is there" in again.stderr
    assert password in one.read_text()
