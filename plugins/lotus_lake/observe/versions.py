"""The landed versions of records: the file of each, and which of them became the table's row.

The versions are read by the model's own SQL, from the CTE that `newest_wins` chooses from, and
ordered as it orders them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from lotus_lake.lake.data_files import files_of_rows
from lotus_lake.lake.session import META, STAGING, Lake
from lotus_lake.ledger.events import LANDED_SQL, files_sql
from lotus_lake.ledger.watermarks import watermark_table
from lotus_lake.observe.conditions import ASKED, quoted
from lotus_lake.observe.files import Landing, find_landings
from lotus_lake.project.lineage import Path
from lotus_lake.project.manifest import Model
from lotus_lake.sql import identifier, json_array

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LandedVersion:
    """A landed row: one version of a record.

    Attributes:
        record: Values of the model's key.
        outcome: `won`: it is the table's row. `kept out`: it is the newest, and readers do not see
            it. `lost`: another one is newer. `waits`: the model has not read it yet. `not merged`:
            the model has read it, and the table does not have it.
        because: What it lost against, or why it is kept out.
        extracted_at: When Airbyte read it at the source.
        sync_id: Airbyte's job.
        key: Key of the object; `None` if the ledger does not know the data file.
        etag: ETag of the object.
        dag_run_id: Run that landed it.
        snapshot_id: Snapshot of the lake in which it landed.
        data_file: What DuckLake reads: the object, or the lake's copy of it.
        raw_id: Airbyte's id of the row.
    """

    record: Mapping[str, Any]
    outcome: Literal["won", "kept out", "lost", "waits", "not merged"]
    because: str | None
    extracted_at: datetime | None
    sync_id: int | None
    key: str | None
    etag: str | None
    dag_run_id: str | None
    snapshot_id: int
    data_file: str | None
    raw_id: str | None


@dataclass(frozen=True, slots=True)
class GoneFile:
    """A file that landed in the snapshot of a row whose landed version is not there any more.

    Attributes:
        record: Values of the row's key.
        key: Key of the object.
        etag: Its ETag.
        event: What became of it: `retired`, `replaced` or `missing`.
        row_count: Rows that it held.
        snapshot_id: Snapshot in which it landed.
        dag_run_id: Run that landed it.
        gone_at: When its rows left the landing table.
    """

    record: Mapping[str, Any]
    key: str
    etag: str
    event: str
    row_count: int | None
    snapshot_id: int
    dag_run_id: str
    gone_at: datetime


@dataclass(frozen=True, slots=True)
class LandedRows:
    """The landed rows behind the rows of a processed table.

    Attributes:
        model: The processed table.
        table: The landing table.
        versions: The first landed versions, by record, newest first.
        total: How many there are.
        gone: Files that brought versions which are not in the landing table any more; where a
            snapshot landed several that are gone, it was one of them.
        gone_files: Files of the stream whose rows are not in the landing table any more: what else
            they held is not known.
    """

    model: str
    table: str
    versions: tuple[LandedVersion, ...]
    total: int
    gone: tuple[GoneFile, ...]
    gone_files: int


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a record, landed or in a table."""

    key: tuple[Any, ...]
    extracted_at: datetime | None
    source_updated_at: Any
    raw_id: str | None
    snapshot_id: int
    log_position: str = ""
    row_id: int = -1
    reason: str | None = None

    @property
    def rank(self) -> tuple[Any, ...]:
        """What the merge compares."""
        read = self.extracted_at or _EPOCH
        return self.log_position, read, self.source_updated_at, self.raw_id or ""

    def is_row(self, landed: _Version) -> bool:
        """Whether a landed version is this one."""
        return self.rank == landed.rank and self.snapshot_id == landed.snapshot_id


@dataclass(frozen=True, slots=True)
class Versions:
    """Where the landed versions of a processed model's records are.

    Attributes:
        model: The model.
        landing: Name of its landing table.
        ctes: WITH clause of its SQL.
        holder: The CTE in it that has every version, with `_lake_row_id`.
    """

    model: Model
    landing: str
    ctes: str
    holder: str


def among(lake: Lake, columns: Mapping[str, Path], table: str) -> str:
    """Condition over `asked`: that some of its columns are as in a row of a temporary table.

    Each column is compared by itself, too: by that DuckLake leaves out data files. It cannot where
    a text has the character NUL, which ends its query of the catalog.

    Args:
        lake: Open lake.
        columns: Columns of the temporary table, and where the same is in `asked`.
        table: The temporary table, with few rows.
    """
    places, parts = [], []
    for column, path in columns.items():
        name, place = identifier(column), quoted(path)
        if lake.value(f"SELECT bool_or(contains({name}::VARCHAR, chr(0))) FROM {table}"):
            place += " || ''"
        places.append(place)
        parts.append(f"{place} IN (SELECT {name} FROM {table})")
    if len(parts) > 1:
        names = ", ".join(map(identifier, columns))
        parts.append(f"({', '.join(places)}) IN (SELECT ({names}) FROM {table})")
    return " AND ".join(parts)


