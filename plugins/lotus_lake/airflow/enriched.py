"""One Dag per folder of `models/enriched`: it runs when any of its inputs is updated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from airflow.sdk import DAG, Asset, AssetAny, Param
from airflow.sdk.exceptions import AirflowSkipException

from lotus_lake.airflow.assets import PUBLISH_DOC, is_published, model_asset, update_assets
from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.dbt import FORCE, dbt_group, skip_unless_needed
from lotus_lake.airflow.tasks import Built, build_each, lake_dag, lake_task, raise_errors
from lotus_lake.config.settings import Settings
from lotus_lake.errors import DbtProjectError, PermanentError
from lotus_lake.lake.connection import open_to_read
from lotus_lake.ledger.builds import built_snapshots
from lotus_lake.project.domains import domain_problems, enriched_domains, inputs_of
from lotus_lake.project.manifest import (
    Manifest,
    Model,
    dbt_project_dir,
    ensure_manifest,
    group_manifest,
    last_good_manifest,
    load_models,
)

DAG_ID_PREFIX = "enriched__"


def enriched_dags() -> dict[str, DAG]:
    """The Dag of each enriched domain, by id."""
    return build_domains().dags


def build_domains() -> Built:
    """Build the Dag of each enriched domain; none without a manifest."""
    settings = Settings.from_env()
    dbt = last_good_manifest(settings.project_dir)
    if dbt is None:
        return Built({}, [])
    folder = dbt_project_dir(settings.project_dir) / "models" / "enriched"
    return build_each(
        {
            f"{DAG_ID_PREFIX}{domain}": (
                folder / domain,
                partial(enriched_dag, domain, dbt),
            )
            for domain in enriched_domains(load_models(dbt.file))
        }
    )


def check_models() -> None:
    """Raise what keeps dbt from parsing its project, and domains from having a Dag.

    Raises:
        LotusLakeError: Names the files, with what is wrong in them.
    """
    try:
        ensure_manifest(Settings.from_env().project_dir)
    except DbtProjectError as error:
        raise_errors([str(error), *build_domains().errors])
    raise_errors(build_domains().errors)


def enriched_dag(domain: str, dbt: Manifest) -> DAG:
    """The Dag of a domain: enriched -> publish.

    Args:
        domain: Folder below `models/enriched`.
        dbt: Manifest of the whole dbt project.
    """
    all_models = load_models(dbt.file)
    if problem := domain_problems(all_models).get(domain):
        raise PermanentError(problem, hint="lotus-lake validate")
    models = enriched_domains(all_models)[domain]
    inputs = [all_models[name] for name in inputs_of(models)]
    with lake_dag(
        f"{DAG_ID_PREFIX}{domain}",
        description=f"Builds the enriched models of {domain} when any of their inputs is updated",
        doc_md=_doc(domain, models, inputs),
        schedule=AssetAny(*(model_asset(model) for model in inputs)),
        tags=["enriched", domain],
        params={FORCE: Param(False, type="boolean", title="Build what has not changed, too")},
    ) as dag:
        group = dbt_group(
            "enriched",
            f"path:models/enriched/{domain}",
            models,
            group_manifest(dbt.file, "enriched", domain),
            dbt.dbt_dir,
            [
                partial(
                    skip_unless_needed,
                    [model.name for model in inputs],
                    {model.name: model for model in models},
                    dbt.file,
                ),
            ],
            # A model may have to be built after one that is skipped.
            trigger_rule="none_failed",
        )
        group >> _publish([model_asset(model) for model in models], domain)
    return dag


def _publish(assets: Sequence[Asset], domain: str) -> Any:
    """Last task of a run; says which updates triggered it, if any did."""

    @lake_task(PUBLISH_DOC, outlets=[*assets], trigger_rule="none_failed")
    def publish(*, outlet_events: Any = None, triggering_asset_events: Any = None) -> None:
        names = [asset.name for asset in assets]
        with open_to_read(lake_settings()) as lake:
            built = built_snapshots(lake, names)
        if all(is_published([name], built.get(name, -1)) for name in names):
            raise AirflowSkipException("no model was built since its asset was updated")
        triggered_by = sorted(asset.name for asset in triggering_asset_events or {})
        for asset in assets:
            extra: dict[str, Any] = {"domain": domain, "triggered_by": triggered_by}
            if asset.name in built:
                extra["snapshot_id"] = built[asset.name]
            update_assets([asset], outlet_events, extra)

    return publish()


def _doc(domain: str, models: Sequence[Model], inputs: Sequence[Model]) -> str:
    built = "\n".join(f"* `lakehouse.main.{model.name}`: {model.description}" for model in models)
    read = "\n".join(f"* `{model.name}`" for model in inputs)
    return f"### {domain}\n\nBuilds:\n\n{built}\n\nwhen any of these is updated:\n\n{read}\n"
