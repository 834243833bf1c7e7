"""From the bucket to the tables without Airflow: the steps of the Dags, one after the other."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.cursor import StreamState, read_state
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from lotus_lake.project.manifest import dbt_project_dir
from samples import History, SampleFile, write_files
from samples.demo_tables import table_rows
from tests.pipeline.logged import LoggedChild, run_dbt, start

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROJECT = Path(__file__).resolve().parents[2]
DBT_DIR = dbt_project_dir(PROJECT)
WORKING = "the lake is open"
Row = dict[str, Any]

_numbers = itertools.count()


class DbtError(AssertionError):
    """A dbt process failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A lake of the test's own, fed by the streams and models of this repository.

    Attributes:
        environment: All variables of the lake.
        client: Talks to the bucket.
        target: Where dbt keeps what it has parsed.
        dbt_dir: The dbt project; this repository's by default.
        arrived: Keys of the sample files that were dropped so far.
    """

    environment: dict[str, str]
    client: S3Client
    target: Path
    dbt_dir: Path = DBT_DIR
    arrived: set[str] = field(default_factory=set)

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environment)

    def drop(self, files: Collection[SampleFile]) -> None:
        """Let files appear in the bucket, in the order given."""
        assert files
        assert write_files(files, self.settings.raw_uri, self.client) == len(files)
        self.arrived.update(file.key for file in files)

    def feed(self, *stream_ids: str) -> dict[str, StreamState]:
        """One run of the feeder of each of these streams, of all without any."""
        with open_lake(self.settings) as lake:
            return {
                stream.id: feed_stream(lake, stream, self.client)
                for stream in chosen_streams(self.settings, stream_ids)
            }

    def start_feeding(self, *stream_ids: str) -> LoggedChild:
        """The same in a process of its own; says `WORKING` once the lake is open."""
        return self._start(_feed_in_child, *stream_ids)

    def start_dbt(
        self, command: str, *models: str, target: Path | None = None, **environment: str
    ) -> LoggedChild:
        """Start dbt for some models, for all without any; in another folder beside another dbt."""
        dbt_dir, target = str(self.dbt_dir), target or self.target
        selection = ["--select", *models] if models else []
        return self._start(
            run_dbt,
            "--no-use-colors", "--no-write-json", command, *selection,
            "--project-dir", dbt_dir, "--profiles-dir", dbt_dir,
            "--target-path", str(target), "--log-path", str(target / "logs"),
            **environment,
        )  # fmt: skip

    def dbt(self, command: str, *models: str, **environment: str) -> str:
        """Run dbt; returns what it says.

        Raises:
            DbtError: It failed.
        """
        child = self.start_dbt(command, *models, **environment)
        if child.wait() != 0:
            raise DbtError(child.output)
        return child.output

    def second_target(self) -> Path:
        """A target folder for a dbt that runs beside another one."""
        return Path(shutil.copytree(self.target, self.target.with_name(f"target-{next(_numbers)}")))

    def wrong_tables(self, history: History, models: Iterable[str]) -> dict[str, str]:
        """Tables that are not as the records of the files that arrived say, with an example."""
        wrong = {}
        with open_lake(self.settings) as lake:
            for model in models:
                rows, expected = table_rows(lake, model), history.expected(model, self.arrived)
                if rows != expected:
                    wrong[model] = _first_difference(rows, expected)
        return wrong

    def value(self, query: str) -> Any:
        """First column of the first row of a query."""
        with open_lake(self.settings) as lake:
            return lake.value(query)

    def _start(self, function: Any, *arguments: str, **environment: str) -> LoggedChild:
        # Nothing else of the machine: it may have settings for another lake.
        base = {"PATH": os.environ["PATH"], "HOME": str(self.target.parent)}
        return start(
            function,
            *arguments,
            environment=base | self.environment | environment,
            log=self.target.parent / f"child-{next(_numbers)}.log",
        )


def feed_stream(lake: Lake, stream: Stream, client: S3Client, run_id: str = "run") -> StreamState:
    """One run of a stream's feeder: list, batch, register, cursor, cleanup."""
    consumers = [f"int_{stream.id}"]
    list_files(lake, stream, client, run_id)
    for batch in plan_batches(lake, stream):
        register_batch(lake, stream, batch, run_id)
    state = read_state(lake, stream, run_id, consumers)
    retire_files(lake, stream, consumers, run_id)
    return state


def chosen_streams(settings: Settings, stream_ids: Sequence[str]) -> list[Stream]:
    """The streams of these ids; all of them without any."""
    streams, errors = load_streams(settings.streams_dir)
    chosen = [stream for stream in streams if not stream_ids or stream.id in stream_ids]
    assert not errors
    assert len(chosen) == len(stream_ids or streams) > 0
    return chosen


def _feed_in_child(*stream_ids: str) -> None:
    settings = Settings.from_env()
    client = s3_client(settings.s3)
    with open_lake(settings) as lake:
        print(WORKING, flush=True)
        for stream in chosen_streams(settings, stream_ids):
            feed_stream(lake, stream, client)


def _first_difference(rows: list[Row], expected: list[Row]) -> str:
    surplus = [row for row in rows if row not in expected]
    missing = [row for row in expected if row not in rows]
    return (
        f"{len(rows)} rows, expected {len(expected)}; {len(surplus)} are wrong, such as "
        f"{surplus[:1]}; {len(missing)} are missing, such as {missing[:1]}"
    )