def version_columns(model: Model) -> tuple[str, ...]:
    """What the order of a model's versions compares, and where a version landed."""
    return (*model.order, "_lake_snapshot_id")


def record_key(model: Model) -> tuple[str, ...]:
    """What makes rows of a processed model versions of one record."""
    return model.unique_key or ("_airbyte_raw_id",)


def find_versions(
    lake: Lake, of: Versions, found: str | None, chosen: str, limit: int, number: int
) -> LandedRows:
    """The landed versions of some records.

    Args:
        lake: Open lake.
        of: Where they are.
        found: Table with rows of the model, whose records are meant. `None` if it has none.
        chosen: Condition over `asked` that chooses records if there are no such rows.
        limit: Greatest number of records, of versions, and of versions compared of each record.
        number: Tells names of temporary tables apart.
    """
    model, landing, ctes, holder = of.model, of.landing, of.ctes, of.holder
    key = record_key(model)
    names = ", ".join(map(identifier, key))
    records = f"temp.why_records_{number}"
    source = found or f"{identifier(holder)} AS {ASKED} WHERE {chosen}"
    lake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {records.removeprefix('temp.')} AS "
        f"{'' if found else ctes} SELECT DISTINCT {names} FROM {source} LIMIT {limit}"
    )
    of_records = among(lake, {column: (column,) for column in key}, records)
    landed, total = _landed(lake, model, f"{ctes} SELECT", holder, of_records, limit)
    winners = _in_tables(lake, model, of_records, found)
    source_name, _, stream_name = landing.removeprefix("stg_").partition("__")
    stream = (source_name, stream_name)
    mark = _mark(lake, model.name)
    shown = landed[:limit]
    files = files_of_rows(lake, landing, {(v.row_id, v.snapshot_id) for v in landed})
    landings = find_landings(lake, *stream, set(files.values()))
    syncs = _sync_ids(lake, landing, [v.row_id for v in shown], set(files.values()))
    versions = []
    for version in shown:
        winner = winners.get(version.key)
        outcome, because = _outcome(version, winner, landed, mark, files, landings)
        file = files.get(version.row_id)
        landing_of = landings.get(file or "")
        versions.append(
            LandedVersion(
                dict(zip(key, version.key, strict=True)),
                outcome,
                because,
                version.extracted_at,
                syncs.get(version.row_id),
                landing_of.key if landing_of else None,
                landing_of.etag if landing_of else None,
                landing_of.dag_run_id if landing_of else None,
                version.snapshot_id,
                file,
                version.raw_id,
            )
        )
    absent = [w for w in winners.values() if not any(w.is_row(v) for v in landed)]
    gone = [file for w in absent for file in _gone(lake, stream, w, key, limit)]
    return LandedRows(
        model.name, landing, tuple(versions), total, tuple(gone[:limit]), _count_gone(lake, stream)
    )


def _landed(
    lake: Lake, model: Model, select: str, holder: str, of_records: str, limit: int
) -> tuple[list[_Version], int]:
    """Landed versions of the records, newest first, and how many there are."""
    names = ", ".join(map(identifier, record_key(model)))
    columns = ", ".join(map(identifier, version_columns(model)))
    order = ", ".join(f"{identifier(c)} DESC NULLS LAST" for c in (*model.order, "_lake_row_id"))
    rows = lake.rows(
        f"""
        {select} {names}, {columns}, _lake_row_id, count(*) OVER () AS total
        FROM {identifier(holder)} AS {ASKED}
        WHERE {of_records}
        QUALIFY row_number() OVER (PARTITION BY {names} ORDER BY {order}) <= {limit}
        ORDER BY {names}, {order}
        """
    )
    found = [_version(model, row, row_id=row[-2]) for row in rows]
    return found, int(rows[0][-1]) if rows else 0


def _in_tables(
    lake: Lake, model: Model, of_records: str, found: str | None
) -> dict[tuple[Any, ...], _Version]:
    """The version of each record that is in the table, or is kept out of it."""
    columns = ", ".join(map(identifier, (*record_key(model), *version_columns(model))))
    versions: list[_Version] = []
    if (kept_out := f"kept_out_{model.name}") in lake.tables("meta"):
        query = f"SELECT {columns}, _lake_reason FROM {META}.{identifier(kept_out)} AS {ASKED}"
        rows = lake.rows(f"{query} WHERE {of_records}")
        versions += [_version(model, row, reason=row[-1]) for row in rows]
    if found:
        versions += [_version(model, row) for row in lake.rows(f"SELECT {columns} FROM {found}")]
    return {version.key: version for version in versions}


