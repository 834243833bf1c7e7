"""All files of a stream: their text, and which of them may be written."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FieldSchema
from lotus_lake.config.streams import Stream, StreamFile
from lotus_lake.errors import LotusLakeError, ScaffoldError, StreamConfigError
from lotus_lake.landing.tables import ddl_file, ddl_text
from lotus_lake.project.json_text import json_text
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.project.source_schemas import check_name
from lotus_lake.scaffold.columns import VALIDITY, model_columns
from lotus_lake.scaffold.model_sql import history_sql, model_sql
from lotus_lake.scaffold.model_yaml import history_yaml, model_yaml
from lotus_lake.scaffold.sample import read_sample
from lotus_lake.scaffold.source_yaml import declaring_file, source_file, source_yaml
from lotus_lake.scaffold.stream_json import (
    NOTHING,
    Choices,
    KeyWords,
    SourceSchema,
    checked,
    read_source_schema,
    stream_document,
)

Status = Literal["new", "unchanged", "updated", "differs"]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of the stream.

    Attributes:
        path: Where it is.
        text: What the scaffold would write.
        old: What it holds now; `None` if it does not exist.
        status: `new`, `unchanged`, `updated` with what somebody has edited, or `differs`, which is
            never overwritten.
    """

    path: Path
    text: str
    old: str | None
    status: Status

    def diff(self, root: Path) -> str:
        """The change as a unified diff."""
        name = str(self.path.relative_to(root)) if self.path.is_relative_to(root) else self.path
        return "".join(
            difflib.unified_diff(
                (self.old or "").splitlines(keepends=True),
                self.text.splitlines(keepends=True),
                f"a/{name}" if self.old is not None else "/dev/null",
                f"b/{name}",
            )
        )


@dataclass(frozen=True, slots=True)
class StreamFiles:
    """The files of a stream.

    Attributes:
        stream: The stream.
        files: Stream JSON, landing DDL, dbt source, model and its YAML, in this order; then, if it
            is asked for, the history and its YAML.
        remarks: Notes for the user.
    """

    stream: Stream
    files: tuple[PlannedFile, ...]
    remarks: tuple[str, ...] = ()

    @property
    def differing(self) -> list[PlannedFile]:
        """Files that were edited, or written from another schema."""
        return [file for file in self.files if file.status == "differs"]


def plan_files(
    settings: Settings,
    source: str,
    name: str,
    choices: Choices,
    sample: Path | None = None,
    keys: KeyWords = NOTHING,
) -> StreamFiles:
    """Work out the files of a stream.

    A stream JSON that exists is kept, and the other files follow from it.

    Args:
        settings: Where the project is.
        source: Name of the source.
        name: Name of the stream.
        choices: What the user asks for.
        sample: A Parquet file of the stream, to read its fields from.
        keys: How its objects are named in the bucket.

    Raises:
        ScaffoldError: Something is missing to make the stream, or `choices` contradicts its JSON.
        StreamConfigError: A name is invalid, or a file that exists is broken.
    """
    check_name(source, "source")
    check_name(name, "stream")
    discovered = read_source_schema(settings, source, name)
    stream, remarks, json_file = _stream(settings, source, name, choices, discovered, sample, keys)
    types = discovered.fields if discovered else {}
    files = [json_file, *_derived(settings, stream, types, choices)]
    return StreamFiles(stream, tuple(files), tuple(remarks))


def plan_all(
    settings: Settings, source: str, plan: Callable[[str], StreamFiles], *, existing: bool
) -> tuple[list[StreamFiles], dict[str, LotusLakeError]]:
    """Work out the files of many streams that source schemas describe.

    Args:
        settings: Where the project is.
        source: Name of the source.
        plan: Works out the files of the stream of some name.
        existing: Those that have a config, or those that have none yet.

    Returns:
        The streams that can be made, and why the others cannot, by name.

    Raises:
        ScaffoldError: There is no source schema.
    """
    names = sorted(path.stem for path in (settings.sources_dir / source).glob("*.json"))
    if not names:
        raise ScaffoldError(
            f"{settings.sources_dir / source} has no source schemas",
            hint=f"lotus-lake discover {source} FILE",
        )
    plans: list[StreamFiles] = []
    problems: dict[str, LotusLakeError] = {}
    for name in names:
        if (settings.streams_dir / source / f"{name}.json").exists() != existing:
            continue
        try:
            plans.append(plan(name))
        except (ScaffoldError, StreamConfigError) as error:
            problems[name] = error
    return plans, problems


