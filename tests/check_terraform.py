"""Checks the Terraform files without a provider and without a network. Run by `make check`.

They parse; every name that is referred to exists and every variable and local is used; files are
where they are read from; attributes are those of the provider; secrets are sensitive and have no
default; the formatting is Terraform's, where there is a terraform; no state is committed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hcl2

PROJECT = Path(__file__).parents[1]
TERRAFORM_DIR = PROJECT / "include" / "airbyte" / "terraform"
# Arguments of airbytehq/airbyte 1.1 to 1.3, and Terraform's own.
ARGUMENTS = {
    "airbyte_source": {"name", "workspace_id", "definition_id", "configuration"},
    "airbyte_destination": {"name", "workspace_id", "definition_id", "configuration"},
    "airbyte_connection": {
        "name", "source_id", "destination_id", "status", "namespace_definition",
        "namespace_format", "prefix", "configurations", "schedule",
        "non_breaking_schema_updates_behavior", "tags",
    },
}  # fmt: skip
ATTRIBUTES = {
    "airbyte_source": ARGUMENTS["airbyte_source"] | {"source_id"},
    "airbyte_destination": ARGUMENTS["airbyte_destination"] | {"destination_id"},
    "airbyte_connection": ARGUMENTS["airbyte_connection"] | {"connection_id"},
}
REQUIRED = {
    "airbyte_source": {"name", "workspace_id", "configuration"},
    "airbyte_destination": {"name", "workspace_id", "configuration"},
    "airbyte_connection": {"source_id", "destination_id"},
}
_OWN_ARGUMENTS = {"for_each", "count", "lifecycle", "depends_on", "provider"}
_SECRET_NAME = re.compile(r"secret|password|api_key|token|access_key|client_id")
_STATE = re.compile(r"\.tfstate(\.|$)|(^|/)terraform\.tfvars$|\.auto\.tfvars$")
_REFERENCE = re.compile(r"\b(var|local)\.(\w+)")
_RESOURCE_REFERENCE = re.compile(r"(?<![\w.])(airbyte_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?")


@dataclass
class Declared:
    """What the files declare, and every expression in them as text."""

    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    local_names: set[str] = field(default_factory=set)
    resources: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def add(self, document: dict[str, Any]) -> None:
        """Add a parsed file."""
        for block in document.get("variable", []):
            for name, body in block.items():
                self.variables[_plain(name)] = body
        for block in document.get("locals", []):
            self.local_names |= {name for name in block if not name.startswith("__")}
        for block in document.get("resource", []):
            for kind, named in block.items():
                for name, body in named.items():
                    self.resources[_plain(kind), _plain(name)] = body
        self.texts += list(_texts(document))


def problems(folder: Path = TERRAFORM_DIR) -> list[str]:
    """What is wrong with the Terraform files of a folder."""
    declared, found = Declared(), []
    for path in sorted(folder.glob("*.tf")):
        try:
            declared.add(hcl2.loads(path.read_text(encoding="utf-8") + "\n"))
        except Exception as error:  # noqa: BLE001, the parser raises errors of many libraries
            found.append(f"{path.name}: does not parse: {str(error).splitlines()[0]}")
    if not declared.resources:
        found.append(f"{folder}: declares no resource")
    found += [*_names(declared), *_resources(declared), *_secrets(declared)]
    found += [
        f"{text!r} is read, but there is no such file or folder"
        for text in declared.texts
        for path in re.findall(r"\$\{path\.module\}(/[\w./-]+)", text)
        if not (folder / path.lstrip("/")).exists()
    ]
    return found + _formatting(folder)


def committed_state(names: Iterable[str]) -> list[str]:
    """The names that are of Terraform state or of files with values of variables."""
    return [
        f"{name} must not be committed: it holds secrets" for name in names if _STATE.search(name)
    ]


def _names(declared: Declared) -> Iterator[str]:
    used: dict[str, set[str]] = {"var": set(), "local": set()}
    for text in declared.texts:
        for kind, name in _REFERENCE.findall(text):
            used[kind].add(name)
        for kind, name, attribute in _RESOURCE_REFERENCE.findall(text):
            if (kind, name) not in declared.resources:
                yield f"{kind}.{name} is not declared"
            elif attribute and attribute not in ATTRIBUTES.get(kind, set()):
                yield f"{kind}.{name} has no attribute {attribute}"
    for kind, names in (("var", set(declared.variables)), ("local", declared.local_names)):
        yield from (f"{kind}.{name} is not declared" for name in sorted(used[kind] - names))
        yield from (f"{kind}.{name} is not used" for name in sorted(names - used[kind]))


def _resources(declared: Declared) -> Iterator[str]:
    for (kind, name), body in declared.resources.items():
        given = {key for key in body if not key.startswith("__")} - _OWN_ARGUMENTS
        if kind not in ARGUMENTS:
            yield f"{kind}.{name}: the provider has no {kind} since 1.1"
            continue
        yield from (
            f"{kind}.{name} has no argument {key}" for key in sorted(given - ARGUMENTS[kind])
        )
        yield from (f"{kind}.{name} needs {key}" for key in sorted(REQUIRED[kind] - given))


def _secrets(declared: Declared) -> Iterator[str]:
    for name, body in declared.variables.items():
        if not body.get("description"):
            yield f"var.{name} has no description"
        if not _SECRET_NAME.search(name):
            continue
        if body.get("sensitive") is not True:
            yield f"var.{name} is not sensitive"
        if body.get("default") not in (None, "null"):
            yield f"var.{name} has a default, which would be in git"


def _formatting(folder: Path) -> list[str]:
    terraform = shutil.which("terraform")
    if terraform is None:
        return []
    result = subprocess.run(
        [terraform, "fmt", "-check", "-no-color", str(folder)],
        env={"PATH": "/usr/bin:/bin", "CHECKPOINT_DISABLE": "1", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    return [f"{name}: not formatted; hint: terraform fmt" for name in result.stdout.split()]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *_texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _plain(name: str) -> str:
    return name.strip('"')


if __name__ == "__main__":
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if wrong := problems() + committed_state(listed.stdout.splitlines()):
        print(*wrong, sep="\n", file=sys.stderr)
        raise SystemExit(1)
