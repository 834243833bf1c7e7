"""What arrives in the bucket: files of records whose every version is known, good and bad ones.

Records come in groups of four. A version of a group is four rows with one `_airbyte_extracted_at`
and amounts that add up to `GROUP_SUM`, and is never spread over files. So any set of whole files,
and any set of newest versions, keeps the sum: a torn commit or a half merged file shows at once.

One stream is a change log, some of whose versions delete a group, and has a history. What an
attempt of Airbyte reads of it again is extracted later than what is newer in the log.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from lotus_lake.bucket.keys import layout_of, partition_path
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, StreamFile
from lotus_lake.scaffold.stream_files import plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from tests.feeds import Shape, parquet
from tests.pipeline.driver import PROJECT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GROUP_ROWS = 4
GROUP_SUM = 100
GROUPS = 25
# So many of the versions of a change log.
_DELETES = 0.25
FIRST_DAY = date(2026, 3, 1)
# Small batches: many commits. Late files are found for all of a run's days.
FEEDER = {"batch_files": 3, "max_batches": 50, "lookback_days": 365, "retention_days": 2}

_AIRBYTE: Shape = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": pa.timestamp("ms", tz="UTC"),
}
_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Row:
    """A version of a record: its row in the landing table."""

    key: int
    raw_id: str
    extracted_at: datetime
    amount: int
    position: int
    is_delete: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A stream of this repository, and how its columns tell a `Row`.

    Attributes:
        source: Source of the stream.
        name: Name of the stream.
        shape: Columns of its files.
        fields: The fields of a row, besides Airbyte's.
        landed_amount: SQL of the amount in the landing table.
        key: Key column of the processed table; empty when no model is run, so that nothing of the
            stream is ever retired.
        amount: SQL of the amount in the processed table.
        has_log: Whether it is a change log, with a history.
        count: A column of whole numbers, which some files have as text that is none.
    """

    source: str
    name: str
    shape: Shape
    fields: Callable[[Row], dict[str, Any]]
    landed_amount: str
    key: str = ""
    amount: str = ""
    has_log: bool = False
    count: str = ""

    @property
    def order(self) -> str:
        """The column that orders the versions of a record in the processed table."""
        return "_log_position" if self.has_log else "_airbyte_extracted_at"

    def age(self, row: Row) -> tuple[Any, ...]:
        """What the processed model orders by; the source's own time never decides here."""
        read = (row.extracted_at, row.raw_id)
        return (row.position, *read) if self.has_log else read

    @property
    def id(self) -> str:
        return f"{self.source}__{self.name}"

    @property
    def models(self) -> list[str]:
        """The processed models that are run."""
        if not self.key:
            return []
        return [f"int_{self.id}", *([f"hist_{self.id}"] if self.has_log else [])]


def _spending(row: Row) -> dict[str, Any]:
    return {"id": row.key, "total_spent": float(row.amount), "updated_at": row.extracted_at}


def _named(row: Row) -> dict[str, Any]:
    return {
        "id": str(row.key),
        "updated": row.extracted_at,
        "attributes": {"name": str(row.amount)},
    }


def _account(row: Row) -> dict[str, Any]:
    deleted_at = datetime.fromtimestamp(row.position, UTC).isoformat() if row.is_delete else None
    return {
        "id": row.key,
        "balance": None if row.is_delete else float(row.amount),
        "_ab_cdc_lsn": float(row.position),
        "_ab_cdc_deleted_at": deleted_at,
    }


