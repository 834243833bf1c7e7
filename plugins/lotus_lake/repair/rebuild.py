"""Rebuild processed tables from their data files, when the catalog is lost without a dump.

A processed table holds the newest version of each record. Every version that was ever merged was
written to a file of the table's folder, so the newest version among all files there, those of the
past included, is what the table held, unless it is one that was kept out of it (see the macro
`keep_out`). A history writes all versions of a record at once, whenever one arrives; the last time,
the most rows had told of it. Landing tables need none of this: their files land again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lotus_lake.config.streams import Stream
from lotus_lake.errors import SchemaMismatchError, SettingsError
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.ledger.commit import Change, commit
from lotus_lake.ledger.events import FileEvent
from lotus_lake.ledger.guard import Guard
from lotus_lake.ledger.watermarks import watermark_table
from lotus_lake.project.manifest import Model
from lotus_lake.sql import identifier

# dbt makes a table under a name of its own, renames it, and DuckLake keeps the folder.
_FOLDER = r"{folder}(__dbt_tmp|__dbt_backup)?/.*\.parquet"
_DELETIONS = "-delete.parquet"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A table that was made again.

    Attributes:
        model: Its name.
        files: Data files that were read, those of the past included.
        rows: Rows of the table.
    """

    model: str
    files: int
    rows: int


def rebuild(lake: Lake, stream: Stream, model: Model, run_id: str) -> Rebuilt | None:
    """Make a model's table from its data files; `None` when there are none.

    The ledger gets an event for it, as for rows that have left the landing table, so that dbt
    refuses a full refresh: it would lose what only these files hold.

    Args:
        lake: Open lake, with the ledger of the stream.
        stream: The stream of the model.
        model: A processed model that merges by a key.
        run_id: Who does it, for the ledger.

    Raises:
        SettingsError: The table is there already, or the model merges by no key.
        SchemaMismatchError: The files lack the columns by which the newest version is known.
    """
    if not model.unique_key:
        raise SettingsError(
            f"{model.name} has no unique_key, so its files do not show which rows are current",
            hint="dbt builds it from its inputs",
        )
    if model.name in lake.tables("main"):
        raise SettingsError(
            f"main.{model.name} already exists",
            hint="rebuild into an empty catalog, before any model has run",
        )
    files = _data_files(lake, f"main/{model.name}")
    if not files:
        return None
    kept_out = _data_files(lake, f"meta/kept_out_{model.name}")
    columns = _columns(lake, files)
    of_history = {"_lake_rows_told"} if model.is_history else set()
    if absent := {*model.order, *model.unique_key, *of_history} - set(columns):
        raise SchemaMismatchError(
            f"the data files of {model.name} lack {', '.join(sorted(absent))}",
            hint="create the table by hand from its files",
        )

    def decide(_: Guard) -> Change:
        return Change([_create(lake, model, files, columns, kept_out)])

    [event] = commit(lake, stream, f"rebuild {model.name}", run_id, decide)
    rows = event.row_count or 0
    log.info("%s: %d rows from %d files", model.name, rows, len(files))
    return Rebuilt(model.name, len(files), rows)


def _data_files(lake: Lake, table: str) -> list[str]:
    folder = f"{lake.settings.data_path}{table}"
    pattern = _FOLDER.format(folder=re.escape(folder))
    found = lake.rows("SELECT file FROM glob(?) ORDER BY file", [f"{folder}*/**"])
    return [
        file for (file,) in found if re.fullmatch(pattern, file) and not file.endswith(_DELETIONS)
    ]


def _columns(lake: Lake, files: Sequence[str]) -> list[str]:
    """Columns of the table, without DuckLake's own."""
    described = lake.rows("DESCRIBE FROM read_parquet(?, union_by_name => true)", [list(files)])
    return [row[0] for row in described if not row[0].startswith("_ducklake_internal")]


def _create(
    lake: Lake,
    model: Model,
    files: Sequence[str],
    columns: Sequence[str],
    kept_out: Sequence[str],
) -> FileEvent:
    table = identifier(LAKE, "main", model.name)
    key = ", ".join(map(identifier, model.unique_key))
    latest, version, last = "true", key, model.order
    if model.is_history:
        latest = f"_lake_rows_told = max(_lake_rows_told) OVER (PARTITION BY {key})"
        version, last = f"{key}, {', '.join(model.order)}", ("_lake_rows_told",)
    # Then the younger file: its name begins with the time it was written at.
    order = ", ".join(f"{name} DESC NULLS LAST" for name in last)

    def create(name: str, names: Sequence[str], condition: str) -> None:
        # The snapshots of the lost catalog mean nothing in this one.
        chosen = ", ".join(
            "-1::BIGINT AS _lake_snapshot_id" if name == "_lake_snapshot_id" else identifier(name)
            for name in names
        )
        lake.con.execute(
            f"CREATE TABLE {name} AS SELECT {chosen} "
            "FROM read_parquet(?, union_by_name => true, filename => '_data_file') "
            f"QUALIFY {latest} AND row_number() OVER (PARTITION BY {version} "
            f"ORDER BY {order}, parse_filename(_data_file) DESC) = 1 AND {condition}",
            [[*files, *kept_out], f"{lake.settings.data_path}meta/"],
        )

    create(table, columns, "NOT starts_with(_data_file, ?)")
    if kept_out:
        remembered = identifier(LAKE, "meta", f"kept_out_{model.name}")
        create(remembered, _columns(lake, kept_out), "starts_with(_data_file, ?)")
    # As the macro advance_watermark makes it: the model has read nothing of this catalog.
    lake.con.execute(
        f"""
        CREATE TABLE {watermark_table(model.name)} AS
        SELECT -1::BIGINT AS snapshot_id_from, -1::BIGINT AS snapshot_id_to, now() AS updated_at
        """
    )
    return FileEvent(
        key=f"{lake.settings.data_path}main/{model.name}/",
        etag="",
        size_bytes=0,
        last_modified=datetime.now(UTC),
        partition_date=None,
        event="retired",
        row_count=int(lake.value(f"SELECT count(*) FROM {table}")),
        remark=f"{len(files)} data files of a lost catalog",
    )
