"""Skipping builds that would change nothing gives the same tables as building every time."""

from __future__ import annotations

import random
from collections import Counter

from lotus_lake.lake.connection import open_lake
from lotus_lake.ledger.builds import why_build
from lotus_lake.project.fingerprints import fingerprint
from lotus_lake.project.manifest import ensure_manifest, load_models
from samples import History
from tests.pipeline.driver import PROJECT, Pipeline

# Each after what it reads.
ENRICHED = ("fct_sales", "fct_campaign_touches", "fct_campaign_performance")
STEPS = 6


def build_changed(pipeline: Pipeline) -> list[str]:
    """What the Dags of the domains do; returns the models that were built."""
    manifest = ensure_manifest(PROJECT)
    models, built = load_models(manifest), []
    for name in ENRICHED:
        found = fingerprint(manifest, name)
        assert found is not None
        with open_lake(pipeline.settings) as lake:
            reason = why_build(lake, name, models[name].parents, found)
        if reason:
            pipeline.dbt("run", name, LAKE_FINGERPRINT=found)
            built.append(name)
    return built


def test_skipping_gives_the_tables_that_building_gives(
    pipeline: Pipeline, history: History
) -> None:
    dice = random.Random(4)
    streams = sorted({f"{file.source}__{file.stream}" for file in history.files})
    waiting = {
        stream: [file for file in history.files if f"{file.source}__{file.stream}" == stream]
        for stream in streams
    }
    built: Counter[str] = Counter()
    for step in range(STEPS):
        # All streams at first, then a few; late and repeated files come in any order.
        chosen = streams if step == 0 else dice.sample(streams, dice.choice([1, 1, 2]))
        for stream in chosen:
            dice.shuffle(waiting[stream])
            half = waiting[stream][: len(waiting[stream]) // 2 + 1]
            waiting[stream] = waiting[stream][len(half) :]
            if half:
                pipeline.drop(half)
        pipeline.feed(*chosen)
        pipeline.dbt("run", *(f"int_{stream}" for stream in chosen))
        built.update(build_changed(pipeline))
        assert pipeline.wrong_tables(history, ENRICHED) == {}
        assert build_changed(pipeline) == []
    assert all(built[name] < STEPS for name in ENRICHED)
    assert built.total() > len(ENRICHED)
