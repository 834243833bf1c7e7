"""10,000 new rows go into a processed table of 1 million rows, and of 10 million.

The rows come in ten files. *Spread* rows are new versions of records all over the table; *recent*
ones are half new versions of the newest records, half new records. dbt runs in its own process, its
imports are not counted; *model* is dbt's own time for the model. Landing files lie in S3, processed
ones on the disk.

The original is a merge of what is newer than the newest `_airbyte_extracted_at`, which also loses
what is late; the naive way rebuilds the table. The others are layouts that Lotus Lake could have:
the table sorted by its key, in 16 buckets of its key, and `delete+insert`, which does not keep the
newest version.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb

from benchmarks.dbtrun import PROJECT, import_dbt, run_dbt, write_project
from benchmarks.lakes import (
    EXTRACTED_AT,
    LAST_DAY,
    PREFIX,
    environment,
    prepare,
    rows_query,
    write_stream,
)
from benchmarks.measuring import measured
from benchmarks.registration import lotus
from benchmarks.results import Plot, Report
from benchmarks.store import Store, run_store
from lotus_lake.bucket.keys import partition_path
from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE
from lotus_lake.sql import literal

TITLE = "Processed merge"
OURS, NAIVE, ORIGINAL = "int_shop__orders", "rebuilt_orders", "orders_by_time"
LABELS = {
    OURS: "Lotus Lake",
    ORIGINAL: "original: newer than the newest",
    NAIVE: "naive: rebuild",
    "sorted_orders": "layout: sorted by key",
    "bucketed_orders": "layout: 16 buckets of the key",
    "replaced_orders": "layout: delete+insert",
}
_LAYOUTS = {
    "sorted_orders": "SELECT * FROM {table} ORDER BY order_id",
    "bucketed_orders": "SELECT * FROM {table}",
    "replaced_orders": "SELECT * FROM {table}",
}
_NEW_ROWS, _NEW_FILES, _ROWS_A_FILE = 10_000, 10, 1_000_000
_MEMORY_LIMIT_MB = 2 * 2**30 / 1e6
_FOLD = 3


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    sizes = [20_000, 100_000] if quick else [1_000_000, 10_000_000]
    kinds = ("spread",) if quick else ("spread", "recent")
    dbt_dir = write_project(folder)
    plot = Plot("merging", "10,000 spread rows into a table", "rows of the table", "seconds of CPU")
    for count in sizes:
        models = [OURS, ORIGINAL, NAIVE, *(_LAYOUTS if count == 10_000_000 else ())]
        if quick and count == sizes[0]:
            models = [OURS]
        with run_store() as store:
            variables = environment(folder, store, write_stream(folder, validation="footer"))
            variables |= {"LAKE_PROJECT_DIR": str(PROJECT), "DBT_SEND_ANONYMOUS_USAGE_STATS": "0"}
            measured(prepare, environment=variables)
            report.step(f"{count:,} rows land and are processed for the first time")
            _arrive(store, folder, f"{count}-first", _first_files(count))
            assert measured(lotus, environment=variables).result > 0
            _dbt(report, store, variables, dbt_dir, (OURS, count, "first"))
            if others := [model for model in models if model in (ORIGINAL, NAIVE)]:
                select = (str(dbt_dir), "run", "--select", *others)
                measured(run_dbt, *select, environment=variables)
            measured(copy_layouts, models, environment=variables)
            for number, kind in enumerate(kinds, start=1):
                _arrive(store, folder, f"{count}-{kind}", _new_files(count, kind, number))
                landed = measured(lotus, environment=variables).result
                assert landed == _NEW_FILES, landed
                if kind != "spread":  # which layout is best shows where rows are spread
                    models = [model for model in models if model not in _LAYOUTS]
                for model in models:
                    cpu = _dbt(report, store, variables, dbt_dir, (model, count, kind))
                    if kind == "spread":
                        report.point(plot, LABELS[model], count, cpu)
                assert len(set(measured(sums, models, environment=variables).result)) == 1
    _judge(report, sizes, kinds)


def copy_layouts(models: list[str]) -> None:
    """Copy the processed table into the other layouts, with its watermark."""
    table = f"{LAKE}.main.{OURS}"
    with open_lake(Settings.from_env()) as lake:
        for model in set(models) & _LAYOUTS.keys():
            lake.rows(f"CREATE TABLE {LAKE}.main.{model} AS FROM {table} LIMIT 0")
            if model == "bucketed_orders":
                lake.rows(
                    f"ALTER TABLE {LAKE}.main.{model} SET PARTITIONED BY (bucket(16, order_id))"
                )
            lake.con.execute("SET preserve_insertion_order = true")
            lake.rows(f"INSERT INTO {LAKE}.main.{model} {_LAYOUTS[model].format(table=table)}")
            lake.rows(
                f"CREATE TABLE {LAKE}.meta.watermark_{model} AS FROM {LAKE}.meta.watermark_{OURS}"
            )


def sums(models: list[str]) -> list[tuple[int, str]]:
    """A checksum of each table: all of them have to be equal."""
    with open_lake(Settings.from_env(), read_only=True) as lake:
        return [
            lake.rows(
                "SELECT count(*), sum(hash(order_id, status, amount, _airbyte_raw_id))::VARCHAR "
                f"FROM {LAKE}.main.{model}"
            )[0]
            for model in models
        ]


def _first_files(count: int) -> list[str]:
    step = min(count, _ROWS_A_FILE)
    return [rows_query(first, step) for first in range(0, count, step)]


def _new_files(count: int, kind: str, number: int) -> list[str]:
    rows = _NEW_ROWS // _NEW_FILES
    moment = EXTRACTED_AT + timedelta(hours=number)
    if kind == "spread":
        every = count // _NEW_ROWS
        return [rows_query(part * rows * every, rows, every, moment) for part in range(_NEW_FILES)]
    first = count - _NEW_ROWS // 2
    return [rows_query(first + part * rows, rows, 1, moment) for part in range(_NEW_FILES)]


def _arrive(store: Store, folder: Path, name: str, queries: list[str]) -> None:
    objects = {}
    with duckdb.connect() as con:
        con.execute("SET threads = 2")
        for number, query in enumerate(queries):
            file = folder / f"{name}-{number}.parquet"
            con.execute(f"COPY ({query}) TO {literal(str(file))}")
            objects[f"{PREFIX}{partition_path(LAST_DAY)}/{name}_{number}.parquet"] = str(file)
    store.add(objects)


def _dbt(
    report: Report, store: Store, variables: dict[str, str], dbt_dir: Path,
    case: tuple[str, int, str],
) -> float:  # fmt: skip
    model, count, kind = case
    store.take_counts()
    done = measured(
        run_dbt, str(dbt_dir), "run", "--select", model, environment=variables, before=import_dbt
    )
    requests = store.take_counts()
    report.row(
        "dbt run of the model",
        rows_of_the_table=count,
        new_rows="all" if kind == "first" else f"{kind}",
        how=LABELS[model],
        model_seconds=done.result[model],
        seconds=done.seconds,
        CPU_seconds=done.cpu_seconds,
        memory_MB=done.peak_mb,
        landing_files_read=requests.objects_read,
        landing_bytes_read=requests.body_bytes,
    )
    return done.cpu_seconds


def _judge(report: Report, sizes: list[int], kinds: tuple[str, ...]) -> None:
    rows = report.tables["dbt run of the model"].rows
    found = {(row[0], row[1], row[2]): row for row in rows}
    small, large = sizes
    ratios = {}
    for kind in kinds:
        seconds = [float(str(found[count, kind, LABELS[OURS]][3])) for count in (small, large)]
        cpu = [float(str(found[count, kind, LABELS[OURS]][5])) for count in (small, large)]
        ratios[kind] = (seconds[1] / seconds[0], cpu[1] / cpu[0])
    report.target(
        f"10,000 rows into {large:,} at most {_FOLD} times those into {small:,}",
        ", ".join(f"{kind} {model:.1f}x (CPU {cpu:.1f}x)" for kind, (model, cpu) in ratios.items()),
        max(model for model, _ in ratios.values()) <= _FOLD,
    )
    ours = [row for row in rows if row[2] == LABELS[OURS] and row[1] != "all"]
    most = max(int(str(row[7])) for row in ours)
    report.target(
        f"opens only the {_NEW_FILES} new landing files", f"{most} files", most <= _NEW_FILES
    )
    first = [row for row in rows if row[2] == LABELS[OURS] and row[1] == "all"]
    for what, some in (("an increment", ours), ("the first build", first)):
        peak = max(float(str(row[6])) for row in some)
        report.target(
            f"memory of {what} below LAKE_MEMORY_LIMIT, {_MEMORY_LIMIT_MB:,.0f} MB",
            f"{peak:,.0f} MB",
            peak < _MEMORY_LIMIT_MB,
        )
    report.remark(
        "LAKE_MEMORY_LIMIT is what DuckDB keeps to; Python, dbt and what DuckDB does not count "
        "come on top. docs/deployment.md reckons a worker's memory with that."
    )
