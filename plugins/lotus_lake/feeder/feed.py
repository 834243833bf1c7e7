"""`lotus-lake feed`: land everything that waits, batch after batch, without Airflow."""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.register import Registration, register_batch
from lotus_lake.lake.session import Lake


def land_all(lake: Lake, stream: Stream, run_id: str) -> Registration:
    """Register everything that waits, in as many commits as it takes."""
    total = Registration()
    while batches := plan_batches(lake, stream):
        for batch in batches:
            total += register_batch(lake, stream, batch, run_id)
    return total
