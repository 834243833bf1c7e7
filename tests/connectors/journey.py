"""The way of each stream of a connector: from its schema to checked rows of its table."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.errors import LotusLakeError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, Lake
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.project.source_schemas import write_source_schemas
from lotus_lake.scaffold.columns import Column, ModelColumns, model_columns
from lotus_lake.scaffold.stream_files import plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices, read_source_schema
from lotus_lake.sql import identifier
from lotus_lake.validation import find_problems
from tests.connectors.records import Shape, newest, parquet, rows_of, shape_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.connectors.records import Row

Json = dict[str, Any]
STEPS = ("discover", "add-stream", "validate", "feed", "build", "compare")
"""The steps of a stream, in their order."""


@dataclass(slots=True)
class Journey:
    """The streams of a connector in a project and a lake of their own.

    Attributes:
        settings: Where both are.
        environment: The variables that say so.
        client: Talks to the bucket.
        source: Name of the source.
        catalog: What the connector discovers.
        failures: For each stream that has failed, at which step and why.
        chosen: What a person would have to choose for a stream, because the source does not say it.
        copied: Streams whose files land as copies.
    """

    settings: Settings
    environment: dict[str, str]
    client: S3Client
    source: str
    catalog: Json
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    copied: set[str] = field(default_factory=set)
    streams: dict[str, Stream] = field(default_factory=dict)
    files: dict[str, list[list[Row]]] = field(default_factory=dict)

    def go(self) -> None:
        """All steps; a stream that fails at one takes no further one."""
        self._discover()
        self._validate()
        for number in (0, 1):
            self._feed(number)
            self._build()
        self._compare()

    def alive(self) -> Iterator[Stream]:
        """The streams that have not failed so far."""
        return iter([s for name, s in self.streams.items() if name not in self.failures])

    @contextlib.contextmanager
    def step(self, stream: str, name: str) -> Iterator[None]:
        """Note what goes wrong with a stream."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever it is, the page says it
            self.failures.setdefault(stream, (name, f"{type(error).__name__}: {error}"))

    def _discover(self) -> None:
        for change in write_source_schemas(self.settings, self.source, self.catalog):
            if change.status == "skipped":
                self.failures[change.stream] = ("discover", change.reason)
                continue
            with self.step(change.stream, "add-stream"):
                choices = self._choices(change.stream)
                plan = plan_files(self.settings, self.source, change.stream, choices)
                write_files(plan)
                self.streams[change.stream] = plan.stream

    def _choices(self, name: str) -> Choices:
        """What the source does not say: a key is an id or the first field."""
        known = read_source_schema(self.settings, self.source, name)
        assert known is not None
        key: tuple[tuple[str, ...], ...] = ()
        if not known.primary_key:
            key = (("id" if "id" in known.fields else next(iter(known.fields)),),)
            self.chosen[name] = f"--primary-key {key[0][0]}"
        mode = "" if known.cursor_field else "full_refresh"
        return Choices(primary_key=key, sync_mode=mode)

    def _validate(self) -> None:
        for problem in find_problems(self.settings):
            name = problem.file.stem.removeprefix("int_").removeprefix("stg_")
            name = name.removeprefix(f"{self.source}__")
            stream = name if name in self.streams else next(iter(self.streams))
            self.failures.setdefault(stream, ("validate", f"{problem.file}: {problem.message}"))

    def _feed(self, number: int) -> None:
        described = {stream["name"]: stream for stream in self.catalog["streams"]}
        with open_lake(self.settings) as lake:
            for stream in self.alive():
                with self.step(stream.name, "feed"):
                    shape = self._shape(stream, described[stream.name])
                    files = self.files.setdefault(stream.name, rows_of(shape, stream.id))
                    self._put(stream, number, parquet(shape, files[number]))
                    if _land(lake, stream, self.client):
                        self.copied.add(stream.name)

    def _shape(self, stream: Stream, described: Json) -> Shape:
        return shape_of(described, stream.config.primary_key, list(stream.config.fields))

    def _put(self, stream: Stream, number: int, data: bytes) -> None:
        prefix = layout_of(self.settings, stream).prefix
        key = f"{prefix}year=2026/month=03/day=10/part_{number}.parquet"
        self.client.put_object(Bucket=self.settings.bucket, Key=key, Body=data)

    def _build(self) -> None:
        models = [f"int_{stream.id}" for stream in self.alive()]
        for name, message in run_dbt(self.settings, self.environment, models).items():
            self.failures.setdefault(name.removeprefix(f"int_{self.source}__"), ("build", message))

    def _compare(self) -> None:
        described = {stream["name"]: stream for stream in self.catalog["streams"]}
        with open_lake(self.settings) as lake:
            for stream in self.alive():
                with self.step(stream.name, "compare"):
                    shape = self._shape(stream, described[stream.name])
                    self._compare_stream(lake, stream, shape)

    def _compare_stream(self, lake: Lake, stream: Stream, shape: Shape) -> None:
        model = model_columns(stream, source_schema(self.settings.sources_dir, stream))
        names = ", ".join(identifier(name) for name in (*model.key, *_names(model)))
        found = {
            tuple(map(_plain, row[: len(model.key)])): row[len(model.key) :]
            for row in lake.rows(f"SELECT {names} FROM lakehouse.main.int_{stream.id}")
        }
        expected = newest(shape, self.files[stream.name]).items()
        wanted = {tuple(map(_plain, key)): row for key, row in expected}
        assert found.keys() == wanted.keys(), f"keys {sorted(found)}, expected {sorted(wanted)}"
        for key_values, row in wanted.items():
            for column, value in zip(model.columns, found[key_values], strict=True):
                _check(column, value, row)


