"""The balance sheet of a stream: what its files hold = what landed + what is known not to land.

From the file on: what the source had, and what Airbyte wrote of it, `lotus-lake job` compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from lotus_lake.config.stream_config import DELETED_AT
from lotus_lake.config.streams import Stream
from lotus_lake.error_translation import one_line
from lotus_lake.errors import StorageUnavailableError
from lotus_lake.lake.column_statistics import LANDED_ROW
from lotus_lake.lake.session import LAKE, META, STAGING, Lake
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.ledger.registrations import (
    RowDifference,
    compare_rows,
    count_unknown,
    suspected_streams,
)
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import watermark_table
from lotus_lake.project.manifest import Model, processed_models
from lotus_lake.quantities import counted
from lotus_lake.sql import identifier

# Files of a difference that are named; the others are counted.
_NAMED_FILES = 100
_SYNCS = 100
_COUNTED = "temp.balance_counted"


@dataclass(frozen=True, slots=True)
class EventBalance:
    """The files whose latest event is this one; `rows` as far as their footers could be read."""

    event: str
    files: int
    rows: int


@dataclass(frozen=True, slots=True)
class SyncBalance:
    """The rows in the landing table that an Airbyte sync wrote, counted in their files.

    Attributes:
        sync_id: Id of Airbyte's job; `None` for rows that carry none.
        files: Data files that hold some of them.
        rows: The rows.
    """

    sync_id: int | None
    files: int
    rows: int


@dataclass(frozen=True, slots=True)
class ModelBalance:
    """A processed table, compared with the rows it has read.

    Attributes:
        model: Its name.
        rows: Its rows; of a history, those that are current.
        keys: Distinct keys among them.
        landed_keys: Distinct primary keys among the landed rows that it has read; `None` if its key
            has not as many columns as the stream's, so that they cannot be compared.
        kept_out: Newest versions of records that its readers do not see, by the reason: `deleted`,
            `no key` (rows, not records), `bad value`.
        has_older: Whether it may hold keys of rows that have left the landing table since.
    """

    model: str
    rows: int
    keys: int
    landed_keys: int | None
    kept_out: Mapping[str, int]
    has_older: bool

    @property
    def problem(self) -> str | None:
        """What does not balance."""
        if self.rows != self.keys:
            return f"{self.model} has {self.rows} rows and {self.keys} keys"
        hidden = sum(rows for reason, rows in self.kept_out.items() if reason != "no key")
        known = self.keys + hidden
        missing = self.landed_keys is not None and known < self.landed_keys
        extra = self.landed_keys is not None and known > self.landed_keys
        if missing or (extra and not self.has_older):
            beside = f" and {hidden} kept out" if hidden else ""
            return f"{self.model} has {self.keys} keys{beside}; {self.landed_keys} have landed"
        return None


@dataclass(frozen=True, slots=True)
class StreamBalance:
    """The balance sheet of a stream, as of one snapshot.

    Attributes:
        stream: `source/stream`.
        files: Files ever seen.
        events: What became of them; these add up to all files.
        ledger_rows: Rows that the landed files held when they landed.
        table_rows: Rows of the landing table.
        differences: Files whose rows the landing table does not have, or not all, or too many;
            at most 100.
        differing_files: How many there are.
        unknown_files: Registrations of the landing table that the ledger does not know.
        read: Whether the rows were counted in the files, and not taken from DuckLake's metadata.
        syncs: The newest 100 syncs, if they were read.
        models: Its processed tables, if they were read.
    """

    stream: str
    files: int = 0
    events: tuple[EventBalance, ...] = ()
    ledger_rows: int = 0
    table_rows: int = 0
    differences: tuple[RowDifference, ...] = ()
    differing_files: int = 0
    unknown_files: int = 0
    read: bool = False
    syncs: tuple[SyncBalance, ...] = ()
    models: tuple[ModelBalance, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not balance; nothing if all does."""
        found = []
        if self.differing_files:
            files = counted(self.differing_files, "file")
            found.append(f"{files} with other rows in the lake than in the ledger")
        elif self.ledger_rows != self.table_rows and not self.unknown_files:
            found.append(f"{self.ledger_rows} rows landed, the table has {self.table_rows}")
        if self.unknown_files:
            found.append(f"{counted(self.unknown_files, 'registration')} unknown to the ledger")
        return (*found, *(model.problem for model in self.models if model.problem))


def read_balance(
    lake: Lake, stream: Stream, models: Mapping[str, Model], *, read: bool = False
) -> StreamBalance:
    """Compare ledger, landing table and processed tables.

    Without `read`, only ledger and metadata: no data file of the stream is opened.

    Args:
        lake: Open lake; read-only will do.
        stream: The stream.
        models: Models of the dbt project, by name.
        read: Count the rows in their files, and the keys of landing and processed tables. Reads
            a few columns of each file.

    Raises:
        StorageUnavailableError: A data file could not be read.
    """
    label = f"{stream.source}/{stream.name}"
    if not was_fed(lake, stream) or stream.landing_table not in lake.tables("staging"):
        return StreamBalance(label)
    try:
        with lake.snapshot() as snapshot:
            found = _balance(lake, stream, processed_models(models, stream.id), snapshot, read)
    except duckdb.OperationalError as error:
        raise StorageUnavailableError(
            f"reading {stream.landing_table} failed: {one_line(error)}",
            hint="`lotus-lake reconcile SOURCE STREAM` finds objects that are gone",
        ) from error
    return replace(found, unknown_files=count_unknown(lake, stream))


