"""One of twenty inputs of 1,000 enriched models changes, and its event starts their Dags.

The Dags have twenty models each, which read two of the inputs, a model one. *Reached* are the
models of the Dags that the event starts: each has a task, which decides whether to build.
*Deciding* is what that costs in a process of its own, without Airflow and imports: to open the
lake, the model's fingerprint from dbt's manifest, and what the lake knows of its last build. The
tables are made without dbt, and their builds noted as dbt notes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.dag_factory import parse_dbt, write_project
from benchmarks.lakes import catalogs
from benchmarks.measuring import measured
from benchmarks.results import Plot, Report, median
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.builds import built_table, why_build
from lotus_lake.project.domains import enriched_domains, inputs_of
from lotus_lake.project.fingerprints import fingerprint
from lotus_lake.project.manifest import Model, last_good_manifest, load_models
from lotus_lake.sql import identifier, literal
from tests.servers import PostgresServer

TITLE = "Skipping enriched models"
_INPUTS, _A_DOMAIN = 20, 20
_CHANGED = 1
_CHANGED_TABLE = f"int_many__stream_{_CHANGED}"
_MODEL = (
    "select id, count(*) as updates from {{{{ ref('int_many__stream_{input}') }}}} group by id\n"
)
_ASKED = 5


class Decisions(NamedTuple):
    """What an event reaches and builds, by name."""

    reached: list[str]
    built: list[str]


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    sizes = [40] if quick else [200, 1000]
    plot = Plot("skipping", "Deciding on a model", "enriched models", "CPU milliseconds a model")
    with catalogs() as servers:
        for count in sizes:
            project = write_enriched(folder / str(count), count)
            report.step(f"dbt parse of {count + _INPUTS:,} models")
            measured(parse_dbt, str(project), environment={"LAKE_PROJECT_DIR": str(project)})
            for name, server in list(servers.items())[: 1 if quick else None]:
                variables = _environment(project, name, server)
                measured(build_all, environment=variables)
                assert measured(decide, environment=variables).result.built == []
                measured(change, environment=variables)
                found = measured(decide, environment=variables).result
                asked = [
                    measured(decide_on, model, environment=variables, before=load)
                    for model in found.reached[:_ASKED]
                ]
                cpu = median([done.cpu_seconds for done in asked]) * 1000
                report.row("An input changes", enriched_models=count, catalog=name,
                           reached=len(found.reached), built=len(found.built),
                           deciding_CPU_ms_a_model=cpu,
                           memory_MB=max(done.peak_mb for done in asked))  # fmt: skip
                report.point(plot, name, count, cpu)
                wanted = [f"fct_{number}" for number in range(count) if _input(number) == _CHANGED]
                report.target(
                    f"{count:,} models, {name}: an event builds the {len(wanted)} models that read "
                    "the input",
                    f"{len(found.built)}",
                    sorted(found.built) == sorted(wanted),
                )


def write_enriched(folder: Path, count: int) -> Path:
    """A checkout with so many enriched models."""
    write_project(folder, _INPUTS)
    for number in range(count):
        domain = folder / "include/dbt/models/enriched" / f"domain_{number // _A_DOMAIN}"
        domain.mkdir(parents=True, exist_ok=True)
        (domain / f"fct_{number}.sql").write_text(_MODEL.format(input=_input(number)))
    return folder


def _input(number: int) -> int:
    return (number // _A_DOMAIN + number % 2) % _INPUTS


def build_all() -> None:
    """Make every table as dbt would, with the note of its build."""
    settings, (file, models) = Settings.from_env(), _models()
    with open_lake(settings) as lake:

        def unit() -> None:
            lake.con.execute(f"CREATE SCHEMA IF NOT EXISTS {META}")
            for model in models.values():
                table = identifier(LAKE, "main", model.name)
                lake.con.execute(f"CREATE TABLE {table} AS SELECT 1 AS id")

        lake.commit("tables", unit)
        read = lake.current_snapshot()

        def note() -> None:
            for name in models:
                lake.con.execute(
                    f"CREATE TABLE {META}.{identifier(built_table(name))} AS SELECT "
                    f"{literal(fingerprint(file, name) or '')} AS fingerprint, "
                    f"{read}::BIGINT AS read_snapshot_id, now() AS built_at"
                )

        lake.commit("builds", note)


def change() -> None:
    """Give the input that changes a row."""
    with open_lake(Settings.from_env()) as lake:
        table = identifier(LAKE, "main", _CHANGED_TABLE)
        lake.commit("input", lambda: lake.con.execute(f"INSERT INTO {table} VALUES (2)"))


def load() -> None:
    """What a process has, and has done, before it decides."""
    import lotus_lake.ledger.builds  # noqa: F401


def decide() -> Decisions:
    """Decide on the models of all Dags that an update of the input starts."""
    file, models = _models()
    reached = [
        model.name
        for domain in enriched_domains(models).values()
        if _CHANGED_TABLE in inputs_of(domain)
        for model in domain
    ]
    with open_lake(Settings.from_env()) as lake:
        built = [name for name in reached if _reason(lake, file, models[name].parents, name)]
    return Decisions(reached, built)


def decide_on(name: str) -> bool:
    """Decide on one model, as its task does; returns whether it is built."""
    file, models = _models()
    with open_lake(Settings.from_env()) as lake:
        return _reason(lake, file, models[name].parents, name) is not None


def _reason(lake: Lake, file: Path, inputs: Sequence[str], name: str) -> str | None:
    return why_build(lake, name, inputs, fingerprint(file, name))


def _models() -> tuple[Path, Mapping[str, Model]]:
    manifest = last_good_manifest(Settings.from_env().project_dir)
    assert manifest is not None
    return manifest.file, load_models(manifest.file)


def _environment(project: Path, name: str, server: PostgresServer | None) -> dict[str, str]:
    catalog = (
        f"sqlite:{project / 'lake.sqlite'}"
        if server is None
        else f"postgres:{server.create_database(f'skipping_{project.name}')}"
    )
    return {
        "LAKE_PROJECT_DIR": str(project),
        "LAKE_CATALOG": catalog,
        "LAKE_DATA_PATH": str(project / f"data_{name}"),
        "LAKE_RAW_URI": "s3://raw/raw",
        "LAKE_STREAMS_DIR": str(project / "include" / "streams"),
        "LAKE_TEMP_DIR": str(project / "tmp"),
    }
