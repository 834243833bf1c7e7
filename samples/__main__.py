"""`python -m samples`: list the sample files, or write them to a bucket."""

import os
from random import Random
from typing import Annotated

import boto3
import typer
from botocore.config import Config

from samples import History, SampleFile, generate, write_files

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Sample data: Airbyte-shaped Parquet files of a shop and its newsletter.",
)

Seed = Annotated[int, typer.Option(help="Chooses the records; the same seed gives the same bytes.")]
Scale = Annotated[int, typer.Option(min=1, help="Multiplies the number of records.")]
Days = Annotated[int, typer.Option(min=4, help="How many days the history spans.")]
Stream = Annotated[
    list[str] | None,
    typer.Option(help="Only this stream, such as shopify/orders; may be repeated."),
]


@app.command(name="list")
def list_files(seed: Seed = 7, scale: Scale = 1, days: Days = 6, stream: Stream = None) -> None:
    """Print time, rows, bytes and key of each file, in the order in which they appeared."""
    files = _chosen(generate(seed, scale, days=days), stream)
    for file in files:
        typer.echo(
            f"{file.written_at:%Y-%m-%dT%H:%M:%SZ} {file.row_count:6} {len(file.data):9} {file.key}"
        )
    typer.echo(_summary(files), err=True)


@app.command()
def write(
    raw_uri: Annotated[
        str,
        typer.Option(envvar="LAKE_RAW_URI", help="The raw prefix to write to, s3://bucket/prefix."),
    ],
    seed: Seed = 7,
    scale: Scale = 1,
    days: Days = 6,
    stream: Stream = None,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Write in a random order drawn from this seed."),
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Skip objects that are there with the same content.")
    ] = False,
) -> None:
    """Write the files to S3; the standard AWS_* variables say where and as whom."""
    files = _chosen(generate(seed, scale, days=days), stream)
    if shuffle is not None:
        Random(shuffle).shuffle(files)
    try:
        written = write_files(
            files,
            raw_uri,
            boto3.client("s3", config=_config()),
            only_new=only_new,
            on_written=lambda file: typer.echo(f"wrote {file.key}", err=True),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"{written} of {_summary(files)} written to {raw_uri}", err=True)


def _chosen(history: History, streams: list[str] | None) -> list[SampleFile]:
    known = {f"{file.source}/{file.stream}" for file in history.files}
    if unknown := sorted(set(streams or ()) - known):
        raise typer.BadParameter(
            f"no stream {unknown[0]!r}; hint: one of {', '.join(sorted(known))}"
        )
    return [
        file for file in history.files if not streams or f"{file.source}/{file.stream}" in streams
    ]


def _summary(files: list[SampleFile]) -> str:
    rows, size = sum(file.row_count for file in files), sum(len(file.data) for file in files)
    return f"{len(files)} files ({rows} rows, {size} bytes)"


def _config() -> Config:
    """Local S3 servers have no host name per bucket: the bucket goes into the path."""
    custom = any(name in os.environ for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    return Config(s3={"addressing_style": "path" if custom else "auto"})


if __name__ == "__main__":
    app()
