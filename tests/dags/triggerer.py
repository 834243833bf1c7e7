"""The part of Airflow's triggerer that runs triggers, without its database.

As a program it runs a trigger, says when it has fired, and stores nothing, until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseTrigger

FIRED = "the trigger has fired\n"
_HIDDEN_SECONDS = 5
_numbers = itertools.count()


@dataclass
class Triggerer:
    """The part of Airflow's triggerer that runs triggers; its database is `stored`.

    Attributes:
        stores: Whether events are stored at once.
    """

    stores: bool = True
    runner: TriggerRunner = field(default_factory=TriggerRunner)
    stored: dict[int, Any] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def start(self, trigger: BaseTrigger) -> int:
        """Start a trigger; returns its id."""
        number = next(_numbers)
        self.runner.triggers[number] = {"name": str(number), "events": 0}  # type: ignore[typeddict-item]
        self.tasks[number] = asyncio.create_task(self.runner.run_trigger(number, trigger))
        return number

    async def event(self, number: int) -> Any:
        """Wait for the event of a trigger; returns it."""
        while number not in self.stored:
            if self.tasks[number].done():
                self.tasks[number].result()
            await asyncio.sleep(0.01)
        return self.stored[number]

    async def store_all(self) -> None:
        """Store what triggers fire, as long as `stores`."""
        while True:
            if self.stores:
                self.store()
            await asyncio.sleep(0.01)

    def store(self) -> None:
        """Store the events that triggers have fired, and confirm it."""
        while self.runner.events:
            entry = self.runner.events.popleft()
            self.stored[entry.trigger_id] = entry.event.payload
            if entry.persist_seq is not None:
                self.runner._shared_streams.confirm_persisted([entry.persist_seq])

    async def stop(self) -> None:
        """End all triggers; those that have fired end by themselves."""
        for number, task in self.tasks.items():
            if number not in self.stored:
                task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@contextlib.asynccontextmanager
async def a_triggerer(**options: Any) -> AsyncIterator[Triggerer]:
    triggerer = Triggerer(**options)
    storing = asyncio.create_task(triggerer.store_all())
    try:
        yield triggerer
    finally:
        storing.cancel()
        await triggerer.stop()


async def until(true: Any) -> None:
    """Wait until something comes true; pytest has the limit."""
    while not await asyncio.to_thread(true):
        await asyncio.sleep(0.02)


async def run_until_killed(trigger: BaseTrigger) -> None:
    """Run a trigger, and never store what it fires."""
    async with a_triggerer(stores=False) as triggerer:
        triggerer.start(trigger)
        await until(lambda: triggerer.runner.events)
        sys.stdout.write(FIRED)
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    from lotus_lake.airflow import bucket_events

    bucket_events._HIDDEN_SECONDS = _HIDDEN_SECONDS
    asyncio.run(run_until_killed(import_string(sys.argv[1])(**json.loads(sys.argv[2]))))