ACCOUNTS = {
    "stream": "accounts",
    "primary_key": [["id"]],
    "cursor_field": ["_ab_cdc_lsn"],
    "history": True,
    "fields": {
        "id": {"type": "integer"},
        "balance": {"type": "number"},
        "_ab_cdc_lsn": {"type": "number"},
        "_ab_cdc_deleted_at": {"type": "string"},
    },
}
_NAMED: Shape = {
    **_AIRBYTE,
    "id": pa.string(),
    "updated": _TIME,
    "attributes": pa.struct({"name": pa.string()}),
}
SUBJECTS = (
    Subject(
        "shopify", "customers",
        {**_AIRBYTE, "id": pa.int64(), "total_spent": pa.float64(), "updated_at": _TIME},
        _spending,
        landed_amount="total_spent", key="customer_id", amount="total_spent", count="orders_count",
    ),
    Subject(
        "klaviyo", "lists", _NAMED, _named, landed_amount="attributes.name::BIGINT",
        key="list_id", amount="list_name::BIGINT",
    ),
    Subject(
        "bank", "accounts",
        {**_AIRBYTE, "id": pa.int64(), "balance": pa.float64(), "_ab_cdc_lsn": pa.float64(),
         "_ab_cdc_deleted_at": pa.string()},
        _account,
        landed_amount=f"coalesce(balance, {GROUP_SUM // GROUP_ROWS})",
        key="account_id", amount="balance", has_log=True,
    ),
    Subject("klaviyo", "metrics", _NAMED, _named, landed_amount="attributes.name::BIGINT"),
)  # fmt: skip


def write_project(folder: Path) -> None:
    """Copy this repository's project with the streams of the storm alone, and another `feeder`."""
    kept_out = shutil.ignore_patterns("target", "logs", "streams")
    shutil.copytree(PROJECT / "include", folder / "include", ignore=kept_out)
    (folder / "plugins").symlink_to(PROJECT / "plugins")
    for subject in SUBJECTS:
        name = f"include/streams/{subject.source}/{subject.name}.json"
        own = ACCOUNTS if subject.has_log else json.loads((PROJECT / name).read_text())
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(own | {"feeder": FEEDER}))
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(folder)})
    for subject in (subject for subject in SUBJECTS if subject.has_log):
        write_files(plan_files(settings, subject.source, subject.name, Choices()))


