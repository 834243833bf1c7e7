"""The processes that work on the lake and are killed: an actor is a function and a line in ACTORS.

An actor runs in a child of its own, on a `Job`. It ends with 0, or with `TRANSIENT` when the
library said that a retry helps; every other end but a kill is wrong.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.error_translation import is_gone
from lotus_lake.errors import TransientError
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import land_files
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.write_lock import write_lock
from lotus_lake.project.manifest import dbt_project_dir
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.upkeep.expiry import upkeep
from tests import children
from tests.chaos.workload import SUBJECTS, Subject, stream_of
from tests.children import Hook, Watched, let_pass
from tests.pipeline.logged import LoggedChild, run_dbt

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSIENT = os.EX_TEMPFAIL
# Longer than any reader looks.
_LOOK_SECONDS = 120
# What the library logs when a commit is tried again.
CONFLICT_LOG = "conflicted with another writer"

children.context.set_forkserver_preload(
    ["tests.children", "tests.pipeline.warm", "tests.chaos.readers"]
)


@dataclass(frozen=True, slots=True)
class Job:
    """What an actor needs to know.

    Attributes:
        environment: All variables of the lake.
        folder: A folder of this actor's own.
        subject: The stream to work on.
        run_id: Its name in the ledger.
        floor: Id of a snapshot that no open transaction is older than.
        hook: Is shown every statement.
    """

    environment: Mapping[str, str]
    folder: Path
    subject: Subject
    run_id: str
    floor: int = 0
    hook: Hook = let_pass

    @contextmanager
    def open(self) -> Iterator[Lake]:
        """The lake, watched."""
        with open_lake(Settings.from_env(self.environment)) as opened:
            yield Lake(Watched(opened.con, self.hook), opened.settings)  # type: ignore[arg-type]


def feed(job: Job) -> None:
    """List, batch and register."""
    with job.open() as lake:
        stream = stream_of(lake.settings, job.subject)
        list_files(lake, stream, s3_client(lake.settings.s3), job.run_id)
        for batch in plan_batches(lake, stream):
            land_files(lake, stream, batch, job.run_id)


def clean_up(job: Job) -> None:
    """Retire what is old and consumed."""
    with job.open() as lake:
        stream = stream_of(lake.settings, job.subject)
        retire_files(lake, stream, job.subject.models, job.run_id)


def compare(job: Job) -> None:
    """Reconcile: list everything, land what waits, and repair."""
    with job.open() as lake:
        stream = stream_of(lake.settings, job.subject)
        reconcile(lake, stream, s3_client(lake.settings.s3), job.run_id, repair=True)


def maintain(job: Job) -> None:
    """The real upkeep, after days have passed for all that no open transaction can see."""
    with job.open() as lake:
        with write_lock(lake.settings):
            _age(lake, "ducklake_snapshot", "snapshot_time", f"snapshot_id < {job.floor}")
            _age(
                lake,
                "ducklake_files_scheduled_for_deletion",
                "schedule_start",
                # A delete file is on the list from the commit on that replaces it, while readers
                # that began before still need it: only time protects them.
                "path NOT LIKE '%-delete.parquet' OR "
                f"schedule_start::TIMESTAMPTZ < now() - INTERVAL {_LOOK_SECONDS} SECOND",
            )
        upkeep(lake)


def build(job: Job) -> None:
    """Run the processed models with dbt."""
    from dbt.adapters.duckdb.environments import local

    class WatchedCursor(local.DuckDBCursorWrapper):  # type: ignore[misc]
        def execute(self, sql: str, bindings: Any = None) -> Any:
            job.hook(sql.rsplit("*/", 1)[-1].strip())  # without dbt's own comment
            return super().execute(sql, bindings)

    local.DuckDBCursorWrapper = WatchedCursor
    project = Path(job.environment["LAKE_PROJECT_DIR"])
    dbt_dir, target = str(dbt_project_dir(project)), job.folder / "target"
    target.mkdir(exist_ok=True)
    # dbt starts 6 s faster when it finds the project parsed; a killed one may leave half a file.
    shutil.copy(Path(dbt_dir, "target", "partial_parse.msgpack"), target)
    run_dbt(
        "--no-use-colors", "--no-write-json", "run",
        "--select", *(model for subject in SUBJECTS for model in subject.models),
        "--project-dir", dbt_dir, "--profiles-dir", dbt_dir,
        "--target-path", str(target), "--log-path", str(target / "logs"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Actor:
    """A kind of process.

    Attributes:
        run: What it does.
        share: How often it is started, against the others.
        statements: So many statements it runs at least, when there is work.
        seconds: So long it takes.
        commits: So many times it commits.
        commit: What a statement that commits starts with.
        alone: Not beside another one of its kind.
    """

    run: Callable[[Job], None]
    share: int
    statements: int
    seconds: float
    commits: int
    commit: str = "COMMIT"
    alone: bool = False


ACTORS = {
    "feeder": Actor(feed, share=60, statements=50, seconds=0.7, commits=3),
    "cleanup": Actor(clean_up, share=18, statements=16, seconds=0.5, commits=2),
    "reconcile": Actor(compare, share=10, statements=55, seconds=0.8, commits=3),
    "maintenance": Actor(
        maintain,
        share=14,
        statements=8,
        seconds=0.5,
        commits=2,
        commit="CALL ducklake_",
        alone=True,
    ),
    "dbt": Actor(build, share=8, statements=31, seconds=3.0, commits=8, alone=True),
}


def start(name: str, job: Job) -> LoggedChild:
    """Start an actor."""
    log = job.folder / "output.log"
    log.write_bytes(b"")
    return LoggedChild(children.start(_act, name, job, log), log)


def is_transient(name: str, code: int, output: str) -> bool:
    """Whether an actor that failed has said clearly that a retry helps."""
    if name == "dbt":
        return is_gone(output) or any(text in output for text in _DBT_TRANSIENT)
    return code == TRANSIENT or (code == -signal.SIGABRT and _ABORTS in output)


# DuckDB ends the process when its Postgres extension reads a catalog that goes away in that moment
# (https://github.com/duckdb/duckdb-postgres/issues/577). It is one more death: Airflow tries again.
_ABORTS = "Attempted to access index 0 within vector of size 0"
# dbt passes on what DuckDB says.
_DBT_TRANSIENT = (
    "Transaction conflict",
    "HTTP Error",
    "error for HTTP",
    "CatalogUnavailableError",
)


def _act(name: str, job: Job, log: Path) -> None:
    os.environ.clear()
    os.environ.update(job.environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, force=True)
    try:
        ACTORS[name].run(job)
    except TransientError:
        traceback.print_exc()
        sys.exit(TRANSIENT)


def _age(lake: Lake, table: str, column: str, condition: str) -> None:
    """Make rows of the catalog older than any patience of the upkeep."""
    lake.con.execute(
        f"UPDATE __ducklake_metadata_{LAKE}.{table} SET {column} = "
        f"{column}::TIMESTAMPTZ - INTERVAL 10 DAY WHERE {condition}"
    )
