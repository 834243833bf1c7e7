"""Damaged files among good ones: whatever they do, each is settled and the good ones land."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import STAGING
from tests import children
from tests.damage import damaged_files
from tests.feeds import Feed, write_stream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_FILES = 40
_LANDED = ("registered", "copied", "empty")


def fuzz(
    settings: Settings, client: S3Client, seed: int, count: int
) -> tuple[Counter[str], list[str]]:
    """Feed damaged files, a stream for each chunk of them.

    Returns:
        What became of the files, by their events and `died` for a feeder that a file has killed;
        and what was wrong.
    """
    tally, wrongs = Counter[str](), list[str]()
    files = damaged_files(seed, count)
    for number in range(-(-count // CHUNK_FILES)):
        chunk = list(islice(files, CHUNK_FILES))
        stream = write_stream(settings.streams_dir, f"damaged_{seed}_{number}")
        feed = Feed(settings, stream, client)
        found = _feed(feed, chunk, tally)
        wrongs += [f"seed {seed}, stream {stream.name}: {wrong}" for wrong in found]
    return tally, wrongs


def _feed(feed: Feed, files: Sequence[tuple[str, bytes]], tally: Counter[str]) -> list[str]:
    for name, data in files:
        feed.put_bytes(name, data)
        if name[3] == "5":
            feed.put(f"{name}_good.parquet")
    if (code := children.run(children.feed_as_a_task, feed.settings, feed.stream, "run")) < 0:
        tally["died"] += 1  # the next run leaves the files of that batch to child processes
        code = children.run(children.feed_as_a_task, feed.settings, feed.stream, "again")
    wrongs = [f"the run ends with {code}"] if code else []
    with open_lake(feed.settings) as lake:
        errors = feed.errors(lake)
        for key, (event,) in feed.events(lake).items():
            tally[event] += 1
            good = key in feed.sent
            if event == "quarantined" and (good or not errors.get(key)):
                wrongs.append(f"{key} is quarantined: {errors.get(key)}")
            elif event not in (*_LANDED, "quarantined"):
                wrongs.append(f"{key} is {event}")
        lake.rows(f"SELECT count(hash(t)) FROM {STAGING}.{feed.stream.landing_table} AS t")
        missing = feed.rows_of(feed.sent) - feed.landed(lake)
        wrongs += [f"{len(missing)} rows of good files are missing"] if missing else []
    return wrongs
