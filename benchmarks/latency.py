"""A file lands in the bucket, and `fct_sales` shows its rows, with all of Airflow running.

The Shopify tables are there already. Files of `shopify/orders` arrive one after the other, when the
lake is at rest; the other streams wait for files of their own, each with a sensor in the triggerer
and a Dag with a model. The bucket is looked at every 5 seconds. Each wave is followed in Airflow's
database: *waiting* is until the sensor's task goes on, *tasks* is the time in which a task of the
wave's runs was running, *dbt* is that of the dbt tasks among them; the rest is Airflow's, between
tasks. *CPU* is that of all of Airflow, from the file until the lake is at rest again; *idle CPU* is
what it takes in a minute in which nothing arrives.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import dag_factory
from benchmarks.dbtrun import DBT_DIR, PROJECT
from benchmarks.measuring import measured
from benchmarks.results import Plot, Report
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.project.manifest import ensure_manifest
from samples import generate, write_files
from samples.demo_tables import table_rows
from tests.pipeline.driver import chosen_streams, feed_stream
from tests.standalone import Deployment, lake_with_bucket, run_standalone

TITLE = "End to end"
_STREAM, _DOMAIN = "shopify__orders", "enriched__sales"
_POKE_SECONDS = "5"
Span = tuple[datetime, datetime]


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    sizes, waves = ([1], 1) if quick else ([1, 10, 50], 3)
    plot = Plot("latency", "From the bucket to fct_sales", "streams", "seconds", logarithmic="x")
    for count in sizes:
        seconds, parts, idle = _measure(report, folder / str(count), count, waves)
        ordered = sorted(seconds)
        p50, p95 = (ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.95))
        mean = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
        report.row(
            "Seconds from the bucket to fct_sales",
            streams=count,
            waves=len(seconds),
            p50=p50,
            p95=p95,
            **{f"{name}_(mean)": value for name, value in mean.items()},
            idle_CPU_a_minute=idle,
        )
        report.point(plot, "p50", count, p50)
        report.point(plot, "p95", count, p95)
        report.target(
            f"p50 and p95 at {count} streams",
            f"{p50:.0f} s and {p95:.0f} s; of the mean {sum(seconds) / len(seconds):.0f} s, "
            f"{mean['tasks']:.0f} s in tasks ({mean['dbt']:.0f} s of it dbt), the rest is "
            f"waiting for the poke and Airflow between tasks; a wave costs {mean['CPU']:.0f} s of "
            f"CPU, an idle minute {idle:.0f}",
            None,
        )


def _measure(
    report: Report, root: Path, count: int, waves: int
) -> tuple[list[float], list[dict[str, float]], float]:
    history = generate()
    files = [file for file in history.files if file.source == "shopify"]
    orders = [file for file in files if file.stream == "orders"]
    late = orders[-waves:]
    first = [file for file in files if file not in late]
    seconds, parts = [], []
    project = _project(root, count)
    with lake_with_bucket(root, ["orders", "order_refunds", "customers"]) as variables:
        variables |= {
            "LAKE_PROJECT_DIR": str(project),
            "LAKE_POKE_INTERVAL_SECONDS": _POKE_SECONDS,
        }
        settings = Settings.from_env(variables)
        client = s3_client(settings.s3)
        report.step(f"{count} streams: the first {len(first)} files land without Airflow")
        write_files(first, settings.raw_uri, client)
        measured(feed_all, environment=variables)
        measured(ensure_manifest, project, environment=variables)
        measured(build_all, str(project), environment=variables)
        streams = Path(variables["LAKE_STREAMS_DIR"])
        for name in ("order_refunds", "customers"):
            (streams / "shopify" / f"{name}.json").unlink()
        if count > 1:
            shutil.copytree(project / "include" / "streams" / "many", streams / "many")
        report.step("airflow standalone starts")
        with run_standalone(root, variables) as airflow:
            airflow.wait_until(
                lambda: airflow.waiting_streams() == count, f"{count} sensors wait", 600
            )
            _rest(airflow, count)
            idle = _cpu_of_a_minute(airflow)
            report.step(f"an idle minute: {idle:.1f} s of CPU")
            arrived = list(first)
            for number, file in enumerate(late, start=1):
                arrived.append(file)
                expected = history.expected("fct_sales", [one.key for one in arrived])
                before = datetime.now(UTC)
                started, cpu = time.monotonic(), airflow.cpu_seconds()
                write_files([file], settings.raw_uri, client)
                _wait_for_sales(airflow, variables, before, expected)
                seconds.append(time.monotonic() - started)
                _rest(airflow, count)
                cpu = airflow.cpu_seconds() - cpu
                parts.append(_parts(variables, before, seconds[-1]) | {"CPU": cpu})
                report.step(f"wave {number}: {seconds[-1]:.1f} s, {_shown(parts[-1])}")
    return seconds, parts, idle


def _cpu_of_a_minute(airflow: Deployment) -> float:
    """After half a minute in which what has just started comes to rest."""
    time.sleep(30)
    before = airflow.cpu_seconds()
    time.sleep(60)
    return airflow.cpu_seconds() - before


def feed_all() -> None:
    """Land what is in the bucket."""
    settings = Settings.from_env()
    client = s3_client(settings.s3)
    with open_lake(settings) as lake:
        for stream in chosen_streams(settings, ()):
            feed_stream(lake, stream, client)


def build_all(project: str) -> None:
    """Build the models of Shopify and the sales."""
    from benchmarks.dbtrun import run_dbt

    run_dbt(
        f"{project}/include/dbt", "run", "--select", "path:models/processed/shopify",
        "path:models/enriched",
    )  # fmt: skip


def _project(root: Path, count: int) -> Path:
    """A checkout with this project's Shopify models, and those of the other streams."""
    project = dag_factory.write_project(root / "project", count - 1)
    models = project / "include" / "dbt" / "models"
    shutil.copy(DBT_DIR / "models" / "processed" / "processed.md", models / "processed")
    shutil.copytree(DBT_DIR / "models" / "processed" / "shopify", models / "processed" / "shopify")
    shutil.copytree(DBT_DIR / "models" / "enriched" / "sales", models / "enriched" / "sales")
    os.symlink(DBT_DIR / "tests", project / "include" / "dbt" / "tests")
    shutil.copytree(PROJECT / "include" / "sources", project / "include" / "sources")
    return project


