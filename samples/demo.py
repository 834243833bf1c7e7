"""`python -m samples.demo`: the whole path on sample data, with real Airflow.

Everything it writes is in `.lake/`: the bucket, the catalog, DuckLake's data, Airflow's own
database, logs. How it runs Airflow is in `demo_airflow.py`, what it shows of the lake in
`demo_tables.py`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lotus_lake.bucket.objects import list_objects, s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from lotus_lake.lake.connection import open_lake
from lotus_lake.project.manifest import ensure_manifest, load_models
from lotus_lake.quantities import counted
from samples import SampleFile, embedded_s3, generate, write_files
from samples.airflow_parts import read_health, run_parts
from samples.demo_airflow import (
    ACCESS_FILE,
    LAKE,
    airflow,
    console,
    environment,
    expect_free,
    prepare,
    run_all,
    step,
    web_environment,
)
from samples.demo_tables import Totals, read_totals, snapshot_id, summarise

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The whole path on sample data, with Airflow."
)
# Holds the address of Airflow's UI as long as `demo-ui` runs.
UI_FILE = LAKE / "ui.txt"
LANDING_SECONDS = 300

Seed = Annotated[int, typer.Option(help="Chooses the records of the sample data.")]
Scale = Annotated[int, typer.Option(min=1, help="Multiplies the number of records.")]

NEXT_STEPS = """\
What next:
  make demo        again: it finds nothing new
  make demo-ui     Airflow's web UI on this lake; `make drop` lets more files arrive
  make status      where each stream stands
  make demo-clean  forget everything
  README.md        add a stream of your own"""


@app.command()
def run(seed: Seed = 7, scale: Scale = 1) -> None:
    """Write the sample files, run all Dags with `airflow dags test`, show the result."""
    started = time.monotonic()
    with step("starting the S3 server"):
        env = environment()
    settings = Settings.from_env(env)
    with step("generating six days of sample files"):
        history = generate(seed, scale)
    with step(f"writing {len(history.files)} files of 9 streams to {settings.raw_uri}"):
        written = write_files(
            history.files, settings.raw_uri, s3_client(settings.s3), only_new=True
        )
    console.print(f"  {counted(written, 'file')} of them new")
    prepare(env)
    before = snapshot_id(settings)
    streams, _ = load_streams(settings.streams_dir)
    run_all([stream.id for stream in streams], env)
    if snapshot_id(settings) == before:
        console.print("\nNothing new was found, and nothing was changed.")
    else:
        run_all(enriched_dag_ids(settings), env)
    with open_lake(settings, read_only=True) as lake:
        summarise(lake, history)
    console.print(f"\n{time.monotonic() - started:.0f} s in all\n\n{NEXT_STEPS}")


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port of the web UI.")] = 8080) -> None:
    """Run Airflow with its web UI on the demo's lake until Ctrl-C."""
    expect_free(port)
    with step("starting the S3 server"):
        env = environment() | web_environment(port)
    prepare(env)
    url = env["AIRFLOW__API__BASE_URL"]
    UI_FILE.write_text(url)
    try:
        run_parts(airflow(), env, LAKE / "logs", url, console)
    finally:
        UI_FILE.unlink(missing_ok=True)


