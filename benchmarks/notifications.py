"""Streams that wait: what they cost polled and with notifications, and how soon a put wakes one.

A real triggerer on an empty Postgres, whose triggers belong to assets rather than to tasks, so that
neither scheduler nor workers run beside it. S3 and SQS are moto's server, in a process of its own.
*CPU* is that of the triggerer's processes. *Look* is the time from a put to the listing of its
stream, *event* that to the event in Airflow's database, after which the task goes on. The LIST
requests of 1,000 streams and an hour are computed: those of a run that finds nothing, by its length
and the interval.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import measured
from benchmarks.results import Report
from lotus_lake.bucket.objects import Fingerprint, s3_client
from lotus_lake.config.settings import Settings
from samples.demo_airflow import airflow
from tests.announcing import announce_objects, make_queue
from tests.proxy import Proxy, run_proxy
from tests.servers import SECRET, PostgresServer, S3Server, run_announcing_s3, run_postgres
from tests.standalone import Deployment, start_airflow, stop_airflow

TITLE = "Notifications"
_BUCKET = "landing"
_POLLED, _TOLD = "polled", "with notifications"
_SETTLE_SECONDS = 30
_RUN_SECONDS = {_POLLED: 3600.0, _TOLD: 6 * 3600.0}


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    streams, puts = (10, 5) if quick else (100, 50)
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(folder)})
    intervals = {
        _POLLED: settings.poke_interval_seconds,
        _TOLD: settings.events_poll_seconds,
    }
    for how, interval in intervals.items():
        with (
            run_announcing_s3() as server,
            run_proxy(str(server.access.endpoint_url)) as proxy,
            run_postgres() as postgres,
        ):
            postgres.create_database("airflow")
            home = folder / how.replace(" ", "_")
            waiting = _Waiting(home, server, proxy, postgres, how == _TOLD)
            report.step(f"{streams} streams, {how}")
            seconds, cpu, listings = waiting.measure(streams, puts if how == _TOLD else 0, quick)
        report.row(
            "Streams that wait for a minute",
            how=how,
            streams=streams,
            CPU_seconds_of_the_triggerer=cpu,
            LIST=listings,
            LIST_of_1000_streams_an_hour=round(1000 * _listings(_RUN_SECONDS[how], interval)),
        )
        for what, some in zip(("look", "event"), zip(*seconds, strict=True), strict=False):
            ordered = sorted(some)
            p50, p95 = (ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.95))
            report.row("Seconds after a put", until=what, puts=len(ordered), p50=p50, p95=p95)
            report.target(
                f"p95 from a put to the {what} at most 2 s, {streams} streams wait",
                f"p50 {p50:.1f} s, p95 {p95:.1f} s",
                p95 <= 2,
            )
    of_idle = 1000 * _listings(_RUN_SECONDS[_TOLD], intervals[_TOLD])
    report.target(
        "1,000 idle streams cost fewer than 1,000 LIST an hour",
        f"{of_idle:.0f}; polled {1000 * _listings(_RUN_SECONDS[_POLLED], intervals[_POLLED]):,.0f}",
        of_idle < 1000,
    )


def _listings(run_seconds: float, interval: float) -> float:
    """LIST requests of an idle stream an hour, if its window has a page."""
    first = 1 if interval < run_seconds and interval < _RUN_SECONDS[_POLLED] else 2
    return (first + run_seconds // interval) * 3600 / run_seconds


class _Waiting:
    """A triggerer with streams that wait."""

    def __init__(
        self,
        folder: Path,
        server: S3Server,
        proxy: Proxy,
        postgres: PostgresServer,
        is_told: bool,
    ) -> None:
        folder.mkdir(parents=True)
        self.postgres = postgres
        self.log = folder / "triggerer.log"
        self.proxy = proxy
        self.client = s3_client(server.access)
        self.client.create_bucket(Bucket=_BUCKET)
        self.queue_url = None
        if is_told:
            queue = make_queue(server, "lake-events")
            announce_objects(_BUCKET, self.client, queue)
            self.queue_url = queue.url
        self.environment = {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://postgres@127.0.0.1:"
            f"{postgres.port}/airflow",
            "AIRFLOW_CONN_AWS_DEFAULT": f"aws://lotus:{SECRET}@/?region_name=us-east-1"
            f"&endpoint_url={proxy.url.replace(':', '%3A').replace('/', '%2F')}",
        }

    def measure(
        self, streams: int, puts: int, quick: bool
    ) -> tuple[list[tuple[float, float]], float, int]:
        """Seconds of each put; CPU seconds and LIST requests of a minute in which nothing comes."""
        env = {**os.environ, **self.environment}
        subprocess.run([airflow(), "db", "migrate"], env=env, check=True, capture_output=True)
        measured(fill, streams, self.queue_url, environment=self.environment)
        triggerer = start_airflow(["triggerer", "--skip-serve-logs"], env, self.log)
        try:
            self._wait(lambda: len(self.proxy.listings) >= streams)
            time.sleep(5 if quick else _SETTLE_SECONDS)
            processes = Deployment("", Settings.from_env(env), self.log.parent, triggerer.pid)
            before, listed = processes.cpu_seconds(), len(self.proxy.listings)
            time.sleep(5 if quick else 60)
            cpu = processes.cpu_seconds() - before
            listings = len(self.proxy.listings) - listed
            return [self._put(number) for number in range(puts)], cpu, listings
        finally:
            stop_airflow(triggerer)

    def _put(self, number: int) -> tuple[float, float]:
        """Seconds from a put to the look and to the event; the object goes away again."""
        key, seen = f"{_prefix(number)}part_0.parquet", len(self.proxy.listings)
        began = time.monotonic()
        self.client.put_object(Bucket=_BUCKET, Key=key, Body=b"")
        self._wait(
            lambda: any(at["prefix"] == _prefix(number) for at in self.proxy.listings[seen:]), 0.01
        )
        look = time.monotonic() - began
        self._wait(lambda: self._events(number) > 0, 0.05)
        event = time.monotonic() - began
        self.client.delete_object(Bucket=_BUCKET, Key=key)
        time.sleep(1)
        return look, event

    def _events(self, number: int) -> int:
        query = "SELECT count(*) FROM asset_event JOIN asset ON asset.id = asset_id WHERE name = %s"
        return int(self.postgres.value(self.postgres.dsn("airflow"), query, f"stream_{number}"))

    def _wait(self, true: Any, pause: float = 0.2) -> None:
        deadline = time.monotonic() + 300
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(self.log.read_text(errors="replace")[-4000:])
            time.sleep(pause)


def _prefix(number: int) -> str:
    return f"raw/many/stream_{number}/"


def fill(streams: int, queue_url: str | None) -> None:
    """Put the triggers of streams whose prefixes are empty into Airflow's database."""
    from airflow.models.asset import AssetActive, AssetModel, AssetWatcherModel
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    from lotus_lake.airflow.bucket_events import BucketEventsTrigger
    from lotus_lake.airflow.bucket_trigger import BucketChangedTrigger

    settings = Settings.from_env()
    with create_session() as session:
        for number in range(streams):
            arguments: dict[str, Any] = {
                "bucket": _BUCKET,
                "prefix": _prefix(number),
                "start_after": None,
                "fingerprint": Fingerprint().text(),
                "poke_interval": settings.poke_interval_seconds,
                "dag_id": f"many__stream_{number}",
            }
            trigger = Trigger.from_object(
                BucketEventsTrigger(queue_url, settings.events_poll_seconds, **arguments)
                if queue_url
                else BucketChangedTrigger(**arguments)
            )
            name = f"stream_{number}"
            asset = AssetModel(name=name, uri=f"lake://{name}", group="asset")
            session.add_all([trigger, asset, AssetActive(name=asset.name, uri=asset.uri)])
            session.flush()
            session.add(
                AssetWatcherModel(name=asset.name, asset_id=asset.id, trigger_id=trigger.id)
            )