def write_files(planned: StreamFiles, *, keep: bool = False) -> list[PlannedFile]:
    """Write the files that are new or updated.

    Args:
        planned: The files of a stream.
        keep: Leave files that differ as they are and write the others.

    Returns:
        The files written.

    Raises:
        ScaffoldError: A file that exists differs; nothing is written then.
    """
    if planned.differing and not keep:
        raise ScaffoldError(
            "nothing was written, because these files exist and differ:\n"
            + "\n".join(f"  {file.path}" for file in planned.differing),
            hint="--diff shows the differences; --keep leaves these files and writes the others",
        )
    written = [file for file in planned.files if file.status in ("new", "updated")]
    for file in written:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(file.text.encode("utf-8"))
    return written


def _stream(
    settings: Settings,
    source: str,
    name: str,
    choices: Choices,
    discovered: SourceSchema | None,
    sample: Path | None,
    keys: KeyWords,
) -> tuple[Stream, list[str], PlannedFile]:
    path = settings.streams_dir / source / f"{name}.json"
    existing = StreamFile(path).load() if path.exists() else None
    if existing:
        _check_agreement(path, existing, choices)
        text = _read(path) or ""
        return existing, [], PlannedFile(path, text, text, "unchanged")
    known = read_sample(sample) if sample else discovered
    if known is None:
        raise ScaffoldError(
            f"the fields of {source}/{name} are unknown",
            hint=f"lotus-lake discover {source} FILE, or --from-parquet FILE",
        )
    document = stream_document(name, known, choices, keys)
    text = json_text(document)
    remarks = list(known.notes)
    if not document["primary_key"]:
        remarks.append(
            f"{known.origin} defines no primary key for {name}, so the model keeps every row that "
            "is sent; --primary-key FIELD names one"
        )
    return (
        checked(path, json.loads(text)),
        remarks,
        PlannedFile(path, text, None, "new"),
    )


def _check_agreement(path: Path, stream: Stream, choices: Choices) -> None:
    """Refuse options that contradict the JSON, instead of ignoring them."""
    config = stream.config
    wanted = {
        "--primary-key": (choices.primary_key, config.primary_key),
        "--cursor-field": (choices.cursor_field, config.cursor_field),
        "--sync-mode": (choices.sync_mode, config.sync_mode),
        "--destination-sync-mode": (choices.destination_sync_mode, config.destination_sync_mode),
    }
    wrong = [option for option, (asked, there) in wanted.items() if asked and asked != there]
    if set(choices.fields) - set(config.fields):
        wrong.append("--field")
    if wrong:
        raise ScaffoldError(
            f"{path} exists and contradicts {', '.join(wrong)}",
            hint="edit the file, or omit the option",
        )


def _derived(
    settings: Settings,
    stream: Stream,
    discovered: Mapping[str, FieldSchema],
    choices: Choices,
) -> list[PlannedFile]:
    models = dbt_project_dir(settings.project_dir) / "models"
    declaring = declaring_file(models, stream.source, stream.name)
    texts = derived_texts(settings, stream, discovered, choices)
    files = [_planned(path, text) for path, text in texts.items()]
    if declaring:
        text = _read(declaring) or ""
        source = PlannedFile(declaring, text, text, "unchanged")
    else:
        source = _planned(source_file(models, stream.source, stream.name), source_yaml(stream))
    return [files[0], source, *files[1:]]


def derived_texts(
    settings: Settings,
    stream: Stream,
    discovered: Mapping[str, FieldSchema],
    choices: Choices,
) -> dict[Path, str]:
    """What follows from a stream's config and schema: landing DDL, models, and their YAML."""
    folder = dbt_project_dir(settings.project_dir) / "models" / "processed" / stream.source
    columns = model_columns(stream, discovered, choices.money)
    texts = {
        ddl_file(settings.project_dir, stream): ddl_text(settings, stream),
        folder / f"int_{stream.id}.sql": model_sql(stream, columns),
        folder / f"int_{stream.id}.yml": model_yaml(stream, columns),
    }
    if stream.config.history:
        every = model_columns(stream, discovered, choices.money, reserved=VALIDITY)
        texts[folder / f"hist_{stream.id}.sql"] = history_sql(stream, every)
        texts[folder / f"hist_{stream.id}.yml"] = history_yaml(stream, every)
    return texts


def _planned(path: Path, text: str) -> PlannedFile:
    old = _read(path)
    status: Status = "new" if old is None else "unchanged" if old == text else "differs"
    return PlannedFile(path, text, old, status)


def _read(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8") if path.exists() else None
