"""dlt as its documentation has it: new files by their time of modification, rows into DuckLake."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dlt
from dlt.destinations.impl.ducklake.configuration import DuckLakeCredentials
from dlt.sources.credentials import AwsCredentials
from dlt.sources.filesystem import filesystem, read_parquet

prefix, folder = sys.argv[1], Path(sys.argv[2])
access = AwsCredentials(
    aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    endpoint_url=os.environ["AWS_ENDPOINT_URL"],
    region_name=os.environ["AWS_REGION"],
)
files = filesystem(
    bucket_url=prefix,
    credentials=access,
    file_glob="**/*.parquet",
    incremental=dlt.sources.incremental("modification_date"),
)
pipeline = dlt.pipeline(
    "orders",
    pipelines_dir=str(folder / "pipelines"),
    destination=dlt.destinations.ducklake(
        DuckLakeCredentials(
            "lake", catalog=f"sqlite:///{folder}/catalog.sqlite", storage=f"file://{folder}/data"
        )
    ),
    dataset_name="staging",
)
pipeline.run((files | read_parquet()).with_name("orders"), write_disposition="append")
