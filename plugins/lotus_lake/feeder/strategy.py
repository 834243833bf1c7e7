"""Which strategy a stream follows: its files add up, or its generations replace each other."""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.append import Append
from lotus_lake.feeder.overwrite import Overwrite


def strategy_of(stream: Stream) -> Append:
    """The decisions that follow from `destination_sync_mode`."""
    return Overwrite(stream) if stream.overwrites else Append(stream)