def _names(model: ModelColumns) -> list[str]:
    return [column.name for column in model.columns]


def _check(column: Column, value: Any, row: Row) -> None:
    wanted: Any = row
    for part in column.path:
        # A field named as a partition column lands under another name.
        wanted = (wanted or {}).get(part, (wanted or {}).get(part.removeprefix("source_")))
    assert same(wanted, value), f"{column.name} is {value!r}, expected {wanted!r}"


def same(wanted: Any, value: Any) -> bool:
    """Whether a table's value is what a file's row has; objects may be JSON text in the table."""
    if isinstance(value, str) and not isinstance(wanted, str):
        if isinstance(wanted, datetime):
            return datetime.fromisoformat(value) == wanted
        if not isinstance(wanted, dict | list):
            return value == str(wanted)
        value = json.loads(value)
    if isinstance(wanted, dict) and isinstance(value, dict):
        return all(
            same(inner, value.get(name, value.get(f"source_{name}")))
            for name, inner in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(value, list):
        return len(wanted) == len(value) and all(map(same, wanted, value))
    if isinstance(wanted, time) and isinstance(value, time):
        return wanted == value.replace(tzinfo=None)
    return bool(wanted == value)


def _plain(value: Any) -> str:
    """A part of a key in a form that both sides share."""
    return str(value)


def _land(lake: Lake, stream: Stream, client: S3Client) -> bool:
    """Feed a stream; returns whether one of its files has landed as a copy."""
    list_files(lake, stream, client, "connectors")
    for batch in plan_batches(lake, stream):
        register_batch(lake, stream, batch, "connectors")
    files = lake.rows(
        f"SELECT event, error FROM {META}.feeder_files WHERE source = ? AND stream = ?",
        [stream.source, stream.name],
    )
    bad = [file for file in files if file[0] not in ("registered", "copied")]
    assert files, "no file was found"
    assert not bad, f"a file is {bad[0][0]}: {bad[0][1]}"
    return any(event == "copied" for event, _ in files)


def run_dbt(
    settings: Settings, environment: Mapping[str, str], names: list[str]
) -> Mapping[str, str]:
    """Build models with their tests in one process; returns what failed, by model."""
    if not names:
        return {}
    dbt_dir = dbt_project_dir(settings.project_dir)
    target = settings.project_dir / "target"
    command = [
        str(Path(sys.executable).with_name("dbt")), "--no-use-colors", "build", "--select", *names,
        "--project-dir", str(dbt_dir), "--profiles-dir", str(dbt_dir),
        "--target-path", str(target), "--log-path", str(target),
    ]  # fmt: skip
    # Nothing else of the machine: it may have settings for another lake.
    env = {"PATH": os.environ["PATH"], "HOME": str(target), **environment}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    results = target / "run_results.json"
    if not results.exists():
        raise LotusLakeError(f"dbt has not run: {run.stdout[-2000:]}")
    failed = {}
    for result in json.loads(results.read_text(encoding="utf-8"))["results"]:
        if result["status"] not in ("success", "pass"):
            parts = result["unique_id"].split(".")
            model = parts[2] if parts[0] == "model" else _model_of(parts[2], names)
            failed.setdefault(model, str(result["message"]))
    results.unlink()
    return failed


def _model_of(test: str, models: list[str]) -> str:
    return max((model for model in models if model in test), key=len, default=models[0])
