"""Checks which Dag and which table each dbt model will have."""

from __future__ import annotations

from collections.abc import Iterator

from lotus_lake.project.domains import domain_problems, enriched_domains
from lotus_lake.project.manifest import dbt_project_dir, load_models, manifest_file
from lotus_lake.validation.dbt_nodes import DbtNode
from lotus_lake.validation.macro_calls import config_line, macro_calls
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.project import Project

_LAYERS = ("processed", "enriched")


def built_by_a_dag(project: Project) -> Iterator[Problem]:
    """A Dag builds every model, and models read only what a Dag builds."""
    for node in project.nodes:
        if node.kind in ("seed", "snapshot"):
            yield Problem(
                node.file,
                f"is a {node.kind}, which no Dag builds: its table would be missing or out of date",
                "feed it as a stream, or write its rows into a model",
            )
        elif not node.is_enabled:
            yield Problem(
                node.file,
                "is disabled: no Dag builds it",
                "delete it, or remove `enabled: false`",
                config_line(node.code),
            )
        elif node.layer not in _LAYERS:
            yield Problem(
                node.file,
                "is in no layer: no Dag builds it",
                "move it to models/enriched/{domain} or models/processed/{source}",
            )
        elif node.layer == "enriched":
            yield from _reads_no_landing_table(node)


def _reads_no_landing_table(node: DbtNode) -> Iterator[Problem]:
    calls = macro_calls(node.code, "source", "source_name", "table_name")
    lines = {tuple(call.arguments.values()): call.line for call in calls}
    for read in node.reads:
        yield Problem(
            node.file,
            f"reads source {'.'.join(read)}: its rows are retired without asking this model",
            "read the processed model of the stream",
            lines.get(read, 0),
        )


def domains(project: Project) -> Iterator[Problem]:
    """Each folder of models/enriched can be a Dag."""
    models = load_models(manifest_file(project.settings.project_dir))
    files = {node.name: node.file for node in project.nodes}
    members = enriched_domains(models)
    for domain, text in domain_problems(models).items():
        hint = "move it to models/enriched/{domain}, the domain of the models that read it"
        for model in members[domain]:
            yield Problem(files[model.name], text, hint)
    ids = {f"enriched__{domain}".lower(): domain for domain in members}
    folder = dbt_project_dir(project.settings.project_dir) / "models" / "enriched"
    for stream in project.selected:
        if (other := ids.get(stream.id.lower())) is not None:
            yield Problem(
                project.file_of(stream),
                f"its Dag {stream.id} has the id of that of {project.short(folder / other)}",
                "rename one of them",
            )


def one_name(project: Project) -> Iterator[Problem]:
    """A model's table has its name, and no other model has that name."""
    known: dict[str, DbtNode] = {}
    for node in project.nodes:
        if node.kind != "model" or not node.is_enabled:
            continue
        other = known.setdefault(node.name.lower(), node)
        if other is not node:
            yield Problem(
                node.file,
                f"is called {node.name}, as {project.short(other.file)} is: both would build one "
                "table",
                "rename one of them",
            )
        for word, value in node.names.items():
            yield Problem(
                node.file,
                f"has the {word} {value!r}, which changes nothing: its table is main.{node.name}",
                f"remove {word}; to rename the table, rename the model",
                config_line(node.code),
            )
