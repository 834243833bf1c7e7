"""Checks docker-compose.yml and deploy/ without an engine or a cluster. Run by `make check`.

What one file names, another one makes: variables, secrets and their keys; the settings are such as
the library takes; no secret has a value; manifests follow Kubernetes' schemas. With `--chart` and
the folder of the official chart, `helm` renders it with our values: all of that follows the
schemas, runs our image and nothing else, and needs no privilege.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError

PROJECT = Path(__file__).parents[1]
KUBERNETES, HELM = PROJECT / "deploy" / "kubernetes", PROJECT / "deploy" / "helm"
KUBERNETES_VERSION = "1.34"
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)")
_SECRET = re.compile(r"PASSWORD|SECRET|_KEY$|FERNET|SQL_ALCHEMY|BROKER|RESULT_BACKEND")
# What the chart reads from the secrets that the values name.
_KEYS = {
    "metadataSecretName": "connection",
    "brokerUrlSecretName": "connection",
    "fernetKeySecretName": "fernet-key",
    "apiSecretKeySecretName": "api-secret-key",
    "jwtSecretName": "jwt-secret",
}


def compose_problems() -> Iterator[str]:
    """What does not fit together in docker-compose.yml and its example of an env file."""
    text = (PROJECT / "docker-compose.yml").read_text()
    example = _env_file(PROJECT / "deploy" / "compose" / "example.env")
    for name in sorted(set(_VARIABLE.findall(text)) ^ set(example)):
        yield f"docker-compose.yml and deploy/compose/example.env: {name} is only in one of them"
    services = yaml.safe_load(text)["services"]
    for service, body in services.items():
        if "healthcheck" not in body and service not in ("init", "api-server"):  # the image has one
            yield f"docker-compose.yml: {service} has no health check"
        for name, value in body.get("environment", {}).items():
            if _SECRET.search(name) and "${" not in value:
                yield f"docker-compose.yml: {service}: {name} has its value in the file"
    yield from _settings(services["worker"]["environment"], "docker-compose.yml")


def kubernetes_problems() -> Iterator[str]:
    """What does not fit together in deploy/kubernetes and deploy/helm."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    made: dict[str, set[str]] = {}
    for generator in kustomization["secretGenerator"] + kustomization["configMapGenerator"]:
        for file in generator["envs"]:
            source = KUBERNETES / file.replace(".secrets.env", ".example.env")
            made.setdefault(generator["name"], set()).update(_env_file(source))
    for file in sorted(HELM.glob("*.yaml")):
        for setting, name in _secret_names(yaml.safe_load(file.read_text())):
            if _KEYS[setting] not in made.get(name, ()):
                yield f"{file.name}: {setting}: deploy/kubernetes/{name} has no {_KEYS[setting]}"
    values = yaml.safe_load((HELM / "values.yaml").read_text())
    for source in yaml.safe_load(values["extraEnvFrom"]):
        for reference in source.values():
            if reference["name"] not in made:
                yield f"values.yaml: deploy/kubernetes makes no {reference['name']}"
    pinned = f"apache-airflow=={values['airflowVersion']} "
    if pinned not in (PROJECT / "requirements-production.txt").read_text():
        yield f"values.yaml: requirements-production.txt does not pin {pinned}"
    yield from _settings(_env_file(KUBERNETES / "lake.env"), "lake.env")
    for resource in kustomization["resources"]:
        yield from _manifest_problems(resource, (KUBERNETES / resource).read_text())


def chart_problems(chart: Path) -> Iterator[str]:
    """What is wrong with what the chart makes of our values."""
    values = HELM / "values.yaml"
    repository = yaml.safe_load(values.read_text())["defaultAirflowRepository"]
    for files in ([values], [values, HELM / "values-celery.yaml"]):
        command = ["helm", "template", "airflow", str(chart), "--namespace", "lotus-lake"]
        command += ["--kube-version", KUBERNETES_VERSION, *(f"--values={file}" for file in files)]
        rendered = subprocess.run(command, capture_output=True, text=True, check=False)
        if rendered.returncode != 0:
            yield f"{files[-1].name}: {rendered.stderr.strip()}"
            continue
        yield from _manifest_problems(files[-1].name, rendered.stdout)
        pods = list(_pods(rendered.stdout))
        if len(pods) < 6:
            yield f"{files[-1].name}: only {len(pods)} pods are made"
        for name, pod in pods:
            for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
                where = f"{files[-1].name}: {name}/{container['name']}"
                if not container["image"].startswith(f"{repository}:"):
                    yield f"{where} runs {container['image']}"
                if not _is_restricted(pod["securityContext"], container["securityContext"]):
                    yield f"{where} is not restricted"
                if not container["resources"].get("limits"):
                    yield f"{where} has no limits"
                # A script of Airflow's own image.
                if "/clean-logs" in str(container):
                    yield f"{where} calls what our image does not have"


def _manifest_problems(origin: str, text: str) -> Iterator[str]:
    documents = [document for document in yaml.safe_load_all(text) if document]
    if not documents:
        yield f"{origin}: holds no manifest"
    for document in documents + [pod for _, pod in _pod_templates(documents)]:
        try:
            kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
        except (
            kubernetes_validate.ValidationError,
            kubernetes_validate.SchemaNotFoundError,
        ) as error:
            name = document.get("metadata", {}).get("name")
            yield f"{origin}: {document.get('kind')} {name}: {str(error).splitlines()[0]}"


def _pods(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    documents = [document for document in yaml.safe_load_all(text) if document]
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]
    for name, pod in _pod_templates(documents):
        yield name, pod["spec"]


def _pod_templates(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods that KubernetesExecutor starts; Airflow reads them from a ConfigMap."""
    for document in documents:
        if document["kind"] == "ConfigMap":
            for name, text in document["data"].items():
                if name.startswith("pod_template"):
                    yield name, yaml.safe_load(text)


def _is_restricted(pod: dict[str, Any], container: dict[str, Any]) -> bool:
    return (
        pod["runAsNonRoot"] is True
        and pod["seccompProfile"] == {"type": "RuntimeDefault"}
        and container["allowPrivilegeEscalation"] is False
        and container["capabilities"] == {"drop": ["ALL"]}
    )


def _secret_names(values: Any) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _secret_names(value)
        elif name in _KEYS:
            yield name, value


def _settings(environment: dict[str, str], origin: str) -> Iterator[str]:
    try:
        Settings.from_env(environment)
    except SettingsError as error:
        yield f"{origin}: {error}"


def _env_file(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--chart", type=Path, help="folder of Airflow's official Helm chart")
    arguments = parser.parse_args()
    wrong = [*compose_problems(), *kubernetes_problems()]
    wrong += chart_problems(arguments.chart) if arguments.chart else []
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        raise SystemExit(1)
