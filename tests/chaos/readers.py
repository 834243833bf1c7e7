"""Readers: look at the tables all the time while others write them and die.

Every look is one transaction, that is, one snapshot. At each of them, at any moment:

* a row is at most once in a landing table, and the amounts of all rows add up;
* the landing table holds as many rows as the ledger says have landed and are not retired;
* each key is once in a processed table, the rows of a group are all of one version, and neither
  key nor version ever goes back, except that a change log deletes groups;
* each record has one current version in a history.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

import duckdb

from lotus_lake.config.settings import Settings
from lotus_lake.errors import CatalogUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.ledger.events import LANDED
from lotus_lake.ledger.watermarks import watermarks
from tests.chaos.workload import GROUP_ROWS, GROUP_SUM, SUBJECTS, Subject

_LOOKS_PER_CONNECTION = 25
# The others need the processor too.
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Board:
    """What readers tell the others, in shared memory."""

    cells: SynchronizedArray[int]

    SNAPSHOT, WATERMARK, LOOKS, INTERRUPTED = range(4)

    def get(self, cell: int) -> int:
        return self.cells[cell]

    def set(self, cell: int, value: int) -> None:
        self.cells[cell] = value

    def count(self, cell: int) -> None:
        self.cells[cell] += 1


@dataclass
class Reader:
    """What one reader has seen so far."""

    newest: dict[tuple[str, int], Any] = field(default_factory=dict)

    def look(self, lake: Lake) -> tuple[int, int]:
        """Look at all tables at one snapshot; returns its id, and the lowest watermark.

        Raises:
            AssertionError: Something is wrong there.
        """
        lake.con.execute("BEGIN TRANSACTION")
        try:
            snapshot = int(lake.value(f"SELECT id FROM {LAKE}.current_snapshot()"))
            landed, processed = lake.tables("staging"), lake.tables("main")
            for subject in SUBJECTS:
                if f"stg_{subject.id}" in landed:
                    _look_at_landing(lake, subject)
                if subject.models and subject.models[0] in processed:
                    self._look_at_processed(lake, subject)
                if subject.has_log and subject.models[1] in processed:
                    _look_at_history(lake, subject)
            models = [model for subject in SUBJECTS for model in subject.models]
            return snapshot, min(watermarks(lake, models).values())
        finally:
            with suppress(duckdb.Error):
                lake.con.execute("ROLLBACK")

    def _look_at_processed(self, lake: Lake, subject: Subject) -> None:
        model = subject.models[0]
        rows = lake.rows(
            f"SELECT {subject.key}::BIGINT, {subject.order}, {subject.amount} "
            f"FROM {LAKE}.main.{model}"
        )
        found = {key: version for key, version, _ in rows}
        assert len(found) == len(rows), f"{model}: a key is there twice"
        groups: dict[int, list[tuple[Any, Any]]] = {}
        for key, version, amount in rows:
            groups.setdefault(key // GROUP_ROWS, []).append((version, amount))
        for group, members in groups.items():
            assert len(members) == GROUP_ROWS, f"{model}: group {group} is torn: {members}"
            assert len({version for version, _ in members}) == 1, f"{model}: {members}"
            assert sum(amount for _, amount in members) == GROUP_SUM, f"{model}: {members}"
        for (seen, key), version in self.newest.items():
            if seen == model:
                assert key in found or subject.has_log, f"{model}: key {key} has vanished"
                assert found.get(key, version) >= version, f"{model}: key {key} went back"
        self.newest |= {(model, key): version for key, version in found.items()}


def _look_at_history(lake: Lake, subject: Subject) -> None:
    history = subject.models[1]
    current, keys = lake.rows(
        f"SELECT count(*) FILTER (is_current), count(DISTINCT {subject.key}) "
        f"FROM {LAKE}.main.{history}"
    )[0]
    assert current == keys, f"{history}: {current} current versions of {keys} records"


def _look_at_landing(lake: Lake, subject: Subject) -> None:
    table = f"{STAGING}.stg_{subject.id}"
    count, distinct, total = lake.rows(
        f"SELECT count(*), count(DISTINCT _airbyte_raw_id), "
        f"coalesce(sum({subject.landed_amount}), 0) FROM {table}"
    )[0]
    assert count == distinct, f"{table}: {count} rows, {distinct} row ids"
    assert total * GROUP_ROWS == count * GROUP_SUM, f"{table}: {count} rows, amounts {total}"
    in_ledger = lake.value(
        f"SELECT coalesce(sum(row_count), 0) FROM {META}.feeder_files "
        "WHERE source = ? AND stream = ? AND event IN (SELECT unnest(?))",
        [subject.source, subject.name, list(LANDED)],
    )
    assert count == in_ledger, f"{table}: {count} rows, {in_ledger} in the ledger"


def read_all_the_time(
    environment: Mapping[str, str], board: Board, log: Path, restarts: bool
) -> None:
    """Child: look again and again, until killed; what is wrong goes to the log."""
    settings, reader = Settings.from_env(environment), Reader()
    sys.stderr = log.open("a", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # DuckDB's progress bar
    while os.getppid() != 1:
        try:
            with open_lake(settings, read_only=True) as lake:
                for _ in range(_LOOKS_PER_CONNECTION):
                    # The next look sees this snapshot or a later one.
                    snapshot, watermark = reader.look(lake)
                    board.set(Board.SNAPSHOT, snapshot)
                    board.set(Board.WATERMARK, watermark)
                    board.count(Board.LOOKS)
                    time.sleep(_PAUSE_SECONDS)
        except CatalogUnavailableError:
            if restarts:
                board.count(Board.INTERRUPTED)
            else:
                traceback.print_exc()
        except (duckdb.Error, AssertionError):
            traceback.print_exc()


def wrongs(logs: Sequence[Path]) -> list[str]:
    """What readers found wrong."""
    return [text for log in logs if log.exists() and (text := log.read_text().strip())]
