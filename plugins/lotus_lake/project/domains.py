"""Domains of enriched models: what each reads, and which of them can be a Dag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from lotus_lake.project.manifest import Model
from lotus_lake.sql import is_plain_name

# A domain is a tag of its Dag, and Airflow's database keeps 100 characters of a tag.
_NAME_CHARACTERS = 100


def enriched_domains(models: Mapping[str, Model]) -> dict[str, list[Model]]:
    """The enriched models of each domain, that is, of each folder below `models/enriched`.

    Models that lie in `models/enriched` itself are the domain "".
    """
    domains: dict[str, list[Model]] = {}
    for model in models.values():
        if model.layer == "enriched":
            domains.setdefault(model.folder, []).append(model)
    return domains


def inputs_of(domain: Sequence[Model]) -> list[str]:
    """Names of the models that a domain reads and does not build itself, in order."""
    own = {model.name for model in domain}
    return sorted({parent for model in domain for parent in model.parents} - own)


def domain_problems(models: Mapping[str, Model]) -> dict[str, str]:
    """Why a domain cannot be a Dag, by domain; those that can are not among them."""
    domains = enriched_domains(models)
    problems: dict[str, str] = {}
    for name, members in domains.items():
        if not name:
            problems[name] = "is not in a folder of models/enriched; each folder becomes a Dag"
        elif not is_plain_name(name) or len(name) > _NAME_CHARACTERS:
            problems[name] = f"folder {name!r} is not a valid name of a Dag"
        elif not inputs_of(members):
            problems[name] = f"the domain {name} reads no model from outside: nothing starts it"
    for circle in _circles(models, domains):
        problems |= {
            name: f"domains would start each other endlessly: {' -> '.join(circle)}"
            for name in circle
        }
    return problems


def _circles(
    models: Mapping[str, Model], domains: Mapping[str, Sequence[Model]]
) -> list[list[str]]:
    """Circles of domains, each from its first member back to it."""
    reads = {
        name: {models[parent].folder for parent in inputs_of(members)
               if models[parent].layer == "enriched"}
        for name, members in domains.items()
    }  # fmt: skip
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(reads).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            found.append(circle)
            reads = {name: read - {*circle} for name, read in reads.items() if name not in circle}
        else:
            return found
