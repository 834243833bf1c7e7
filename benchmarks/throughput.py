"""A stream in the shape of TPC-H's `lineitem` lands and is processed for the first time.

The floor is one scan of the same files that writes the columns of the processed table, with the
same casts, to Parquet. *Landing* goes from the first listing to the last commit; `full` validation
reads every value once before the files land. *Processed* is dbt's time for the first run of the
model, which keeps the newest version of each key. The starts of dbt and Airflow are not part of it.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.dbtrun import PROJECT, import_dbt, run_dbt, write_project
from benchmarks.lakes import EXTRACTED_AT, LAST_DAY, environment
from benchmarks.measuring import Measurement, measured
from benchmarks.results import Report
from benchmarks.store import BUCKET, run_store
from lotus_lake.bucket.keys import partition_path
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import find_stream
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.landing.tables import bring_up_to_config
from lotus_lake.ledger.schema import create_ledger
from lotus_lake.sql import literal
from tests.known_answer import tpch
from tests.known_answer.splits import write_streams

TITLE = "Throughput"
_MODEL = "int_tpch__lineitem"
_FILES = 16
_FOLD = 2
_DECIMALS = ("l_quantity", "l_extendedprice", "l_discount", "l_tax")


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    load(report, folder, scale=0.01 if quick else 3)


def load(report: Report, folder: Path, *, scale: float) -> None:
    """Measure at a scale factor of TPC-H: about 0.45 GB of raw files for each 1."""
    report.step(f"TPC-H, scale {scale:g}")
    truth = tpch.generate(folder / "truth.duckdb", scale)
    streams = folder / "streams"
    write_streams(truth, streams)
    files = _write_files(truth, folder)
    rows, size = _count(files)
    shutil.copytree(PROJECT / "tests" / "known_answer" / "dbt", write_project(folder),
                    dirs_exist_ok=True)  # fmt: skip
    dbt_dir = str(folder / "dbt")
    objects = {
        f"raw/tpch/lineitem/{partition_path(LAST_DAY)}/part_{number}.parquet": str(file)
        for number, file in enumerate(files)
    }
    with run_store(partial(dict, objects)) as store:

        def note(step: str, done: Measurement[Any], seconds: float) -> float:
            report.row(
                "Initial load",
                step=step,
                rows=rows,
                raw_GB=size / 1e9,
                seconds=seconds,
                GB_a_second=size / 1e9 / seconds,
                million_rows_a_second=rows / 1e6 / seconds,
                CPU_seconds=done.cpu_seconds,
                memory_MB=done.peak_mb,
                raw_bytes_read=store.take_counts().body_bytes,
            )
            return seconds

        landed = {}
        for validation in ("footer", "full"):
            variables = environment(folder, store, streams) | {"LAKE_PROJECT_DIR": str(PROJECT)}
            _set_validation(streams, validation)
            measured(prepare, environment=variables)
            store.take_counts()
            done = measured(land, environment=variables)
            assert done.result == len(files)
            landed[validation] = note(f"landing, {validation}", done, done.seconds)
        built = measured(
            run_dbt, dbt_dir, "run", "--select", _MODEL, environment=variables, before=import_dbt
        )
        processed = note("processed", built, built.result[_MODEL])
        scanned = measured(scan, str(folder / "floor.parquet"), environment=variables)
        floor = note("floor: scan and write", scanned, scanned.seconds)
    ratios = {name: (seconds + processed) / floor for name, seconds in landed.items()}
    report.target(
        f"initial load at most {_FOLD} times the floor",
        ", ".join(f"{name} validation {ratio:.1f}x" for name, ratio in ratios.items()),
        ratios["full"] <= _FOLD,
    )
    report.remark(
        f"Of the floor's time, full validation takes {landed['full'] / floor:.1f} times, and the "
        f"model {processed / floor:.1f} times: every row is read a second time, and the newest "
        "version of each key has to be found, which the floor does not do."
    )


def prepare() -> None:
    """Make the lake with ledger, guard and landing table."""
    with open_lake(Settings.from_env()) as lake:
        stream = find_stream(lake.settings.streams_dir, tpch.SOURCE, "lineitem")
        create_ledger(lake, stream)
        bring_up_to_config(lake, stream)


def land() -> int:
    """The feeder's tasks one after the other; returns how many files landed."""
    settings = Settings.from_env()
    stream = find_stream(settings.streams_dir, tpch.SOURCE, "lineitem")
    with open_lake(settings) as lake:
        list_files(lake, stream, s3_client(settings.s3), "benchmark")
        return sum(
            register_batch(lake, stream, batch, "benchmark").registered
            for batch in plan_batches(lake, stream)
        )


def scan(target: str) -> None:
    """Read all files once, and write what the processed table keeps."""
    casts = ", ".join(f"{name}::DECIMAL(15, 2) AS {name}" for name in _DECIMALS)
    with open_lake(Settings.from_env()) as lake:
        lake.con.execute(
            f"COPY (SELECT * EXCLUDE (_airbyte_meta, _airbyte_generation_id, year, month, day) "
            f"REPLACE ({casts}, l_linenumber::INTEGER AS l_linenumber) "
            f"FROM read_parquet('s3://{BUCKET}/raw/tpch/lineitem/**/*.parquet', "
            f"hive_partitioning = true)) TO {literal(target)}"
        )


def _write_files(truth: tpch.Truth, folder: Path) -> list[Path]:
    """Lineitem as Airbyte sends it, each row once."""
    stamp = literal(EXTRACTED_AT.isoformat())
    files = []
    with truth.connect() as con:
        columns = ", ".join(
            f"{name}::DOUBLE AS {name}" if kind == "DECIMAL"
            else f"{name}::BIGINT AS {name}" if kind == "INTEGER" else name
            for name, kind in tpch.columns(con, "lineitem").items()
        )  # fmt: skip
        for number in range(_FILES):
            files.append(folder / f"lineitem-{number}.parquet")
            con.execute(
                "COPY (SELECT uuid()::VARCHAR AS _airbyte_raw_id, "
                f"TIMESTAMPTZ {stamp} AS _airbyte_extracted_at, {{'sync_id': 1::BIGINT, "
                "'changes': []::STRUCT(field VARCHAR, change VARCHAR, reason VARCHAR)[]} "
                f"AS _airbyte_meta, 0::BIGINT AS _airbyte_generation_id, {columns}, "
                f"TIMESTAMPTZ {stamp} AS updated_at FROM lineitem "
                f"WHERE l_partkey % {_FILES} = {number}) TO {literal(str(files[-1]))}"
            )
    truth.file.unlink()
    return files


def _count(files: list[Path]) -> tuple[int, int]:
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata(?)",
            [[str(file) for file in files]],
        ).fetchone()
    assert found
    return found[0], sum(file.stat().st_size for file in files)


def _set_validation(streams: Path, validation: str) -> None:
    file = streams / tpch.SOURCE / "lineitem.json"
    document = json.loads(file.read_text())
    document["feeder"] = {"validation": validation, "retention_days": 365}
    file.write_text(json.dumps(document))
