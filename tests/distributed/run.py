"""Files arrive while parts of Airflow are killed; at rest, everything is compared."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META
from tests.chaos.checks import Findings, check
from tests.chaos.workload import Subject, Workload
from tests.distributed import shop
from tests.distributed.cluster import WORKERS, Cluster, run_cluster
from tests.servers import run_postgres
from tests.standalone import lake_with_bucket

POSTGRES = "postgres"
VICTIMS = (*WORKERS, "scheduler", "triggerer", "dag-processor", "api-server", POSTGRES)
DAYS = 10
_OUTCOMES = "'registered', 'copied', 'empty', 'quarantined'"
_PATIENCE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    Attributes:
        streams: How many streams.
        files: Files of all streams together.
        seconds: In which they arrive, evenly.
        kills: What is killed, one after the other, evenly over the files.
        seed: Chooses the files.
    """

    streams: int
    files: int
    seconds: float
    kills: Sequence[str]
    seed: int = 7


@dataclass
class Outcome:
    """What has happened.

    Attributes:
        size: What was asked for.
        rows: Rows in the files that had to land.
        tries: Tries of task instances, by the part that ran them.
        retries: Tries after which there was another one.
        runs: Dag runs, by state.
        kills: By what was killed.
        ends: Parts that ended by themselves, and were started again.
        peak_bytes: Most memory of each worker.
        seconds: From the first file until all was at rest.
        findings: What is wrong with the lake.
    """

    size: Size
    rows: int
    tries: Counter[str]
    retries: int
    runs: Counter[str]
    kills: Counter[str]
    ends: Counter[str]
    peak_bytes: Counter[str]
    seconds: float
    findings: Findings = field(default_factory=Findings)

    def table(self) -> str:
        """All of it as Markdown."""
        rows = {
            "streams": self.size.streams,
            "files": f"{self.size.files:,}",
            "rows in them": f"{self.rows:,}",
            **{f"tries of tasks on {name}": self.tries[name] for name in WORKERS},
            "killed (SIGKILL)": _listed(self.kills),
            "ended by themselves, and started again": _listed(self.ends),
            "tries that were followed by another": self.retries,
            "Dag runs": _listed(self.runs),
            "lost": self.findings.losses,
            "doubled": self.findings.doubles,
            "wall time": f"{self.seconds / 60:.1f} minutes",
            **{
                f"most memory of {name}": f"{self.peak_bytes[name] / 1e9:.2f} GB"
                for name in WORKERS
            },
        }
        return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def run(root: Path, size: Size, tell: Callable[[str], None] = print) -> Outcome:
    """Run it in a folder.

    Raises:
        TimeoutError: Something never came true.
    """
    some = shop.subjects(size.streams)
    project = shop.write_project(root / "project", some)
    with lake_with_bucket(root, ()) as variables, run_postgres() as postgres:
        variables |= {
            "LAKE_CATALOG": f"postgres:{postgres.create_database('lake')}",
            "LAKE_DATA_PATH": "s3://landing/lake",
            "LAKE_PROJECT_DIR": str(project),
            "LAKE_STREAMS_DIR": str(project / "include" / "streams"),
            "LAKE_MEMORY_LIMIT": "512MiB",
            "LAKE_THREADS": "1",
        }
        settings = Settings.from_env(variables)
        with (
            contextlib.closing(s3_client(settings.s3)) as client,
            run_cluster(root, variables, postgres) as cluster,
        ):
            workload = Workload(settings, client, Random(size.seed))
            drill = Drill(cluster, workload, some, size, tell)
            drill.wait(lambda: cluster.deployment.waiting_streams() > 0, "a sensor waits")
            started = time.monotonic()

            def kill(name: str) -> None:
                if name == POSTGRES:
                    postgres.restart(signal.SIGKILL)
                    cluster.kills[name] += 1
                else:
                    cluster.kill(name)

            drill.arrive(kill)
            drill.wait(drill.is_all_decided, "every file is in the ledger", 10)
            drill.wait(drill.is_at_rest, "only sensors wait", 5)
            return drill.outcome(time.monotonic() - started)