def stream_of(settings: Settings, subject: Subject) -> Stream:
    """The stream of a subject."""
    return StreamFile(settings.streams_dir / subject.source / f"{subject.name}.json").load()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file that was put: its rows, and what has to become of it in the end."""

    subject: Subject
    key: str
    fate: str  # landed, empty or quarantined
    rows: tuple[Row, ...] = ()
    is_rescued: bool = False


@dataclass
class Workload:
    """Puts files, and remembers them.

    Attributes:
        settings: The lake that they are for.
        client: Puts them; past any proxy.
        chance: Decides.
        dropped: The files so far.
        day: Days since the first one.
    """

    settings: Settings
    client: S3Client
    chance: Random
    dropped: list[Dropped] = field(default_factory=list)
    day: int = 0
    _versions: int = 0

    def next_day(self) -> None:
        """Let a day begin."""
        self.day += 1

    def drop(self, count: int = 1, subject: Subject | None = None) -> None:
        """Put files of all kinds; most of them are good ones of this day."""
        for _ in range(count):
            one = subject or self.chance.choices(SUBJECTS, (8, 8, 8, 1))[0]
            kind = self.chance.choices(list(_KINDS), [share for share, _ in _KINDS.values()])[0]
            _KINDS[kind][1](self, one)

    def put_good(self, subject: Subject, back: int = 0, **extra: pa.DataType) -> None:
        """A file with new versions of some groups."""
        rows = [row for _ in range(self.chance.randint(1, 3)) for row in self._version(subject)]
        self._put(subject, "landed", rows, back=back, extra=extra)

    def put_late(self, subject: Subject) -> None:
        """A file in an old folder, even in one whose files are retired; its versions are new."""
        self.put_good(subject, back=self.chance.randint(1, 6))

    def put_older(self, subject: Subject) -> None:
        """A file with versions older than all others."""
        rows = list(self._version(subject, older=True))
        self._put(subject, "landed", rows)

    def put_repeated(self, subject: Subject) -> None:
        """A file that an attempt of Airbyte wrote again: the same versions, other row ids.

        Of a change log it is read again, after what is newer.
        """
        before = [file for file in self.dropped if file.subject == subject and file.rows]
        if not before:
            return self.put_good(subject)
        rows = [
            replace(row, raw_id=self._raw_id()) for row in self.chance.choice(before[-20:]).rows
        ]
        if subject.has_log:
            self._versions += 1
            rows = [replace(row, extracted_at=self._at(self._versions)) for row in rows]
        return self._put(subject, "landed", rows)

    def put_wider(self, subject: Subject) -> None:
        """A file with a column more than the files before had."""
        names = [f"note_{number}" for number in range(1 + self.day // 4)]
        self.put_good(subject, **dict.fromkeys(names, pa.string()))

    def put_retyped(self, subject: Subject) -> None:
        """A file with a column of another type: a copy lands, and its values are rescued."""
        if subject.count:
            self.put_good(subject, **{subject.count: pa.string()})
            self.dropped[-1] = replace(self.dropped[-1], is_rescued=True)

    def put_empty(self, subject: Subject) -> None:
        """A file without rows."""
        self._put(subject, "empty", [])

    def put_corrupt(self, subject: Subject) -> None:
        """A file that is none: no bytes, other bytes, half of its bytes, or a refused key."""
        name, whole = self._name(), parquet([], subject.shape)
        choice = self.chance.randrange(4)
        if choice == 3:
            name, data = f"refused&{name}", whole
        else:
            data = (b"", self.chance.randbytes(300), whole[: len(whole) // 2])[choice]
        self._write(subject, "quarantined", name, data, (), 0)

    def landed(self, subject: Subject) -> dict[str, tuple[Row, ...]]:
        """Rows of the files that have to land, by object key."""
        return {
            file.key: file.rows
            for file in self.dropped
            if file.subject == subject and file.fate == "landed"
        }

    def newest(self, subject: Subject) -> dict[int, Row]:
        """The newest version of each record among them."""
        newest: dict[int, Row] = {}
        for row in (row for rows in self.landed(subject).values() for row in rows):
            if row.key not in newest or subject.age(row) > subject.age(newest[row.key]):
                newest[row.key] = row
        return newest

    def _version(self, subject: Subject, *, older: bool = False) -> Iterator[Row]:
        self._versions += 1
        number = -self._versions if older else self._versions
        position = 10**9 + number
        if subject.has_log and self.chance.random() < _DELETES:
            first = self.chance.randrange(GROUPS) * GROUP_ROWS
            for key in range(first, first + GROUP_ROWS):
                amount = GROUP_SUM // GROUP_ROWS
                yield Row(key, self._raw_id(), self._at(number), amount, position, is_delete=True)
            return
        amounts = [self.chance.randint(-500, 500) for _ in range(GROUP_ROWS - 1)]
        first = self.chance.randrange(GROUPS) * GROUP_ROWS
        for place, amount in enumerate([*amounts, GROUP_SUM - sum(amounts)]):
            yield Row(first + place, self._raw_id(), self._at(number), amount, position)

    @staticmethod
    def _at(number: int) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number)

    def _put(
        self,
        subject: Subject,
        fate: str,
        rows: Iterable[Row],
        *,
        back: int = 0,
        extra: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        rows, extra = tuple(rows), extra or {}
        records = [
            {
                "_airbyte_raw_id": row.raw_id,
                "_airbyte_extracted_at": row.extracted_at,
                **subject.fields(row),
                **dict.fromkeys(extra, "new"),
            }
            for row in rows
        ]
        data = parquet(records, {**subject.shape, **extra})
        self._write(subject, fate, self._name(), data, rows, back)

    def _write(
        self, subject: Subject, fate: str, name: str, data: bytes, rows: tuple[Row, ...], back: int
    ) -> None:
        day = FIRST_DAY + timedelta(days=max(0, self.day - back))
        prefix = layout_of(self.settings, stream_of(self.settings, subject)).prefix
        key = f"{prefix}{partition_path(day)}/{name}"
        self.client.put_object(Bucket=self.settings.bucket, Key=key, Body=data)
        self.dropped.append(Dropped(subject, key, fate, rows))

    def _name(self) -> str:
        """Names of files arrive in any order, as Airbyte's do with `{uuid}`."""
        return f"{self._raw_id()}.parquet"

    def _raw_id(self) -> str:
        return str(UUID(int=self.chance.getrandbits(128), version=4))


# Each kind with its share.
_KINDS: dict[str, tuple[int, Callable[[Workload, Subject], None]]] = {
    "good": (60, Workload.put_good),
    "late": (10, Workload.put_late),
    "older": (8, Workload.put_older),
    "repeated": (8, Workload.put_repeated),
    "wider": (4, Workload.put_wider),
    "retyped": (8, Workload.put_retyped),
    "empty": (5, Workload.put_empty),
    "corrupt": (5, Workload.put_corrupt),
}