def _version(
    model: Model, row: Sequence[Any], *, row_id: int = -1, reason: str | None = None
) -> _Version:
    """A row of the key and the version's columns."""
    width = len(record_key(model))
    *log, extracted_at, updated_at, raw_id, snapshot_id = row[
        width : width + len(version_columns(model))
    ]
    log_position = (log[0] if log else None) or ""
    return _Version(
        tuple(row[:width]), extracted_at, updated_at, raw_id, snapshot_id, log_position,
        row_id, reason,
    )  # fmt: skip


def _outcome(
    version: _Version,
    winner: _Version | None,
    landed: Sequence[_Version],
    mark: int | None,
    files: Mapping[int, str],
    landings: Mapping[str, Landing],
) -> tuple[Literal["won", "kept out", "lost", "waits", "not merged"], str | None]:
    if mark is not None and version.snapshot_id > mark:
        return "waits", "the model has not read it yet"
    if winner is None:
        return "not merged", "the table has no row of this record"
    same = [other for other in landed if other.key == version.key and winner.is_row(other)]
    if same and same[0] is version:
        return ("kept out", winner.reason) if winner.reason else ("won", None)
    if version.rank > winner.rank:
        return "not merged", "the table has an older version"
    file = files.get(same[0].row_id) if same else None
    known = landings.get(file or "")
    where = known.key if known else file or "a file that is gone"
    at = f"{winner.extracted_at:%Y-%m-%d %H:%M:%S}" if winner.extracted_at else "unknown"
    if version.rank == winner.rank:
        return "lost", f"it is the same version as that from {where}"
    if version.log_position != winner.log_position:
        at += f", at {winner.log_position} of the log,"
    elif version.extracted_at == winner.extracted_at:
        at += f", changed {winner.source_updated_at},"
    return "lost", f"that of {at} from {where} is newer"


def _mark(lake: Lake, model: str) -> int | None:
    """The snapshot up to which the model has read, as of the table that is looked at."""
    if f"watermark_{model}" not in lake.tables("meta"):
        return None
    return int(lake.value(f"SELECT max(snapshot_id_to) FROM {watermark_table(model)}"))


def _sync_ids(
    lake: Lake, landing: str, row_ids: Sequence[int], files: set[str]
) -> dict[int, int | None]:
    table = f"{STAGING}.{identifier(landing)}"
    kinds = {name: kind for name, kind, *_ in lake.rows(f"DESCRIBE {table}")}
    if "sync_id" not in kinds.get("_airbyte_meta", ""):
        return {}
    return dict(
        lake.rows(
            f"""
            SELECT rowid, _airbyte_meta.sync_id::BIGINT FROM {table}
            WHERE filename IN (SELECT unnest(?::JSON::VARCHAR[]))
            AND rowid IN (SELECT unnest(?::JSON::BIGINT[]))
            """,
            [json_array(files), json_array(row_ids)],
        )
    )


def _gone(
    lake: Lake, stream: tuple[str, str], version: _Version, key: Sequence[str], limit: int
) -> list[GoneFile]:
    """Files that landed in the snapshot of a version and whose rows have left the table since."""
    latest = files_sql(
        "source = ? AND stream = ? AND key IN ("
        f"SELECT key FROM {META}.file_events "
        "WHERE source = ? AND stream = ? AND snapshot_id = ?)"
    )
    rows = lake.rows(
        f"""
        SELECT landed.key, landed.etag, latest.event, landed.row_count, landed.snapshot_id,
               landed.dag_run_id, latest.updated_at
        FROM {META}.file_events AS landed
        JOIN ({latest}) AS latest USING (source, stream, key, etag, size_bytes)
        WHERE landed.event IN {LANDED_SQL} AND landed.snapshot_id = ?
        AND latest.event NOT IN {LANDED_SQL} AND source = ? AND stream = ?
        ORDER BY landed.key LIMIT ?
        """,
        [*stream, *stream, version.snapshot_id, version.snapshot_id, *stream, limit],
    )
    record = dict(zip(key, version.key, strict=True))
    return [GoneFile(record, *row) for row in rows]


def _count_gone(lake: Lake, stream: tuple[str, str]) -> int:
    return int(
        lake.value(
            f"SELECT count(*) FROM {META}.feeder_files WHERE source = ? AND stream = ? "
            "AND event IN ('retired', 'replaced', 'missing')",
            stream,
        )
    )
