"""The Dag factories: one Dag per stream, one per enriched domain, one for upkeep.

Parsing touches local files only: stream JSONs and the dbt manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    AssetAny,
    BaseSensorOperator,
    Param,
    chain,
    get_parsing_context,
)

from lotus_lake.airflow import maintenance
from lotus_lake.airflow.assets import model_asset
from lotus_lake.airflow.dbt import dbt_group, skip_when_consumed
from lotus_lake.airflow.sensors import NewFilesSensor, SyncEndedSensor
from lotus_lake.airflow.tasks import feeder, publish_domain, publish_stream, reconcile_stream
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.errors import StreamConfigError
from lotus_lake.project.manifest import (
    Model,
    enriched_domains,
    ensure_manifest,
    group_manifest,
    inputs_of,
    load_models,
    processed_models,
)
from lotus_lake.repair import reconcile
from lotus_lake.upkeep.compaction import BUDGET_SECONDS
from lotus_lake.upkeep.orphans import MAX_SHARE

START_DATE = datetime(2024, 1, 1, tzinfo=UTC)
ENRICHED_PREFIX = "enriched__"
MAINTENANCE_DAG_ID = "lake_maintenance"
RECONCILE_DAG_ID = "lake_reconcile"


def stream_dags() -> Iterator[DAG]:
    """One Dag per selected stream; a task's process builds only the Dag it needs."""
    settings, wanted = Settings.from_env(), get_parsing_context().dag_id
    streams = load_streams(settings.streams_dir, wanted)[0]
    manifest = ensure_manifest(settings.project_dir) if streams else Path()
    for stream in streams:
        yield stream_dag(settings, stream, group_manifest(manifest, "processed", stream.id))


def check_streams() -> None:
    """Raise what is wrong with stream JSONs, so that it becomes an import error of its own.

    Raises:
        StreamConfigError: Names every broken file, with what is wrong in it.
    """
    _, errors = load_streams(Settings.from_env().streams_dir)
    if errors:
        raise StreamConfigError("\n".join(str(error) for error in errors))


def stream_dag(settings: Settings, stream: Stream, manifest: Path) -> DAG:
    """wait_for_files -> feeder -> processed -> publish."""
    models = processed_models(load_models(manifest), stream.id)
    options, consumers = stream.feeder, [model.name for model in models]
    poke_interval_seconds = options.poke_interval_seconds or settings.poke_interval_seconds
    with DAG(
        dag_id=stream.id,
        description=f"Feeds {stream.source}/{stream.name} into the lake",
        doc_md=_stream_doc(settings, stream, models),
        schedule=options.schedule,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["stream", stream.source],
        default_args=_default_args(options.retries),
        params={
            "wait_seconds": Param(
                None,
                type=["null", "integer"],
                minimum=0,
                title="Wait for files (seconds)",
                description="Empty: a run started by hand looks once, a scheduled one waits "
                f"up to {options.timeout_seconds:.0f} s.",
            )
        },
    ) as dag:
        wait = NewFilesSensor(
            task_id="wait_for_files",
            source=stream.source,
            stream=stream.name,
            consumers=consumers,
            bucket_key=f"{settings.raw_uri}/{stream.source}/{stream.name}/*",
            poke_interval=poke_interval_seconds,
            timeout=options.timeout_seconds,
            deferrable=options.deferrable,
        )
        state = feeder(stream.source, stream.name, consumers)
        waits: list[BaseSensorOperator] = [wait]
        if options.wait_for_sync:
            waits += [
                SyncEndedSensor(
                    task_id="wait_for_sync",
                    source=stream.source,
                    stream=stream.name,
                    poke_interval=poke_interval_seconds,
                    timeout=options.timeout_seconds,
                )
            ]
        chain(*waits, dag.task_dict["feeder.list"])
        if models:
            processed = dbt_group(
                "processed",
                f"tag:{stream.id}",
                manifest,
                settings.project_dir,
                [skip_when_consumed],
            )
            assets = [model_asset(model) for model in models]
            chain(state, processed, publish_stream(assets, stream.source, stream.name, state))
    return dag


def enriched_dags() -> Iterator[DAG]:
    """One Dag per folder below `models/enriched`, scheduled on whatever its models read."""
    settings, wanted = Settings.from_env(), get_parsing_context().dag_id
    manifest = ensure_manifest(settings.project_dir)
    models = load_models(manifest)
    for domain, domain_models in enriched_domains(models).items():
        if wanted in (None, f"{ENRICHED_PREFIX}{domain}"):
            inputs = [models[name] for name in inputs_of(domain_models)]
            own = group_manifest(manifest, "enriched", domain)
            yield enriched_dag(settings, domain, domain_models, inputs, own)