def _wait_for_sales(
    airflow: Deployment,
    variables: Mapping[str, str],
    since: datetime,
    expected: list[dict[str, Any]],
) -> None:
    """Wait until the table is as the records say; looked at after each build, not to disturb."""
    looked_after = since

    def is_right() -> bool:
        nonlocal looked_after
        [(built,)] = _from_database(
            variables,
            "SELECT max(end_date) FROM task_instance WHERE dag_id = ? "
            "AND task_id LIKE '%fct_sales%' AND state = 'success'",
            [_DOMAIN],
        )
        if built is None or _moment(built) <= looked_after:
            return False
        looked_after = _moment(built)
        with open_lake(airflow.settings, read_only=True) as lake:
            return table_rows(lake, "fct_sales") == expected

    airflow.wait_until(is_right, "fct_sales shows the file", 400, 0.25)


def _rest(airflow: Deployment, count: int) -> None:
    """Wait until every sensor waits again, and nothing else runs."""

    def at_rest() -> bool:
        running = airflow.get("/dags/~/dagRuns/~/taskInstances?state=running&state=queued"
                              "&state=scheduled")  # fmt: skip
        return airflow.waiting_streams() == count and running["total_entries"] == 0

    airflow.wait_until(at_rest, "the lake is at rest", 400)


def _parts(variables: Mapping[str, str], since: datetime, total: float) -> dict[str, float]:
    """What the seconds of a wave were spent on, from Airflow's database."""
    rows = _from_database(
        variables,
        "SELECT dag_id, task_id, start_date, end_date FROM task_instance "
        "WHERE dag_id IN (?, ?) AND end_date > ? AND state = 'success' ORDER BY start_date",
        [_STREAM, _DOMAIN, since.replace(tzinfo=None).isoformat(" ")],
    )
    spans: dict[str, list[Span]] = defaultdict(list)
    for dag_id, task_id, start, end in rows:
        span = (_moment(start), _moment(end))
        if task_id == "wait_for_files":  # its start is that of its first look
            spans["waiting"].append((since, span[1]))
            continue
        spans["tasks"].append(span)
        if ".int_" in task_id or (dag_id == _DOMAIN and "fct_" in task_id):
            spans["dbt"].append(span)
    waiting, tasks, dbt = (_covered(spans[name]) for name in ("waiting", "tasks", "dbt"))
    return {
        "waiting": waiting,
        "tasks": tasks,
        "dbt": dbt,
        "between_tasks": max(0.0, total - waiting - tasks),
    }


def _from_database(
    variables: Mapping[str, str], query: str, values: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Rows of Airflow's database, read beside it."""
    file = Path(variables["AIRFLOW_HOME"]) / "airflow.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def _covered(spans: Sequence[Span]) -> float:
    """Seconds in which any of the spans was open."""
    seconds, reached = 0.0, datetime.min.replace(tzinfo=UTC)
    for start, end in sorted(spans):
        begin = max(start, reached)
        seconds += max(0.0, (end - begin).total_seconds())
        reached = max(reached, end)
    return seconds


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _shown(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} s" for name, value in parts.items())
