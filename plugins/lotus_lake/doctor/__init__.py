"""What is wrong with a deployment, and how to fix it.

Every known trap is one small function that looks and returns a `Result`. All of them run, whatever
the others find. A check changes nothing, except for a probe file of its own below the data path.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from lotus_lake.doctor import catalog, environment, flow, lake, machine, store
from lotus_lake.doctor.findings import Finding, run, run_one, skip
from lotus_lake.errors import LotusLakeError
from lotus_lake.lake.connection import open_to_read
from lotus_lake.project.manifest import built_models


def examine(env: Mapping[str, str]) -> list[Finding]:
    """Run every check on the deployment that these variables describe."""
    findings = run(environment.CHECKS, env)
    try:
        settings = Settings.from_env(env)
    except LotusLakeError:
        checks = (*machine.CHECKS, *store.ALL, *catalog.CHECKS, *catalog.OPEN, *_IN_THE_LAKE)
        return [*findings, *skip(checks, "the settings are not valid")]
    findings += run(machine.CHECKS, settings)
    findings += _examine_store(settings)
    findings += run(catalog.CHECKS, settings)
    return findings + _examine_lake(settings)


_IN_THE_LAKE = (*catalog.POSTGRES, *lake.CHECKS, *flow.CHECKS)


def _examine_store(settings: Settings) -> list[Finding]:
    with closing(s3_client(settings.s3)) as client:
        view = store.Store(settings, client, tuple(load_streams(settings.streams_dir)[0]))
        reachable = run_one(store.bucket_is_listed, view)
        if reachable.state == "problem":
            return [reachable, *skip(store.CHECKS, "the bucket cannot be listed")]
        return [reachable, *run(store.CHECKS, view)]


def _examine_lake(settings: Settings) -> list[Finding]:
    opened = run_one(catalog.catalog_opens, settings)
    if opened.state != "ok":
        return [opened, *skip(_IN_THE_LAKE, "the catalog cannot be opened")]
    streams = tuple(load_streams(settings.streams_dir)[0])
    with open_to_read(settings) as opened_lake:
        findings = [opened, *run(catalog.POSTGRES, opened_lake)]
        findings += run(lake.CHECKS, lake.View(opened_lake, streams))
        read = flow.View.of(opened_lake, streams, built_models(settings.project_dir))
        return findings + run(flow.CHECKS, read)
