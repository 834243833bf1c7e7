"""What lands in another way than plain registration costs more: copies, formats, histories.

The same rows of ten columns come in many small files and in few large ones: as Parquet that fits
its table, which is registered; as Parquet of which one column (`amount`) has become text, so that a
copy is written, with all values in it or with one of ten rescued; and in Airbyte's other formats.
Every value is read before it lands (`validation: full`). Then dbt builds the processed model and
the history beside it from the rows of the large files, and merges 10,000 new versions.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.dbtrun import PROJECT, import_dbt, run_dbt, write_project
from benchmarks.lakes import (
    EXTRACTED_AT,
    LAST_DAY,
    PREFIX,
    environment,
    prepare,
    rows_query,
    stream,
    write_stream,
)
from benchmarks.measuring import Measurement, measured
from benchmarks.results import Report
from benchmarks.store import Store, run_store
from lotus_lake.bucket.keys import partition_path
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.sql import literal

TITLE = "Copies, formats and histories"
PLAIN, COPY, RESCUE = "Parquet, registered", "Parquet, copied", "Parquet, one of ten rescued"
_MODEL, _HISTORY = "int_shop__orders", "hist_shop__orders"
_NEW_ROWS = 10_000
_IDLE = (
    "Of each landing, {:.2f} s of CPU open the lake and look at the queue. They are part of the "
    "seconds, and not of the milliseconds of a file and of a thousand rows."
)
_TEXTS = "* REPLACE (amount::VARCHAR AS amount)"
_BAD = "* REPLACE (CASE WHEN id % 10 = 0 THEN 'unknown' ELSE amount::VARCHAR END AS amount)"
# As Airbyte writes them into text.
_PLAIN_TIMES = (
    "epoch_ms(_airbyte_extracted_at) AS _airbyte_extracted_at, "
    "strftime(updated_at, '%Y-%m-%dT%H:%M:%SZ') AS updated_at"
)


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    sizes = [(10, 200), (2, 2_000)] if quick else [(200, 200), (4, 100_000)]
    ways: dict[str, tuple[str, Callable[[Path, int, int], None]]] = {
        PLAIN: ("parquet", partial(_copy, "*", "parquet")),
        COPY: ("parquet", partial(_copy, _TEXTS, "parquet")),
        RESCUE: ("parquet", partial(_copy, _BAD, "parquet")),
        "JSONL": ("jsonl", partial(_copy, f"* REPLACE ({_PLAIN_TIMES})", "json")),
        "CSV": (
            "csv",
            partial(
                _copy,
                f"* REPLACE ({_PLAIN_TIMES}, to_json(_airbyte_meta) AS _airbyte_meta)",
                "csv, HEADER true",
            ),
        ),
        "Avro": ("avro", _write_avro),
    }
    cpu: dict[tuple[str, int], float] = {}
    idle: float | None = None
    for count, rows in sizes:
        for way, (suffix, write) in ways.items():
            objects = _files(folder, count, rows, suffix, write)
            with run_store(partial(dict, objects)) as store:
                variables = environment(folder, store, write_stream(folder, max_batches=500))
                measured(prepare, environment=variables)
                if idle is None:
                    idle = measured(list_nothing, environment=variables).cpu_seconds
                    report.remark(_IDLE.format(idle))
                done = measured(land, environment=variables)
                assert done.result == count, (way, done.result)
                cpu[way, count] = done.cpu_seconds - idle
                _note(report, (way, count, rows), done, cpu[way, count])
                if way == PLAIN and (count, rows) == sizes[-1]:
                    _histories(report, folder, store, variables, count * rows)
            for file in objects.values():
                Path(file).unlink()
    _judge(report, cpu, sizes)


def list_nothing() -> None:
    """What a run costs before it looks at a file: open the lake, and ask the queue."""
    with open_lake(Settings.from_env()) as lake:
        plan_batches(lake, stream())
        s3_client(lake.settings.s3)


def land() -> int:
    """The feeder's tasks one after the other; returns how many files landed."""
    settings, config = Settings.from_env(), stream()
    landed = 0
    with open_lake(settings) as lake:
        list_files(lake, config, s3_client(settings.s3), "benchmark")
        for batch in plan_batches(lake, config):
            done = register_batch(lake, config, batch, "benchmark")
            landed += done.registered + done.copied
    return landed


