"""What a run or a build has read and written: tables, columns, versions and numbers, for lineage.

Names are those of OpenLineage's naming: a namespace says where, a name what. A version is a
snapshot of the lake: `AT (VERSION => ...)` shows the very rows that were read or written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.lake.table_versions import Written, written_in
from lotus_lake.ledger.builds import last_build
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.observe.tables import Column, Known, read_tables, tables_of_stream
from lotus_lake.project.lineage import ModelLineage, UnresolvedLineageError
from lotus_lake.project.manifest import load_models, manifest_file
from lotus_lake.project.rendering import (
    UnrenderedModelError,
    model_node,
    read_document,
    render_model,
)
from lotus_lake.project.run_results import DataTest, built_nodes, data_tests

_HIVE_DAY = {"year", "month", "day"}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table of the lake, or the objects of a stream.

    Attributes:
        namespace: Where it is.
        name: Its name there.
        columns: Its columns; none if it is not there yet.
        version: Snapshot that was read or made; `None` of objects, and if nothing was made.
        tests: What data tests have found in it.
    """

    namespace: str
    name: str
    columns: tuple[Column, ...] = ()
    version: int | None = None
    tests: tuple[DataTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """A column that another one is computed from; `unchanged` if that has its very values."""

    dataset: Dataset
    column: str
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """What was read and written; nothing by default.

    Attributes:
        inputs: What was read.
        output: What was written, if anything was to be.
        origins: Of its columns, as far as they can be found out.
        written: Rows, bytes and files that were written.
        read: The same of what was read, if it was objects.
        keys: The keys of these.
    """

    inputs: tuple[Dataset, ...] = ()
    output: Dataset | None = None
    origins: Mapping[str, Sequence[Origin]] = field(default_factory=dict)
    written: Written | None = None
    read: Written | None = None
    keys: tuple[str, ...] = ()


def landed(lake: Lake, stream: Stream, run_id: str) -> Flow:
    """From the objects of a stream to its landing table, in a run."""
    rows = lake.rows(
        f"""
        SELECT key, size_bytes, row_count, snapshot_id FROM {META}.file_events
        WHERE source = ? AND stream = ? AND dag_run_id = ? AND event IN {LANDED_SQL} ORDER BY key
        """,
        [stream.source, stream.name, run_id],
    )
    if not rows:
        return Flow()
    keys, sizes, counts, snapshots = zip(*rows, strict=True)
    layout = layout_of(lake.settings, stream)
    columns = _columns(lake, [tables_of_stream(stream, {})[0]])[stream.landing_table]
    of_path = _HIVE_DAY if layout.has_hive_days else set()
    in_files = [c for c in columns if c.name not in of_path and not c.name.startswith("_lake_")]
    objects = Dataset(f"s3://{lake.settings.bucket}", layout.prefix.rstrip("/"), tuple(in_files))
    table = _table(lake.settings, "staging", stream.landing_table, columns, max(snapshots))
    return Flow(
        (objects,),
        table,
        {column.name: [Origin(objects, column.name, unchanged=True)] for column in in_files},
        written_in(lake, "staging", stream.landing_table, {*snapshots}),
        Written(sum(counts), sum(sizes), len(rows)),
        keys,
    )


def built(lake: Lake, name: str, results: Mapping[str, Any]) -> Flow:
    """From the tables that a dbt model or test reads to the one that it makes, in its last build.

    Args:
        lake: Open lake.
        name: Of the model or test.
        results: What is in dbt's `run_results.json`.
    """
    manifest = manifest_file(lake.settings.project_dir)
    document, models = read_document(manifest), load_models(manifest)
    outcomes = data_tests(results, document)
    tested = {table for outcome in outcomes for table in outcome.tables}
    if name not in models:
        known = [Known("main", table, "", {}) for table in sorted(tested)]
        columns = _columns(lake, known)
        inputs = [_table(lake.settings, "main", t.name, columns.get(t.name, ())) for t in known]
        return Flow(_with_tests(inputs, outcomes))
    node = model_node(document, name)
    reads = _tables_read(document, node)
    columns = _columns(lake, [*reads, Known("main", name, "", {})])
    is_built = node["unique_id"] in built_nodes(results)
    read_id, made_id = (is_built and last_build(lake, models[name])) or (None, None)
    inputs = [
        _table(lake.settings, t.schema, t.name, columns.get(t.name, ()), read_id) for t in reads
    ]
    output = _table(lake.settings, "main", name, columns.get(name, ()), made_id)
    # Tests read the table that was made.
    itself = [output] if name in tested else []
    return Flow(
        _with_tests([*inputs, *itself], outcomes),
        output,
        _origins(name, manifest, reads, columns, inputs),
        written_in(lake, "main", name, {made_id}) if made_id is not None else None,
    )


def _table(
    settings: Settings,
    schema: str,
    name: str,
    columns: tuple[Column, ...],
    version: int | None = None,
) -> Dataset:
    """A table; what tells a lake from others is the path that its catalog holds."""
    namespace = f"ducklake:{settings.data_path.rstrip('/')}"
    return Dataset(namespace, f"{LAKE}.{schema}.{name}", columns, version)


def _columns(lake: Lake, tables: list[Known]) -> dict[str, tuple[Column, ...]]:
    return {view.name: view.columns for view in read_tables(lake, tables)}


def _with_tests(datasets: Sequence[Dataset], outcomes: Sequence[DataTest]) -> tuple[Dataset, ...]:
    """The datasets with what was found in each."""
    return tuple(
        replace(
            dataset,
            tests=tuple(o for o in outcomes if dataset.name.rpartition(".")[2] in o.tables),
        )
        for dataset in datasets
    )


def _tables_read(document: Mapping[str, Any], node: Mapping[str, Any]) -> list[Known]:
    known = document["nodes"] | document["sources"]
    found = [known[parent] for parent in node["depends_on"]["nodes"] if parent in known]
    return [Known(n["schema"], n.get("identifier") or n["alias"], "", {}) for n in found]


def _origins(
    name: str,
    manifest: Path,
    reads: Sequence[Known],
    columns: Mapping[str, Sequence[Column]],
    inputs: Sequence[Dataset],
) -> dict[str, list[Origin]]:
    """Where the columns of a model come from; those that its SQL does not show are left out."""
    there: dict[str, dict[str, list[str]]] = {}
    for table in reads:
        if table.name in columns:
            there.setdefault(table.schema, {})[table.name] = [c.name for c in columns[table.name]]
    by_table = {table.name: dataset for table, dataset in zip(reads, inputs, strict=True)}
    own = {column.name.lower() for column in columns.get(name, ())}
    found: dict[str, list[Origin]] = {}
    with contextlib.suppress(UnrenderedModelError, UnresolvedLineageError):
        lineage = ModelLineage(name, render_model(manifest, name), there)
        carried = {
            (column, read.table, path)
            for read in lineage.inputs()
            for column, path in read.carried.items()
        }
        for column in lineage.columns:
            with contextlib.suppress(UnresolvedLineageError):
                found[column] = [
                    Origin(by_table[o.table], o.path[0], (column, o.table, o.path) in carried)
                    for o in lineage.origins(column)
                    if o.table in by_table and column.lower() in own
                ]
    return {column: origins for column, origins in found.items() if origins}
