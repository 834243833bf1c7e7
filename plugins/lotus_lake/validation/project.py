"""The project as the checks see it: read once, with what could not be read as problems."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, StreamFile, stream_files
from lotus_lake.errors import StreamConfigError
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.validation.dbt_files import DbtFiles, read_dbt_files
from lotus_lake.validation.problems import Problem
from lotus_lake.validation.yaml_lines import json_line

_JSON_PATH = re.compile(r"\$[^ ]*")


@dataclass(frozen=True, slots=True)
class Project:
    """What is on disk.

    Attributes:
        settings: Where the project is.
        files: All stream JSONs, broken ones as well.
        streams: Those that load, unselected ones as well.
        dbt: The dbt project.
        problems: What could not be read.
    """

    settings: Settings
    files: tuple[StreamFile, ...]
    streams: tuple[Stream, ...]
    dbt: DbtFiles
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
    """Read stream JSONs and the dbt project."""
    files = stream_files(settings.streams_dir)
    streams: list[Stream] = []
    problems: list[Problem] = []
    for file in files:
        try:
            streams.append(file.load())
        except StreamConfigError as error:
            problems += config_problems(file.path, error)
    dbt = read_dbt_files(dbt_project_dir(settings.project_dir))
    return Project(settings, tuple(files), tuple(streams), dbt, (*problems, *dbt.problems))


def config_problems(file: Path, error: StreamConfigError) -> list[Problem]:
    """The problems in an error, which has one a line, each after the file's path."""
    hint = error.hint or ""
    text = str(error).removesuffix(f"\nhint: {hint}")
    return [_problem(file, part, hint) for part in text.split(f"\n{file}:")]


def _problem(file: Path, text: str, hint: str) -> Problem:
    message = text.removeprefix(f"{file}:").strip()
    if place := re.match(r"(\d+):\d+: ", message):
        return Problem(file, message[place.end() :], hint, int(place[1]))
    json_path = _JSON_PATH.match(message)
    return Problem(file, message, hint, json_line(file, json_path[0]) if json_path else 0)