def _files(
    folder: Path, count: int, rows: int, suffix: str, write: Callable[[Path, int, int], None]
) -> dict[str, str]:
    objects = {}
    for number in range(count):
        file = folder / f"copies-{number}.{suffix}"
        write(file, number * rows, rows)
        objects[f"{PREFIX}{partition_path(LAST_DAY)}/part_{number}.{suffix}"] = str(file)
    return objects


def _copy(columns: str, kind: str, file: Path, first_id: int, rows: int) -> None:
    with duckdb.connect() as con:
        query = f"SELECT {columns} FROM ({rows_query(first_id, rows)})"
        con.execute(f"COPY ({query}) TO {literal(str(file))} (FORMAT {kind})")


def _write_avro(file: Path, first_id: int, rows: int) -> None:
    import fastavro  # type: ignore[import-not-found,import-untyped,unused-ignore]

    kinds: dict[str, Any] = {
        "_airbyte_raw_id": "string",
        "_airbyte_extracted_at": {"type": "long", "logicalType": "timestamp-millis"},
        "_airbyte_generation_id": "long",
        "id": ["null", "long"],
        "customer_id": ["null", "long"],
        "status": ["null", "string"],
        "amount": ["null", "double"],
        "note": ["null", "string"],
        "updated_at": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
    }
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        found = con.execute(
            f"SELECT {', '.join(kinds)} FROM ({rows_query(first_id, rows)})"
        ).fetchall()
    records = [
        {
            name: value.replace(tzinfo=datetime.UTC)
            if isinstance(value, datetime.datetime) and value.tzinfo is None
            else value
            for name, value in zip(kinds, row, strict=True)
        }
        for row in found
    ]
    schema = {
        "type": "record",
        "name": "orders",
        "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
    }
    with file.open("wb") as target:
        fastavro.writer(target, json.loads(json.dumps(schema)), records, codec="deflate")


def _note(
    report: Report, case: tuple[str, int, int], done: Measurement[int], cpu_seconds: float
) -> None:
    way, count, rows = case
    report.row(
        "Landing",
        files=count,
        rows_a_file=rows,
        how=way,
        seconds=done.seconds,
        CPU_seconds=done.cpu_seconds,
        CPU_ms_a_file=cpu_seconds * 1000 / count,
        CPU_ms_a_thousand_rows=cpu_seconds * 1_000_000 / (count * rows),
        memory_MB=done.peak_mb,
    )


def _histories(
    report: Report, folder: Path, store: Store, variables: dict[str, str], total: int
) -> None:
    dbt_dir = write_project(folder)
    variables = variables | {
        "LAKE_PROJECT_DIR": str(PROJECT),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "0",
    }

    def build(new_rows: str) -> None:
        for model in (_MODEL, _HISTORY):
            arguments = (str(dbt_dir), "run", "--select", model)
            done = measured(run_dbt, *arguments, environment=variables, before=import_dbt)
            report.row(
                "dbt run of a model",
                rows_of_the_table=total,
                new_rows=new_rows,
                model="history" if model == _HISTORY else "newest versions",
                model_seconds=done.result[model],
                CPU_seconds=done.cpu_seconds,
                memory_MB=done.peak_mb,
            )

    build("all")
    new = min(_NEW_ROWS, total // 10)
    file = folder / "copies-new.parquet"
    moment = EXTRACTED_AT + datetime.timedelta(hours=1)
    with duckdb.connect() as con:
        query = rows_query(0, new, total // new, moment)
        con.execute(f"COPY ({query}) TO {literal(str(file))} (FORMAT parquet)")
    store.add({f"{PREFIX}{partition_path(LAST_DAY)}/part_new.parquet": str(file)})
    assert measured(land, environment=variables).result == 1
    build(f"{new:,} new versions")


def _judge(report: Report, cpu: dict[tuple[str, int], float], sizes: list[tuple[int, int]]) -> None:
    for count, rows in sizes:
        report.target(
            f"{count} files of {rows:,} rows: CPU of landing, in times of registration",
            ", ".join(
                f"{way} {seconds / cpu[PLAIN, count]:.1f}x"
                for (way, files), seconds in cpu.items()
                if files == count and way != PLAIN
            ),
            None,
        )
