"""One Dag per stream: wait_for_files -> feeder -> processed -> publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from airflow.sdk import DAG, Asset, BaseSensorOperator, Param, chain

from lotus_lake.airflow.assets import PUBLISH_DOC, model_asset, update_assets
from lotus_lake.airflow.dbt import dbt_group, skip_when_published
from lotus_lake.airflow.feeder import feeder
from lotus_lake.airflow.sensors import NewFilesSensor, SyncEndedSensor
from lotus_lake.airflow.tasks import (
    Built,
    build_each,
    lake_dag,
    lake_task,
    open_stream,
    wanted_dag_id,
)
from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.ledger.watermarks import files_read
from lotus_lake.project.manifest import (
    Manifest,
    Model,
    group_manifest,
    last_good_manifest,
    load_models,
    processed_models,
)

# How long a run waits for files if events tell of them, unless its stream says.
EVENTS_WAIT_SECONDS = 6 * 3600.0


def stream_dags() -> dict[str, DAG]:
    """The Dag of each selected stream, by id."""
    return build_streams().dags


def build_streams() -> Built:
    """Build the Dag of each selected stream.

    Parsing touches local files only: stream JSONs and the dbt manifest.
    """
    settings = Settings.from_env()
    streams = load_streams(settings.streams_dir, wanted_dag_id())[0]
    dbt = last_good_manifest(settings.project_dir) if streams else None
    return build_each(
        {
            stream.id: (
                settings.streams_dir / stream.source / f"{stream.name}.json",
                partial(stream_dag, settings, stream, dbt),
            )
            for stream in streams
        }
    )


def stream_dag(settings: Settings, stream: Stream, dbt: Manifest | None) -> DAG:
    """The Dag of a stream.

    Args:
        settings: Of the lake.
        stream: The stream.
        dbt: Manifest of the whole dbt project; without one the Dag feeds and builds no model.
    """
    manifest = group_manifest(dbt.file, "processed", stream.id) if dbt else None
    models = processed_models(load_models(manifest), stream.id) if manifest else []
    consumers = [model.name for model in models]
    with lake_dag(
        stream.id,
        description=f"Feeds {stream.source}/{stream.name} into the lake",
        doc_md=_doc(settings, stream, models),
        schedule=stream.feeder.schedule,
        tags=["stream", stream.source],
        retries=stream.feeder.retries,
        has_long_tasks=False,
        params=_params(_wait_seconds(settings, stream)),
    ) as dag:
        waits = _sensors(settings, stream, consumers)
        state = feeder(stream.source, stream.name, consumers, bool(dbt and dbt.is_current))
        chain(*waits, dag.task_dict["feeder.list"])
        if dbt and manifest and models:
            processed = dbt_group(
                "processed",
                f"tag:{stream.id}",
                models,
                manifest,
                dbt.dbt_dir,
                [partial(skip_when_published, consumers)],
            )
            assets = [model_asset(model) for model in models]
            chain(state, processed, _publish(assets, stream.source, stream.name, state))
    return dag


def _sensors(
    settings: Settings, stream: Stream, consumers: Sequence[str]
) -> list[BaseSensorOperator]:
    options = stream.feeder
    place = settings.uri(layout_of(settings, stream).prefix)
    waiting: dict[str, Any] = {
        "source": stream.source,
        "stream": stream.name,
        "poke_interval": options.poke_interval_seconds or settings.poke_interval_seconds,
        "timeout": options.timeout_seconds,
    }
    sensors: list[BaseSensorOperator] = [
        NewFilesSensor(
            task_id="wait_for_files",
            doc_md=f"Waits for files below `{place}` that the ledger does not know. Files that "
            "are queued already, and landed rows that a model has not read, count as work too.\n\n"
            f"What the next run would do: `lotus-lake plan {stream.source} {stream.name}`.",
            consumers=consumers,
            bucket_key=f"{place}*",
            deferrable=options.deferrable,
            **{**waiting, "timeout": _wait_seconds(settings, stream)},
        )
    ]
    if options.wait_for_sync:
        sensors += [
            SyncEndedSensor(
                task_id="wait_for_sync",
                doc_md="Waits until no Airbyte job is writing files of the stream, so that only "
                "complete syncs land.\n\nA job and what of it has landed: `lotus-lake job JOB_ID`.",
                **waiting,
            )
        ]
    return sensors


def _wait_seconds(settings: Settings, stream: Stream) -> float:
    """How long a scheduled run waits for files.

    Each run looks at the bucket when it begins: with events these would be most of the listings.
    """
    options = stream.feeder
    is_set = "timeout_seconds" in options.model_fields_set
    if settings.events_queue and options.deferrable and not is_set:
        return EVENTS_WAIT_SECONDS
    return options.timeout_seconds


def _publish(assets: Sequence[Asset], source: str, stream: str, state: Any) -> Any:
    """Last task of a run; it is skipped, or not reached, with the models above it."""

    @lake_task(PUBLISH_DOC, outlets=[*assets])
    def publish(state: dict[str, Any], *, outlet_events: Any = None) -> None:
        models = [asset.name for asset in assets]
        with open_stream(source, stream) as (lake, config):
            read = files_read(lake, config, models, after=state["processed_snapshot_id"])
        update_assets(assets, outlet_events, {"stream": config.id, **asdict(read)})

    return publish(state)


def _params(wait_seconds: float) -> dict[str, Param]:
    return {
        "wait_seconds": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Wait for files (seconds)",
            description="If empty, a run started by hand polls once and a scheduled run waits up "
            f"to {wait_seconds:.0f} s.",
        )
    }


def _doc(settings: Settings, stream: Stream, models: Sequence[Model]) -> str:
    processed = "\n".join(f"* `lakehouse.main.{m.name}`: {m.description}" for m in models)
    return f"""\
### {stream.source} / {stream.name}

Waits for new Parquet files below `{settings.raw_uri}/{stream.source}/{stream.name}/`,
registers them in the landing table `lakehouse.staging.{stream.landing_table}` without copying
them, and brings the processed models up to date:

{processed or "* no model is tagged with this stream yet"}

Where the stream stands, and what became of each file:

```sql
SELECT * FROM lakehouse.meta.feeder_cursors
WHERE source = '{stream.source}' AND stream = '{stream.name}';
SELECT * FROM lakehouse.meta.feeder_files
WHERE source = '{stream.source}' AND stream = '{stream.name}' ORDER BY position;
```

Configured in `include/streams/{stream.source}/{stream.name}.json`. Files dated up to
{stream.feeder.lookback_days} days before the cursor are found however late they arrive. Raw files
{stream.feeder.retention_days} days behind it are retired once every model has read them.
"""
