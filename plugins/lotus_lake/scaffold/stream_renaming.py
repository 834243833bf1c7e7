"""The files of a stream under another name, and what else of the project names it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, known_streams
from lotus_lake.errors import ScaffoldError
from lotus_lake.landing.tables import ddl_file
from lotus_lake.project.json_text import json_text
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.project.source_schemas import check_name
from lotus_lake.scaffold.source_yaml import declaring_file, source_file
from lotus_lake.scaffold.stream_json import checked
from lotus_lake.sql import folded

_SUFFIXES = (".sql", ".yml", ".yaml", ".md")
_NOT_OURS = {"target", "logs", "dbt_packages"}
_OF_A_MODEL = ("", "watermark_", "kept_out_", "failed_rows_", "inputs_")


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that gets another text, another place, or both."""

    old: Path
    new: Path
    text: str


@dataclass(frozen=True, slots=True)
class Renaming:
    """How a project renames a stream.

    Attributes:
        stream: The stream as it is.
        renamed: The stream as it will be.
        models: New names of its processed models, by their old ones.
        files: What changes; the stream JSON is the last, so that a renaming that is interrupted
            can be repeated.
    """

    stream: Stream
    renamed: Stream
    models: Mapping[str, str]
    files: tuple[ChangedFile, ...]


def plan_renaming(settings: Settings, stream: Stream, name: str) -> Renaming:
    """Work out what a project has to change for a stream to have another name.

    Its objects keep their keys: the config says by `stream_name` what Airbyte calls the stream.

    Raises:
        ScaffoldError: The name is taken, or a file declares its source together with others.
        StreamConfigError: The name is not valid.
    """
    check_name(name, "stream")
    json_file = settings.streams_dir / stream.source / f"{stream.name}.json"
    new_json = json_file.with_stem(name)
    document = _renamed_document(json.loads(json_file.read_text(encoding="utf-8")), stream, name)
    renamed, text = checked(new_json, document), json_text(document)
    last = ChangedFile(json_file, new_json, text)
    others = [
        found for source, found in known_streams(settings.streams_dir) if source == stream.source
    ]
    is_half_done = new_json.exists() and new_json.read_text(encoding="utf-8") == text
    if folded(name) in map(folded, others) and not is_half_done:
        raise ScaffoldError(f"there is a stream {renamed.id} already", hint="another name")
    models_dir = dbt_project_dir(settings.project_dir) / "models"
    own = source_file(models_dir, stream.source, stream.name)
    declaring = declaring_file(models_dir, stream.source, stream.name)
    if declaring not in (None, own):
        raise ScaffoldError(
            f"{declaring} declares {stream.source}.{stream.name} beside other tables",
            hint="move it to a file of its own first: lotus-lake add-stream --diff shows one",
        )
    models = _models(models_dir / "processed" / stream.source, stream, renamed)
    files = [
        *_dbt_files(dbt_project_dir(settings.project_dir), stream, renamed, models),
        *_moved(ddl_file(settings.project_dir, stream), ddl_file(settings.project_dir, renamed),
                lambda text: _in_text(text, stream, renamed, models)
                .replace(f"of {stream.source}/{stream.name}:", f"of {renamed.source}/{name}:")),
        *_moved_schema(settings, stream, name),
        last,
    ]  # fmt: skip
    return Renaming(stream, renamed, models, tuple(files))


def rename_files(renaming: Renaming) -> None:
    """Change the files, each at once: a file is what it was, or what it will be."""
    for file in renaming.files:
        file.new.parent.mkdir(parents=True, exist_ok=True)
        written = file.new.with_name(f".{file.new.name}.new")
        written.write_text(file.text, encoding="utf-8")
        os.replace(written, file.new)
        if file.old != file.new:
            file.old.unlink(missing_ok=True)


def _renamed_document(document: dict[str, Any], stream: Stream, name: str) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for word, value in document.items():
        if word == "stream":
            renamed |= {"stream": name, "stream_name": stream.stream_name}
        elif word != "stream_name":
            renamed[word] = value
    return renamed


def _models(folder: Path, stream: Stream, renamed: Stream) -> dict[str, str]:
    """The processed models, also those that have their new name after an interruption."""
    found = {}
    for path in sorted(folder.glob("*.sql")):
        for one in (stream.id, renamed.id):
            match = re.fullmatch(rf"(int|hist)_{re.escape(one)}(_\w+)?", path.stem)
            if match and (
                not match[2] or re.search(rf"""['"]{one}['"]""", path.read_text("utf-8"))
            ):
                prefix, suffix = match[1], match[2] or ""
                found[f"{prefix}_{stream.id}{suffix}"] = f"{prefix}_{renamed.id}{suffix}"
    return found


def _dbt_files(
    dbt_dir: Path, stream: Stream, renamed: Stream, models: Mapping[str, str]
) -> Iterator[ChangedFile]:
    models_dir = dbt_dir / "models"
    own = source_file(models_dir, stream.source, stream.name)
    for path in sorted(dbt_dir.rglob("*")):
        if path.suffix not in _SUFFIXES or _NOT_OURS & set(path.relative_to(dbt_dir).parts):
            continue
        old = path.read_text(encoding="utf-8")
        text, new = _in_text(old, stream, renamed, models), path
        if path == own:
            new = source_file(models_dir, renamed.source, renamed.name)
            text = re.sub(rf"(?m)^(\s+- name: ){stream.name}$", rf"\g<1>{renamed.name}", text)
        elif path.stem in models:
            new = path.with_stem(models[path.stem])
        if (new, text) != (path, old):
            yield ChangedFile(path, new, text)


def _in_text(text: str, stream: Stream, renamed: Stream, models: Mapping[str, str]) -> str:
    """A text with the new names of stream, tables and models, and in calls of dbt's macros."""
    words = {stream.id: renamed.id, stream.landing_table: renamed.landing_table}
    words |= {f"{kind}{old}": f"{kind}{new}" for kind in _OF_A_MODEL for old, new in models.items()}
    any_word = "|".join(map(re.escape, words))
    text = re.sub(rf"(?<!\w)({any_word})(?!\w)", lambda match: words[match[1]], text)
    called = (
        rf"""((?:source|landed_rows)\(\s*(['"]){stream.source}\2\s*,\s*(['"])){stream.name}\3"""
    )
    return re.sub(called, rf"\g<1>{renamed.name}\g<3>", text)


def _moved(old: Path, new: Path, change: Callable[[str], str]) -> Iterator[ChangedFile]:
    if old.exists():
        yield ChangedFile(old, new, change(old.read_text(encoding="utf-8")))


def _moved_schema(settings: Settings, stream: Stream, name: str) -> Iterator[ChangedFile]:
    """The source schema, which is found by the stream's name."""
    old = settings.sources_dir / stream.source / f"{stream.name}.json"
    for file in _moved(old, old.with_stem(name), str):
        if file.new.exists() and file.new.read_text(encoding="utf-8") != file.text:
            raise ScaffoldError(
                f"{file.new} is the schema of another stream of {stream.source}",
                hint="another name",
            )
        yield file
