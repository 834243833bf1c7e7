"""Checks the lock files: what pyproject.toml asks for is pinned, hashed, and names no address.

It needs no index, so that it answers the same on every machine. Run by `make check`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[1]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def problems() -> list[str]:
    """What is wrong with the lock files."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    runtime, extras = project["dependencies"], _resolved(project)
    found: list[str] = []
    for name, wanted in (
        ("requirements.txt", runtime),
        ("requirements-production.txt", runtime + extras["production"]),
        ("requirements-dev.txt", runtime + extras["dev"]),
    ):
        text = (PROJECT / name).read_text()
        pins = {canonicalize_name(match[1]): match[2] for match in _PIN.finditer(text)}
        for requirement in map(Requirement, wanted):
            pin = pins.get(canonicalize_name(requirement.name))
            if pin is None or not requirement.specifier.contains(Version(pin), prereleases=True):
                found.append(f"{name}: {requirement} is not met by the pin {pin}")
        if re.search(r"https?://|file://|--index-url|--find-links", text):
            found.append(f"{name}: names an address")
        entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
        found += [f"{name}: no hash: {e.split()[0]}" for e in entries if "--hash=sha256:" not in e]
    return found


def _resolved(project: dict[str, Any]) -> dict[str, list[str]]:
    """What each extra asks for; extras are part of others under the project's own name."""
    extras: dict[str, list[str]] = project["optional-dependencies"]

    def wanted_by(line: str) -> list[str]:
        requirement = Requirement(line)
        if requirement.name != project["name"]:
            return [line]
        return [one for extra in sorted(requirement.extras) for one in extras[extra]]

    return {
        name: [one for line in wanted for one in wanted_by(line)] for name, wanted in extras.items()
    }


if __name__ == "__main__":
    if wrong := problems():
        print("\n".join(wrong), "hint: make lock", sep="\n", file=sys.stderr)
        raise SystemExit(1)
