"""What is wrong with a deployment, and how to fix it.

Each check is one small function that returns a `Result`. All of them run, whatever the others find.
A check changes nothing, except that one writes a probe file below the data path and deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from pydantic import SecretStr

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import S3Access
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams
from lotus_lake.doctor import catalog, environment, flow, lake, machine, store
from lotus_lake.doctor.findings import Finding, finding_of, run, run_one, skip
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
    try:
        client = s3_client(settings.s3, attempts=2)
    except LotusLakeError as error:
        unusable = finding_of(store.bucket_is_listed, error)
        findings += [unusable, *skip(store.CHECKS, "the S3 access cannot be used")]
        settings = _without_s3(settings)
    else:
        with closing(client):
            findings += _examine_store(store.Store(settings, client, _streams(settings)))
    findings += run(catalog.CHECKS, settings)
    return findings + _examine_lake(settings)


_IN_THE_LAKE = (*catalog.POSTGRES, *lake.CHECKS, *flow.CHECKS)


def _examine_store(view: store.Store) -> list[Finding]:
    reachable = run_one(store.bucket_is_listed, view)
    if reachable.state == "problem":
        return [reachable, *skip(store.CHECKS, "the bucket cannot be listed")]
    return [reachable, *run(store.CHECKS, view)]


def _examine_lake(settings: Settings) -> list[Finding]:
    opened = run_one(catalog.catalog_opens, settings)
    if opened.state != "ok":
        return [opened, *skip(_IN_THE_LAKE, "the catalog cannot be opened")]
    streams = _streams(settings)
    with open_to_read(settings) as opened_lake:
        findings = [opened, *run(catalog.POSTGRES, opened_lake)]
        findings += run(lake.CHECKS, lake.View(opened_lake, streams))
        read = flow.View.of(opened_lake, streams, built_models(settings.project_dir))
        return findings + run(flow.CHECKS, read)


def _streams(settings: Settings) -> tuple[Stream, ...]:
    return tuple(load_streams(settings.streams_dir)[0])


def _without_s3(settings: Settings) -> Settings:
    """The same settings with keys that open nothing: some checks need no bucket."""
    nothing = S3Access(
        settings.s3.endpoint_url, access_key_id="none", secret_access_key=SecretStr("")
    )
    return replace(settings, s3=nothing)