def enriched_dag(
    settings: Settings, domain: str, models: list[Model], inputs: list[Model], manifest: Path
) -> DAG:
    """Enriched -> publish, run when any input was updated."""
    with DAG(
        dag_id=f"{ENRICHED_PREFIX}{domain}",
        description=f"Builds the enriched models of {domain} when what they read has changed",
        doc_md=_enriched_doc(domain, models, inputs),
        schedule=AssetAny(*(model_asset(model) for model in inputs)),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["enriched", domain],
        default_args=_default_args(2),
    ) as dag:
        select = f"path:models/enriched/{domain}"
        group = dbt_group("enriched", select, manifest, settings.project_dir)
        group >> publish_domain([model_asset(model) for model in models], domain)
    return dag


def maintenance_dag() -> DAG:
    """Daily upkeep, one task at a time and behind everything else."""
    with DAG(
        dag_id=MAINTENANCE_DAG_ID,
        description="Expires snapshots, deletes retired files, compacts tables, reports sizes",
        doc_md=maintenance.__doc__,
        schedule="17 3 * * *",
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        max_active_tasks=1,
        tags=["maintenance"],
        default_args=_default_args(2) | {"priority_weight": 1, "weight_rule": "absolute"},
        params={
            "budget_minutes": Param(
                int(BUDGET_SECONDS / 60),
                type="integer",
                minimum=0,
                title="Budget of compaction (minutes)",
                description="No step is begun later; the next run goes on.",
            ),
            "orphan_share": Param(
                MAX_SHARE,
                type="number",
                minimum=0,
                maximum=1,
                title="Share of orphans",
                description="Refuse when more of all files are known to no table; 1 accepts all.",
            ),
        },
    ) as dag:
        deleted = maintenance.delete_files()
        work = [maintenance.compact_tables(), maintenance.find_orphans(), maintenance.statistics()]
        maintenance.expire_snapshots() >> deleted >> work >> maintenance.report()
    return dag


def reconcile_dag() -> DAG:
    """Daily: compare bucket, ledger and landing table of every stream as a whole."""
    settings = Settings.from_env()
    streams = load_streams(settings.streams_dir)[0]
    names = [{"source": stream.source, "stream": stream.name} for stream in streams]
    with DAG(
        dag_id=RECONCILE_DAG_ID,
        description="Lists every stream's whole prefix, lands what is missing, reports gaps",
        doc_md=reconcile.__doc__,
        schedule="43 2 * * *",
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["maintenance"],
        default_args=_default_args(2),
        params={
            "only": Param(
                "",
                type="string",
                enum=["", *(stream.id for stream in streams)],
                title="Stream",
                description="Empty for all.",
            ),
            "repair": Param(
                False,
                type="boolean",
                title="Repair",
                description="Take the rows of objects that are gone out of the landing tables, so "
                "that readers of the others work again.",
            ),
        },
    ) as dag:
        reconcile_stream.expand_kwargs(names)
    return dag


def _default_args(retries: int) -> dict[str, Any]:
    return {
        "owner": "lotus-lake",
        "retries": retries,
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=15),
    }


def _stream_doc(settings: Settings, stream: Stream, models: list[Model]) -> str:
    processed = "\n".join(f"* `lakehouse.main.{m.name}`: {m.description}" for m in models)
    return f"""\
### {stream.source} / {stream.name}

Waits for new Parquet files below `{settings.raw_uri}/{stream.source}/{stream.name}/`,
registers them into the landing table `lakehouse.staging.{stream.landing_table}` without copying
them, and brings the processed models up to date:

{processed or "* no model is tagged with this stream yet"}

Where it stands, and what became of each file:

```sql
SELECT * FROM lakehouse.meta.feeder_cursors
WHERE source = '{stream.source}' AND stream = '{stream.name}';
SELECT * FROM lakehouse.meta.feeder_files
WHERE source = '{stream.source}' AND stream = '{stream.name}' ORDER BY position;
```

Configured in `include/streams/{stream.source}/{stream.name}.json`. Files up to
{stream.feeder.lookback_days} days before the cursor are found however late they come; raw files
{stream.feeder.retention_days} days behind it are retired once every model has read them.
"""


def _enriched_doc(domain: str, models: list[Model], inputs: list[Model]) -> str:
    built = "\n".join(f"* `lakehouse.main.{model.name}`: {model.description}" for model in models)
    read = "\n".join(f"* `{model.name}`" for model in inputs)
    return f"### {domain}\n\nBuilds:\n\n{built}\n\nwhenever one of these was updated:\n\n{read}\n"