def read_unbalanced(lake: Lake, streams: Sequence[Stream]) -> dict[str, str]:
    """What does not balance, by the name of the stream; only ledger and metadata are read.

    Objects that are missing, and versions of an object that have not landed, are left out: the
    ledger knows that the rows of the version before have left the table, or cannot be read.
    """
    if not was_fed(lake):
        return {}
    found = {}
    for stream in suspected_streams(lake, streams):
        with lake.snapshot() as snapshot:
            *_, differences = compare_rows(lake, stream, snapshot)
            known = lake.rows(
                f"SELECT key FROM {META}.feeder_files WHERE source = ? AND stream = ? "
                f"GROUP BY key HAVING arg_max(event, version) NOT IN {LANDED_SQL}",
                [stream.source, stream.name],
            )
        keys = {file.key for file in differences} - {key for (key,) in known}
        label = f"{stream.source}/{stream.name}"
        sheet = StreamBalance(
            label, differing_files=len(keys), unknown_files=count_unknown(lake, stream)
        )
        if sheet.problems:
            found[label] = "; ".join(sheet.problems)
    return found


def _balance(
    lake: Lake, stream: Stream, models: Sequence[Model], snapshot: int, read: bool
) -> StreamBalance:
    events = _events(lake, stream)
    in_files = _count_in_files(lake, stream) if read else None
    ledger_rows, table_rows, differences = compare_rows(lake, stream, snapshot, in_files)
    return StreamBalance(
        f"{stream.source}/{stream.name}",
        sum(event.files for event in events),
        tuple(events),
        ledger_rows,
        table_rows,
        tuple(differences[:_NAMED_FILES]),
        len(differences),
        read=read,
        syncs=_syncs(lake) if read else (),
        models=_models(lake, stream, models, events) if read else (),
    )


def _events(lake: Lake, stream: Stream) -> list[EventBalance]:
    rows = lake.rows(
        f"""
        SELECT event, count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.feeder_files
        WHERE source = ? AND stream = ? GROUP BY event ORDER BY event
        """,
        [stream.source, stream.name],
    )
    return [EventBalance(*row) for row in rows]


def _count_in_files(lake: Lake, stream: Stream) -> str:
    """Count the rows of each data file and sync by reading them; returns rows by data file."""
    table = f"{STAGING}.{identifier(stream.landing_table)}"
    kinds = {name: kind for name, kind, *_ in lake.rows(f"DESCRIBE {table}")}
    has_sync = "sync_id" in kinds.get("_airbyte_meta", "")
    sync = "_airbyte_meta.sync_id" if has_sync else "NULL"
    lake.con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {_COUNTED} AS
        SELECT filename AS data_file, {sync}::BIGINT AS sync_id, count(*) AS rows
        FROM {table} WHERE {LANDED_ROW} GROUP BY ALL
        """
    )
    return f"(SELECT data_file, sum(rows)::BIGINT AS rows FROM {_COUNTED} GROUP BY data_file)"


def _syncs(lake: Lake) -> tuple[SyncBalance, ...]:
    rows = lake.rows(
        f"""
        SELECT sync_id, count(DISTINCT data_file), sum(rows)::BIGINT FROM {_COUNTED}
        GROUP BY sync_id ORDER BY sync_id DESC NULLS LAST LIMIT ?
        """,
        [_SYNCS],
    )
    return tuple(SyncBalance(*row) for row in rows)


def _models(
    lake: Lake, stream: Stream, models: Sequence[Model], events: Sequence[EventBalance]
) -> tuple[ModelBalance, ...]:
    """The processed tables that are there; without a key there is nothing to count."""
    built = lake.tables("main")
    marked = lake.tables("meta")
    has_older = any(event.event in ("retired", "replaced", "missing") for event in events)
    found = []
    for model in models:
        if model.name not in built or not model.unique_key:
            continue
        keys = ", ".join(identifier(column) for column in model.unique_key)
        counted_rows = "count(*) FILTER (is_current)" if model.is_history else "count(*)"
        [(rows, distinct)] = lake.rows(
            f"SELECT {counted_rows}, count(DISTINCT ({keys})) "
            f"FROM {LAKE}.main.{identifier(model.name)}"
        )
        landed = None
        is_marked = f"watermark_{model.name}" in marked
        if is_marked and len(model.unique_key) == len(stream.config.primary_key):
            # As of this snapshot, unlike `watermarks`, which may be ahead of it.
            mark = lake.value(f"SELECT max(snapshot_id_to) FROM {watermark_table(model.name)}")
            landed = _landed_keys(lake, stream, mark)
        hidden: list[tuple[str, int]] = []
        if (kept_out := f"kept_out_{model.name}") in marked:
            hidden = lake.rows(
                "SELECT split_part(_lake_reason, ':', 1), count(*) "
                f"FROM {META}.{identifier(kept_out)} GROUP BY ALL"
            )
        found.append(ModelBalance(model.name, rows, distinct, landed, dict(hidden), has_older))
    return tuple(found)


def _landed_keys(lake: Lake, stream: Stream, mark: int) -> int:
    """Distinct primary keys among the rows that landed up to a snapshot."""
    parts = [identifier(*path) for path in stream.config.primary_key]
    conditions = "".join(f" AND {part} IS NOT NULL" for part in parts)
    if stream.config.tells_deletes and stream.config.deletes == "ignore":
        conditions += f" AND {DELETED_AT} IS NULL"
    return int(
        lake.value(
            f"""
            SELECT count(DISTINCT ({", ".join(parts)}))
            FROM {STAGING}.{identifier(stream.landing_table)}
            WHERE snapshot_id <= ? AND {LANDED_ROW}{conditions}
            """,
            [mark],
        )
    )
