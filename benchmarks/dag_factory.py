"""Airflow parses `dags/streams.py` with up to 1,000 streams, each with a dbt model.

*All* is what the Dag processor does, after its imports. *One* is what the process of every task
does, imports included: it builds only its own Dag. *One manifest* has every Cosmos group read the
manifest of the whole project, as Cosmos does by itself; Lotus Lake writes one for each group when
it makes the manifest. `dbt parse` runs once, when a file of the dbt project has changed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.dbtrun import DBT_DIR, PROJECT
from benchmarks.measuring import Measurement, measured
from benchmarks.results import Plot, Report, median

TITLE = "Dag factory"
_SOURCE = "many"
_IMPORT_TIMEOUT_SECONDS = 30.0  # Airflow's default
_REPEATS, _STARTS = 2, 5
_NAIVE_STREAMS = 100
ALL, ONE, NAIVE = "all", "one", "all, one manifest"
_MODEL = """\
{{{{ config(unique_key='id', tags=['{name}']) }}}}

with landed as not materialized (
    select *, {{{{ source_updated_at('updated_at') }}}} as _source_updated_at
    from {{{{ landed_rows('{source}', '{stream}') }}}}
),

newest as (
    {{{{ newest_wins('landed', 'id') }}}}
)

select * from newest
"""


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    sizes, repeats, starts = ([3, 10], 1, 1) if quick else ([1, 10, 100, 1000], _REPEATS, _STARTS)
    plot = Plot("dag_factory", "Parsing dags/streams.py", "streams", "seconds of CPU")
    projects = {count: write_project(folder / str(count), count) for count in sizes}
    parsed: dict[int, float] = {}
    for count, project in projects.items():
        report.step(f"dbt parse of {count:,} models")
        done = measured(parse_dbt, str(project), environment=_environment(project))
        parsed[count] = done.seconds
    # In turns, so that a machine that is slower for a minute is so for all sizes.
    runs: dict[tuple[int, str], list[Measurement[tuple[int, int]]]] = defaultdict(list)
    for number in range(repeats):
        report.step(f"parsing, {number + 1} of {repeats}")
        for count, project in projects.items():
            variables = _environment(project)
            runs[count, ALL].append(
                measured(parse_dags, environment=variables, before=import_airflow)
            )
    for number in range(starts):
        report.step(f"starting a task, {number + 1} of {starts}")
        for count in (sizes[0], sizes[-1]):
            task = {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": f"{_SOURCE}__stream_{count - 1}"}
            variables = _environment(projects[count]) | task
            runs[count, ONE].append(measured(parse_dags, environment=variables))
    for count, project in projects.items():
        if count <= _NAIVE_STREAMS:
            shutil.rmtree(project / "include" / "dbt" / "target" / "groups")
            naive = measured(parse_dags, environment=_environment(project), before=import_airflow)
            runs[count, NAIVE].append(naive)
    for (count, what), some in runs.items():
        assert {done.result[0] for done in some} == {1 if what == ONE else count}
        cpu = median([done.cpu_seconds for done in some])
        report.row(
            "Parsing",
            streams=count,
            builds=what,
            seconds=median([done.seconds for done in some]),
            CPU_seconds=cpu,
            CPU_ms_a_stream=cpu * 1000 / count,
            memory_MB=max(done.peak_mb for done in some),
            reads_of_the_manifest=some[0].result[1],
            dbt_parse_seconds=parsed[count] if what == ALL else None,
        )
        report.point(plot, f"Lotus Lake: {what}", count, cpu)
    _judge(report, sizes)


def write_project(folder: Path, count: int) -> Path:
    """A checkout with so many streams."""
    models = folder / "include" / "dbt" / "models" / "processed" / _SOURCE
    streams = folder / "include" / "streams" / _SOURCE
    for path in (models, streams):
        path.mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml", "macros"):
        os.symlink(DBT_DIR / name, folder / "include" / "dbt" / name)
    os.symlink(PROJECT / "plugins", folder / "plugins")
    fields = {"id": {"type": "integer"}, "updated_at": {"type": "string", "format": "date-time"}}
    names = [f"stream_{number}" for number in range(count)]
    for stream in names:
        document = {"stream": stream, "primary_key": [["id"]], "fields": fields}
        (streams / f"{stream}.json").write_text(json.dumps(document))
        name = f"{_SOURCE}__{stream}"
        text = _MODEL.format(name=name, source=_SOURCE, stream=stream)
        (models / f"int_{name}.sql").write_text(text)
    tables = "".join(f"      - name: {name}\n        identifier: stg_{_SOURCE}__{name}\n"
                     for name in names)  # fmt: skip
    if not names:
        return folder
    (models / "_sources.yml").write_text(
        f"version: 2\nsources:\n  - name: {_SOURCE}\n    database: lakehouse\n"
        f"    schema: staging\n    tables:\n{tables}"
    )
    return folder


def parse_dbt(project: str) -> None:
    """Make the manifest."""
    from lotus_lake.project.manifest import ensure_manifest

    ensure_manifest(Path(project))


def import_airflow() -> None:
    """Import what Dag files import, as Airflow's processes have done when they parse."""
    import lotus_lake.airflow.streams  # noqa: F401


def parse_dags() -> tuple[int, int]:
    """Parse the file of streams; returns the number of Dags, and of reads of the manifest."""
    from airflow.dag_processing.dagbag import DagBag

    reads = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal reads
        if event == "open" and str(arguments[0]).endswith("manifest.json"):
            reads += 1

    sys.addaudithook(count)
    bag = DagBag(str(PROJECT / "dags" / "streams.py"))
    if bag.import_errors:
        raise RuntimeError(str(bag.import_errors))
    return len(bag.dags), reads


def _environment(project: Path) -> dict[str, str]:
    return {
        "LAKE_PROJECT_DIR": str(project),
        "AIRFLOW_HOME": str(project / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "900",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }


def _judge(report: Report, sizes: list[int]) -> None:
    rows = {(row[0], row[1]): row for row in report.tables["Parsing"].rows}
    largest, before = sizes[-1], sizes[-2]
    seconds = float(str(rows[largest, ALL][2]))
    report.target(
        f"{largest:,} streams parse within {_IMPORT_TIMEOUT_SECONDS:.0f} s", f"{seconds:.1f} s",
        seconds < _IMPORT_TIMEOUT_SECONDS,
    )  # fmt: skip
    cpu = [float(str(rows[count, ALL][4])) for count in (before, largest)]
    report.target(
        f"parsing is linear: a stream at {largest:,} costs no more than 1.3 times one at "
        f"{before:,}",
        f"{cpu[1] / cpu[0]:.2f}x",
        cpu[1] <= 1.3 * cpu[0],
    )
    reads = int(str(rows[largest, ALL][6]))
    report.target("the manifest is read once", f"{reads} reads", reads <= 1)
    starts = [float(str(rows[count, ONE][3])) for count in (sizes[0], largest)]
    ratio = starts[1] / starts[0]
    report.target(
        f"a task's process builds only its own Dag, at {largest:,} streams within 1.1 times of "
        f"{sizes[0]:,}",
        f"{ratio:.2f}x (CPU, {starts[0]:.2f} s to {starts[1]:.2f} s)",
        ratio <= 1.1,
    )
