"""A bucket, a lake and a model of both in plain Python, with everything that can happen to them.

The model knows what every object holds and held. Which file landed when is read from DuckLake's
own metadata after each step, and taken down with what the object held at that moment: so the rows
that the landing table has to show follow from the model, and not from the ledger, which is checked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import duckdb

from lotus_lake.config.settings import Settings
from lotus_lake.feeder.batch import Batch, plan_batches
from lotus_lake.feeder.cleanup import retire_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import configure
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.events import LANDED, LANDED_SQL
from lotus_lake.repair import quarantine
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.repair.rewind import Point, plan_rewind, rewind
from lotus_lake.sql import identifier
from lotus_lake.upkeep.expiry import upkeep
from tests.children import Watched
from tests.feeds import DAY, Feed
from tests.property import processed
from tests.property.records import Content, Version, as_processed, newest

Identity = tuple[str, str]
METADATA = f"__ducklake_metadata_{LAKE}"
# A first pass makes tables; what has not come to rest after so many never will.
PASSES = 6


class CrashError(BaseException):
    """The process has died."""


@dataclass
class DataFile:
    """A data file of the landing table, as DuckLake knows it.

    Attributes:
        path: Where DuckLake reads it from.
        key: Key of the object that its rows come from.
        content: What that object held when the file was registered.
        is_copy: Whether it is a copy that the lake owns.
        begin: Snapshot in which it was registered.
        is_live: Whether the newest snapshot shows it.
    """

    path: str
    key: str
    content: Content
    is_copy: bool
    begin: int
    is_live: bool


@dataclass
class World:
    """One stream in one lake.

    Attributes:
        feed: The stream.
        con: DuckDB of the feeder.
        other: DuckDB of whoever works at the same time.
        bucket: What there is now.
        contents: What any version of an object held, by key and ETag.
        replaced: Keys whose object was replaced in place.
        dropped: Keys of which a version was dropped from quarantine.
        read: Rows that the processed model has read.
        planned: Batches of some earlier look at the queue.
        has_tables: Whether the lake has the tables of the stream.
        is_half_made: Whether a crash has left the row of NULLs in the landing table that only its
            making needs; the next run takes it out, and the Dag has run no model meanwhile.
        is_checked: Whether nobody has worked on the lake since the last check.
    """

    feed: Feed
    con: duckdb.DuckDBPyConnection
    other: duckdb.DuckDBPyConnection
    bucket: dict[str, Content] = field(default_factory=dict)
    contents: dict[Identity, Content] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    files: dict[int, DataFile] = field(default_factory=dict)
    read: set[Version] = field(default_factory=set)
    planned: list[Batch] = field(default_factory=list)
    has_tables: bool = False
    is_half_made: bool = False
    is_checked: bool = True

    @property
    def lake(self) -> Lake:
        return self.open(self.con)

    @property
    def policy(self) -> str:
        return self.feed.stream.feeder.on_overwrite

    def open(self, con: duckdb.DuckDBPyConnection, *hooks: Callable[[str], None]) -> Lake:
        """The lake in a DuckDB that, as a new process, has cached nothing of the bucket."""

        def hook(statement: str) -> None:
            if "parquet" in statement or "data_files" in statement:
                con.execute("SET enable_http_metadata_cache = false")
            for each in hooks:
                each(statement)

        self.is_checked = False
        return Lake(Watched(con, hook), self.feed.settings)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def attached(self) -> Iterator[World]:
        """With the lake attached in both DuckDBs."""
        cons = (self.con, self.other)
        for con in cons:
            configure(con, self.feed.settings)
            con.execute("SET enable_external_file_cache = false; SET http_retries = 0")
        try:
            yield self
        finally:
            for con in cons:
                with contextlib.suppress(duckdb.TransactionException):
                    con.execute("ROLLBACK")
                con.execute(f"USE memory; DETACH {LAKE}")

    # What happens in the bucket

    def put(self, name: str, day: int, content: Content) -> None:
        """Put or replace the object of a name and a day."""
        self.put_key(self.feed.key(name, DAY + timedelta(days=day)), content)

    def put_key(self, key: str, content: Content) -> None:
        """Put or replace an object."""
        if key in self.etags and self.contents[key, self.etags[key]].data != content.data:
            self.replaced.add(key)
        answer = self.feed.client.put_object(
            Bucket=self.feed.settings.bucket, Key=key, Body=content.data
        )
        self.bucket[key] = content
        self.etags[key] = answer["ETag"].strip('"')
        self.contents[key, self.etags[key]] = content

    def delete(self, key: str) -> None:
        """Delete an object behind the lake's back."""
        self.feed.client.delete_object(Bucket=self.feed.settings.bucket, Key=key)
        del self.bucket[key]

    # What the lake does

    def list(self, lake: Lake) -> None:
        self.feed.list_files(lake)

    def plan(self, lake: Lake) -> None:
        """Cut the queue into batches that may be old when they are registered."""
        if self.is_fed(lake):
            self.planned = plan_batches(lake, self.feed.stream)

    def register(self, lake: Lake) -> None:
        """Register the first batch that was planned some time ago."""
        if self.planned:
            register_batch(lake, self.feed.stream, self.planned.pop(0), "behind")

    def run(self, lake: Lake) -> None:
        self.feed.run(lake)

    def reconcile(self, lake: Lake) -> None:
        reconcile(lake, self.feed.stream, self.feed.client, "reconcile")

    def repair(self, lake: Lake) -> None:
        reconcile(lake, self.feed.stream, self.feed.client, "repair", repair=True)

    def rewind(self, lake: Lake, point: Point | None = None, *, again: bool = True) -> None:
        if not self.is_fed(lake):
            return
        stream, client = self.feed.stream, self.feed.client if again else None
        plan = plan_rewind(lake, stream, point or Point(), [processed.model(stream)])
        rewind(lake, stream, plan, "rewind", client)

    def retry(self, lake: Lake) -> int:
        return quarantine.retry(lake, self.feed.stream, [], "retry") if self.is_fed(lake) else 0

    def drop(self, lake: Lake) -> None:
        """Decide that the file that is in quarantine for the longest time does not land."""
        stream = self.feed.stream
        if waiting := quarantine.list_quarantined(lake, stream.source, stream.name):
            self.dropped.add(waiting[0].key)
            quarantine.drop(lake, stream, [waiting[0].key], "drop")

    def retire(self, lake: Lake) -> None:
        if not self.is_fed(lake):
            return
        try:
            retire_files(lake, self.feed.stream, [processed.model(self.feed.stream)], "retire")
        except duckdb.Error:
            # DuckLake opens what it takes out of a table.
            if not self.unreadable(0):
                raise

    def upkeep(self, lake: Lake) -> None:
        """Upkeep, after some days in which nothing happened."""
        days = 4
        for table, column in (
            ("ducklake_snapshot", "snapshot_time"),
            ("ducklake_files_scheduled_for_deletion", "schedule_start"),
        ):
            lake.con.execute(
                f"UPDATE {METADATA}.{table} SET {column} = "
                f"{column}::TIMESTAMPTZ - INTERVAL {days} DAY"
            )
        upkeep(lake)

    def process(self, lake: Lake) -> None:
        """One run of the processed model, unless it would meet objects that are not what landed."""
        if not self.is_fed(lake):
            return
        self.look(lake)
        mark = processed.watermark(lake, self.feed.stream)
        if not self.unreadable(mark) and not self.is_half_made:
            processed.process(lake, self.feed.stream)
            self._note_read(lake)

    # What has to be true

    def look(self, lake: Lake) -> None:
        """Take down what DuckLake has registered since."""
        found = lake.rows(
            "SELECT file.data_file_id, file.path, file.begin_snapshot, file.end_snapshot IS NULL, "
            "file.path_is_relative "
            f"FROM {METADATA}.ducklake_data_file AS file "
            f"JOIN {METADATA}.ducklake_table AS landing USING (table_id) "
            "WHERE landing.table_name = ?",
            [self.feed.stream.landing_table],
        )
        self.is_half_made = any(is_live and is_own for *_, is_live, is_own in found)
        known = [row[:-1] for row in found if not row[-1]]
        root = lake.settings.uri("")
        for number, path, begin, is_live in known:
            if number in self.files:
                self.files[number].is_live = is_live
                continue
            is_copy = not path.startswith(root)
            key = self._copied_from(lake, path) if is_copy else path.removeprefix(root)
            self.files[number] = DataFile(path, key, self.bucket[key], is_copy, begin, is_live)
        for number in self.files.keys() - {row[0] for row in known}:
            del self.files[number]

    def _copied_from(self, lake: Lake, path: str) -> str:
        return str(
            lake.value(f"SELECT max(key) FROM {META}.file_events WHERE data_file = ?", [path])
        )

    def unreadable(self, mark: int, *, live: bool = False) -> list[DataFile]:
        """Data files after a snapshot whose object is not, or no longer, what landed."""
        return [
            file
            for file in self.files.values()
            if not file.is_copy
            and file.begin > mark
            and (file.is_live or not live)
            and self.bucket.get(file.key) != file.content
        ]

    def is_fed(self, lake: Lake) -> bool:
        """Whether the lake has all tables of the stream; a crash can leave it without the last."""
        self.has_tables = self.has_tables or self.feed.stream.landing_table in lake.tables(
            "staging"
        )
        return self.has_tables

    def check(self) -> None:
        """What holds at any moment, whatever happened before."""
        if self.is_checked:
            return
        lake = self.lake
        if not self.is_fed(lake):
            return
        self.is_checked = True
        self.look(lake)
        self._sync_bucket(lake)
        self._check_registrations(lake)
        self._check_landing(lake)
        self._check_processed(lake)

    def _sync_bucket(self, lake: Lake) -> None:
        """What the lake itself has deleted was retired, and nothing else has gone."""
        if gone := self.bucket.keys() - self.feed.objects():
            events = self.events(lake)
            for key in gone:
                assert events[key, self.etags[key]] == "retired", f"{key} was deleted"
                del self.bucket[key]

    def _check_registrations(self, lake: Lake) -> None:
        paths = Counter(file.path for file in self.files.values() if file.is_live)
        assert max(paths.values(), default=1) == 1, f"registered twice: {paths}"
        keys = Counter(file.key for file in self.files.values() if file.is_live)
        assert max(keys.values(), default=1) == 1, f"landed twice: {keys}"
        landed = lake.rows(
            f"SELECT data_file, count(*) FROM {META}.feeder_files WHERE event IN {LANDED_SQL} "
            "GROUP BY data_file HAVING count(*) > 1"
        )
        assert landed == [], "one data file, two files of the ledger"

    def _check_landing(self, lake: Lake) -> None:
        if self.unreadable(0, live=True):
            return
        expected = Counter(
            version.raw_id
            for file in self.files.values()
            if file.is_live
            for version in file.content.versions
        )
        assert max(expected.values(), default=1) == 1, f"rows that landed twice: {expected}"
        landed = self.feed.landed(lake)
        if self.is_half_made:
            del landed[None]  # type: ignore[arg-type]
        assert landed == expected
        self._check_rescued(lake)

    def _check_rescued(self, lake: Lake) -> None:
        """What no column could take is there beside the row that it came with."""
        table = identifier(LAKE, "staging", self.feed.stream.landing_table)
        rescued = f"SELECT _airbyte_raw_id, unnest(_lake_rescued).value FROM {table}"
        assert dict(lake.rows(rescued)) == {
            version.raw_id: json.dumps(version.row()["amount"])
            for file in self.files.values()
            if file.is_live
            for version in file.content.versions
            if version.is_rescued
        }

    def _check_processed(self, lake: Lake) -> None:
        """The model has read all rows up to its watermark, and nothing else."""
        self._note_read(lake)
        assert processed.rows(lake, self.feed.stream) == as_processed(newest(self.read))

    def _note_read(self, lake: Lake) -> None:
        mark = processed.watermark(lake, self.feed.stream)
        for file in self.files.values():
            if file.is_live and file.begin <= mark:
                self.read.update(file.content.versions)

    def landed_keys(self) -> list[str]:
        """Keys that the ledger holds to be landed, in order."""
        lake = self.lake
        events = self.events(lake) if self.is_fed(lake) else {}
        return sorted({key for (key, _), event in events.items() if event in LANDED})

    def events(self, lake: Lake) -> dict[Identity, str]:
        """Latest event of every file of the ledger."""
        rows = lake.rows(f"SELECT key, etag, event FROM {META}.feeder_files")
        events = {(key, etag): event for key, etag, event in rows}
        assert len(events) == len(rows)
        return events

    # The end

    def come_to_rest(self) -> None:
        """Reconcile, feed and process until nothing is left to do."""
        for _ in range(PASSES):
            before = self.feed.guard(self.lake) if self.is_fed(self.lake) else None
            self.repair(self.lake)
            self.process(self.lake)
            self.check()
            if self.feed.guard(self.lake) == before:
                return
        raise AssertionError(f"does not come to rest: {self.events(self.lake)}")

    def check_end(self) -> None:
        """Nothing is lost: every object landed, or the ledger has a good reason why not."""
        lake = self.lake
        events = self.events(lake)
        wrong = {}
        for key, content in self.bucket.items():
            event = events.get((key, self.etags[key]), "unknown")
            if event not in self._allowed(key, content):
                wrong[key] = event, self.feed.errors(lake).get(key)
        assert wrong == {}, "objects that should have landed"
        for (key, etag), event in events.items():
            if event == "registered" and self.policy != "ignore" and key not in self.dropped:
                assert key in self.bucket
                assert self.etags[key] == etag, f"{key} has landed, and is another one"
        live = Counter(file.key for file in self.files.values() if file.is_live)
        assert live == Counter(key for (key, _), event in events.items() if event in LANDED)
        unread = {
            version
            for file in self.files.values()
            if file.is_live
            for version in file.content.versions
        } - self.read
        assert unread == set() or self.unreadable(0)

    def _allowed(self, key: str, content: Content) -> set[str]:
        """Events that the object of a key may end with."""
        allowed = {"registered", "copied"} if content.versions else {"empty"}
        if not content.lands:
            allowed = {"quarantined"}
        elif all(version in self.read for version in content.versions):
            allowed.add("retired")
        if key in self.dropped or (self.policy == "ignore" and key in self.replaced):
            allowed.add("ignored")
        return allowed


def intrude_before(
    number: int, settings: Settings, intruder: Callable[[], None]
) -> Callable[[str], None]:
    """A hook that lets somebody else work before the n-th statement, or the next where one can."""
    seen = 0

    def hook(statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen >= number and _can_write(settings):
            seen = -(10**9)
            intruder()

    return hook


def _can_write(settings: Settings) -> bool:
    """Whether nobody holds the lock of a SQLite catalog; Postgres has none."""
    if settings.catalog.kind != "sqlite":
        return True
    with Path(f"{settings.catalog.address}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def crash_before(number: int) -> Callable[[str], None]:
    """A hook that ends the process before its n-th statement."""
    seen = 0

    def hook(statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            raise CrashError

    return hook
