"""A history in other formats, under keys without a day: the same tables."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import duckdb

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META
from lotus_lake.sql import identifier, literal
from samples import History, SampleFile
from tests.catalogs import on_sqlite
from tests.pipeline.driver import Pipeline

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PATH_FORMAT = "${NAMESPACE}/${STREAM_NAME}/${UUID}_{part_number}{format_extension}"
STREAMS = ("shopify__orders", "shopify__order_refunds", "klaviyo__lists")
TABLES = (*(f"int_{stream}" for stream in STREAMS), "fct_sales")
NAMES = (".jsonl", ".csv", ".jsonl.gz", ".csv.gz", ".parquet")


@on_sqlite
def test_every_table_is_as_its_records_say_in_any_format_and_without_days(
    pipeline: Pipeline, history: History, client: S3Client, tmp_path: Path
) -> None:
    pipeline.environment["LAKE_PATH_FORMAT"] = PATH_FORMAT
    files = [file for file in history.files if f"{file.source}__{file.stream}" in STREAMS]
    for number, file in enumerate(files):
        extension = NAMES[number % len(NAMES)]
        name = f"{UUID(int=len(files) - number)}_{number}{extension}"
        client.put_object(
            Bucket=pipeline.settings.bucket,
            Key=f"{pipeline.settings.raw_prefix}{file.source}/{file.stream}/{name}",
            Body=_written(file, extension, tmp_path / "converted"),
        )
        pipeline.arrived.add(file.key)
    states = pipeline.feed(*STREAMS)
    assert sum(s.registered + s.empty for s in states.values()) == len(files)
    with open_lake(pipeline.settings) as lake:
        events = dict(lake.rows(f"SELECT event, count(*) FROM {META}.feeder_files GROUP BY event"))
        rescued = lake.value(f"SELECT sum(rescued_count) FROM {META}.file_events")
    assert events["copied"] > 3 * events["registered"] > 0
    assert rescued is None
    pipeline.dbt("build", *TABLES)
    assert pipeline.wrong_tables(history, TABLES) == {}


def _written(file: SampleFile, extension: str, scratch: Path) -> bytes:
    """A sample file in another format, as Airbyte writes it."""
    if extension == ".parquet":
        return file.data
    scratch.write_bytes(file.data)
    target, is_csv = scratch.with_suffix(extension), "csv" in extension
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        source = f"FROM read_parquet({literal(str(scratch))})"
        changed = ["epoch_ms(_airbyte_extracted_at) AS _airbyte_extracted_at"]
        if is_csv:
            described = con.execute(f"DESCRIBE {source}").fetchall()
            nested = [name for name, kind, *_ in described if kind[-1] in ")]"]
            changed += [f"to_json({identifier(n)}) AS {identifier(n)}" for n in nested]
        options = "FORMAT csv, HEADER" if is_csv else "FORMAT json"
        con.execute(
            f"COPY (SELECT * REPLACE ({', '.join(changed)}) {source}) "
            f"TO {literal(str(target))} ({options}, COMPRESSION uncompressed)"
        )
    data = target.read_bytes()
    return gzip.compress(data) if extension.endswith(".gz") else data