@dataclass
class Drill:
    """One run.

    Attributes:
        cluster: Airflow.
        workload: What arrives.
        subjects: The streams.
        size: How much.
        tell: Says what is going on.
    """

    cluster: Cluster
    workload: Workload
    subjects: Sequence[Subject]
    size: Size
    tell: Callable[[str], None]

    def wait(self, true: Callable[[], bool], what: str, pause: float = 1) -> None:
        """Keep the parts running until something comes true."""

        def is_true() -> bool:
            self.cluster.tend()
            return true()

        self.cluster.deployment.wait_until(is_true, what, _PATIENCE_SECONDS, pause)
        self.tell(what)

    def arrive(self, kill: Callable[[str], None]) -> None:
        """Let the files arrive, and kill in between, each when it has something to do."""
        size, waiting, started = self.size, list(self.size.kills), time.monotonic()

        def step() -> bool:
            arrived = len(self.workload.dropped)
            share = min(1.0, (time.monotonic() - started) / size.seconds)
            for number in range(arrived, math.ceil(size.files * share)):
                self.workload.day = number * DAYS // size.files
                self.workload.drop(1, self.workload.chance.choice(self.subjects))
            is_time = share > 1 - len(waiting) / (len(size.kills) + 1)
            if waiting and is_time and self._has_work(waiting[0]):
                kill(waiting[0])
                self.tell(f"{len(self.workload.dropped)} files have arrived, killed {waiting[0]}")
                del waiting[0]
            return share == 1 and not waiting

        self.wait(step, "all files have arrived, and all are killed that were to be")

    def _has_work(self, name: str) -> bool:
        """Whether a task that writes to the lake runs: on this worker, if it is one."""
        return bool(
            self.cluster.rows(
                "SELECT 1 FROM task_instance WHERE state = 'running' AND hostname = ANY(%s) "
                "AND (task_id = 'feeder.register' OR task_id LIKE 'processed.%%')",
                [name] if name in WORKERS else list(WORKERS),
            )
        )

    def is_all_decided(self) -> bool:
        """Whether the ledger says of every file what became of it."""
        try:
            with open_lake(self.workload.settings) as lake:
                decided = lake.value(
                    f"SELECT count(*) FROM {META}.file_events WHERE event IN ({_OUTCOMES})"
                )
        except CatalogUnavailableError:
            return False
        return int(decided) >= self.size.files

    def is_at_rest(self) -> bool:
        """Whether every stream's sensor waits, nothing else runs, and no asset update waits."""
        (counts,) = self.cluster.rows(
            "SELECT (SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')), "
            "(SELECT count(*) FROM task_instance WHERE state = 'deferred'), "
            "(SELECT count(*) FROM asset_dag_run_queue)"
        )
        return counts == (self.size.streams, self.size.streams, 0)

    def outcome(self, seconds: float) -> Outcome:
        """Compare everything, and count."""
        findings = Findings()
        with open_lake(self.workload.settings) as lake:
            for subject in self.subjects:
                findings += check(lake, self.workload, subject)
            newest = self.workload.newest(self.subjects[0])
            findings.compare(
                shop.TOTALS,
                lake.rows(f"SELECT records, total FROM {LAKE}.main.{shop.TOTALS}"),
                [(len(newest), sum(row.amount for row in newest.values()))],
            )
        tried = "FROM {} WHERE start_date IS NOT NULL AND hostname <> ''"
        tries = self.cluster.rows(
            f"SELECT hostname, count(*) FROM (SELECT hostname {tried.format('task_instance')} "
            f"UNION ALL SELECT hostname {tried.format('task_instance_history')}) GROUP BY 1"
        )
        ((retries,),) = self.cluster.rows("SELECT count(*) FROM task_instance_history")
        runs = self.cluster.rows("SELECT state, count(*) FROM dag_run GROUP BY 1")
        return Outcome(
            self.size,
            sum(
                len(rows)
                for subject in self.subjects
                for rows in self.workload.landed(subject).values()
            ),
            Counter(dict(tries)),
            retries,
            Counter(dict(runs)),
            self.cluster.kills,
            self.cluster.ends,
            self.cluster.peak_bytes,
            seconds,
            findings,
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