@app.command()
def drop(
    files: Annotated[int, typer.Option(min=1, help="How many files.")] = 12,
    bad: Annotated[bool, typer.Option("--bad", help="One file, cut off in the middle.")] = False,
    mend: Annotated[bool, typer.Option("--mend", help="Write such files anew, whole.")] = False,
) -> None:
    """Let the next files of a later history arrive in the bucket, as Airbyte would."""
    expect_demo()
    settings = Settings.from_env(environment())
    client = s3_client(settings.s3)
    listed = list_objects(client, settings.bucket, settings.raw_prefix)
    present = {item.key.removeprefix(settings.raw_prefix): item.size_bytes for item in listed}
    later = generate(seed=8, start=date(2026, 3, 7))
    if bad:
        cut_off(settings, client, [file for file in later.files if file.key not in present])
        return
    waiting = [file for file in later.files if file.key not in present][:files]
    if mend:
        waiting = [f for f in later.files if present.get(f.key, len(f.data)) != len(f.data)]
    if not waiting and mend:
        console.print("no file is cut off; `make drop BAD=1` lets one arrive")
        return
    if not waiting:
        console.print("every file of the later history has arrived already")
        return
    before, known = read_totals(settings)

    def tell(file: SampleFile) -> None:
        console.print(f"  {file.key}: {counted(file.row_count, 'row')}")

    write_files(waiting, settings.raw_uri, client, on_written=tell)
    keys = [file.key for file in waiting]
    new = [row["order_id"] for row in later.expected("fct_sales", keys)]
    order_id = next((order_id for order_id in new if order_id not in known), None)
    after = wait_for(settings, before, len(waiting), order_id)
    table = Table("", "files", "landed rows", "orders in fct_sales", "total_sales")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("before", *before.cells())
    if after is not None:
        table.add_row("after", *after.cells())
    console.print(table)
    if order_id is not None:
        console.print(
            f"A new order is {order_id}:\n"
            f'  lotus-lake query "SELECT * FROM main.fct_sales WHERE order_id = {order_id}"'
        )


def cut_off(settings: Settings, client: S3Client, waiting: Sequence[SampleFile]) -> None:
    """Let a file of the orders arrive of which only the first half is there."""
    file = next((file for file in waiting if file.stream == "orders"), None)
    if file is None:
        console.print("every file of the later history has arrived already")
        return
    write_files([replace(file, data=file.data[: len(file.data) // 2])], settings.raw_uri, client)
    console.print(
        f"  {file.key}: cut off in the middle\n"
        "It goes into quarantine, and the next files land. `lotus-lake status` and the page Lake "
        "of Airflow's\nUI say why; `make drop MEND=1` writes it anew, whole."
    )


def wait_for(settings: Settings, before: Totals, files: int, order_id: int | None) -> Totals | None:
    """The totals once the files have landed and the order is in `fct_sales`.

    `None` if no Airflow runs here that would do it, or if it takes longer than people wait.
    """
    if not UI_FILE.exists() or not read_health(UI_FILE.read_text()):
        console.print(
            "Airflow does not run: `make demo-ui` lands the files as they arrive; a stream alone, "
            "`lotus-lake feed SOURCE STREAM`"
        )
        return None
    deadline = time.monotonic() + LANDING_SECONDS
    with step(f"waiting for Airflow to land {counted(files, 'file')} and to rebuild fct_sales"):
        while time.monotonic() < deadline:
            now, orders = read_totals(settings)
            is_built = now.orders > before.orders and order_id in orders
            if now.files >= before.files + files and (order_id is None or is_built):
                return now
            time.sleep(2)
    console.print(f"not done in {LANDING_SECONDS} s: {UI_FILE.read_text()} shows what runs")
    return None


@app.command()
def stop() -> None:
    """Stop the demo's S3 server; everything stays on disk."""
    embedded_s3.stop(ACCESS_FILE)


@app.command()
def clean() -> None:
    """Stop the server and delete everything the demo made."""
    embedded_s3.stop(ACCESS_FILE)
    shutil.rmtree(LAKE, ignore_errors=True)


def expect_demo() -> None:
    """Refuse to go on without a lake of the demo."""
    if not (LAKE / "catalog.sqlite").exists() and "LAKE_CATALOG" not in os.environ:
        raise SystemExit(
            f"{LAKE} contains no lake of the demo\n"
            "hint: `make demo` first; `make demo-ui` and `make drop` go on from there"
        )


def enriched_dag_ids(settings: Settings) -> list[str]:
    """The Dags of the enriched domains, from the dbt graph."""
    models = load_models(ensure_manifest(settings.project_dir)).values()
    return sorted({f"enriched__{model.folder}" for model in models if model.layer == "enriched"})


if __name__ == "__main__":
    app()
