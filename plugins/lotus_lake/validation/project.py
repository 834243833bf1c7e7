"""The project as the checks see it: read once; what cannot be read is a problem."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, StreamFile, stream_files
from lotus_lake.errors import DbtProjectError, StreamConfigError
from lotus_lake.project.manifest import dbt_project_dir, ensure_manifest, manifest_problem
from lotus_lake.validation.dbt_nodes import (
    DbtNode,
    ProcessedModel,
    SourceTable,
    read_manifest,
    read_nodes,
)
from lotus_lake.validation.lines import json_line
from lotus_lake.validation.macro_calls import macro_calls
from lotus_lake.validation.problems import Problem

_JSON_PATH = re.compile(r"\$[^ ]*")
_FILE_NAME = re.compile(r"[\w./-]+\.(?:sql|ya?ml|md|csv|py)\b")
_LINE_NUMBER = re.compile(r"\bline (\d+)")
_UNRESOLVED = re.compile(r"depends on a (node|source) named '([^']+)'")


@dataclass(frozen=True, slots=True)
class Project:
    """What is on disk.

    Attributes:
        settings: Where the project is.
        files: All stream JSONs, broken ones as well.
        streams: Those that load, unselected ones as well.
        is_parsed: Whether dbt can parse its project; if not, no model and no source is known.
        models: The processed models.
        sources: All tables that are declared as dbt sources.
        nodes: Models of all layers, seeds and snapshots.
        problems: What could not be read.
    """

    settings: Settings
    files: tuple[StreamFile, ...]
    streams: tuple[Stream, ...]
    is_parsed: bool
    models: tuple[ProcessedModel, ...]
    sources: tuple[SourceTable, ...]
    nodes: tuple[DbtNode, ...]
    problems: tuple[Problem, ...]

    @property
    def selected(self) -> list[Stream]:
        """The streams that have a Dag."""
        return [stream for stream in self.streams if stream.config.selected]

    def file_of(self, stream: Stream) -> Path:
        """The JSON of a stream."""
        return self.settings.streams_dir / stream.source / f"{stream.name}.json"

    def short(self, path: Path) -> str:
        """A path as messages name it: from the project's folder on."""
        root = self.settings.project_dir
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def read_project(settings: Settings) -> Project:
    """Read stream JSONs and the dbt project, which dbt parses if a file of it has changed."""
    streams, problems = read_streams(settings)
    files = tuple(stream_files(settings.streams_dir))
    dbt_dir = dbt_project_dir(settings.project_dir)
    try:
        manifest = ensure_manifest(settings.project_dir, again=True)
    except DbtProjectError as error:
        problem = _dbt_problem(dbt_dir, error)
        return Project(settings, files, streams, False, (), (), (), (*problems, problem))
    if stale := manifest_problem(settings.project_dir):
        problems += (Problem(manifest, stale, "make the folder writable, then run it again"),)
    models, sources = read_manifest(manifest, dbt_dir)
    nodes = read_nodes(manifest, dbt_dir)
    return Project(settings, files, streams, True, models, sources, nodes, problems)


def read_streams(settings: Settings) -> tuple[tuple[Stream, ...], tuple[Problem, ...]]:
    """The streams that load, and what is wrong with the others."""
    streams: list[Stream] = []
    problems: list[Problem] = []
    for file in stream_files(settings.streams_dir):
        try:
            streams.append(file.load())
        except StreamConfigError as error:
            problems += config_problems(file.path, error)
    return tuple(streams), tuple(problems)


def _dbt_problem(dbt_dir: Path, error: DbtProjectError) -> Problem:
    """What dbt says, without its excerpts, at the file that it names."""
    said = [
        line.strip() for line in error.output.splitlines() if "Encountered an error" not in line
    ]
    end = next((n for n, line in enumerate(said) if n and (not line or line[:3] == "---")), None)
    paths = [
        path
        for name in _FILE_NAME.findall(error.output)
        for path in (dbt_dir / name, dbt_dir / "models" / name)
        if path.is_file()
    ]
    return Problem(
        paths[0] if paths else dbt_dir / "dbt_project.yml",
        f"dbt cannot parse the project: {': '.join(said[:end])}",
        f"cd {dbt_dir} && dbt parse; models and sources can be checked after that",
        _dbt_line(paths[0], error.output) if paths else 0,
    )


def _dbt_line(file: Path, output: str) -> int:
    """The line that dbt names, or that of the `ref` or `source` that leads to nothing."""
    if line := _LINE_NUMBER.search(output):
        return int(line[1])
    if not (found := _UNRESOLVED.search(output)):
        return 0
    macro, name = {"node": "ref", "source": "source"}[found[1]], found[2].rpartition(".")[2]
    calls = macro_calls(file.read_text(encoding="utf-8"), macro, "first", "second")
    return next((call.line for call in calls if name in call.arguments.values()), 0)


def config_problems(file: Path, error: StreamConfigError) -> list[Problem]:
    """The problems in an error: one per line, each after the path of the file."""
    hint = error.hint or ""
    text = str(error).removesuffix(f"\nhint: {hint}")
    return [_problem(file, part, hint) for part in text.split(f"\n{file}:")]


def _problem(file: Path, text: str, hint: str) -> Problem:
    message = text.removeprefix(f"{file}:").strip()
    if place := re.match(r"(\d+):\d+: ", message):
        return Problem(file, message[place.end() :], hint, int(place[1]))
    json_path = _JSON_PATH.match(message)
    return Problem(file, message, hint, json_line(file, json_path[0]) if json_path else 0)
