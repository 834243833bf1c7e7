"""`python -m samples.demo`: the whole path on sample data, with real Airflow.

Everything it writes is in `.lake/`: the bucket, the catalog, DuckLake's data, Airflow's own
database, logs.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lotus_lake.bucket.objects import list_objects, s3_client
from lotus_lake.config.connections import EMBEDDED_S3_FILE
from lotus_lake.config.project_dir import LAKE_DIR, find_project_dir
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from lotus_lake.lake.connection import open_lake, open_to_read
from lotus_lake.lake.session import META, Lake
from lotus_lake.project.manifest import ensure_manifest, load_models
from lotus_lake.quantities import counted
from samples import History, SampleFile, embedded_s3, generate, write_files
from samples.airflow_parts import read_health, run_parts

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The whole path on sample data, with Airflow."
)
# A pipe has no width of its own; the tables need some.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

PROJECT = find_project_dir(os.environ)
LAKE = PROJECT / LAKE_DIR
ACCESS_FILE = LAKE / EMBEDDED_S3_FILE
# Holds the address of Airflow's UI as long as `demo-ui` runs.
UI_FILE = LAKE / "ui.txt"
LANDING_SECONDS = 300
# Two at a time: one `airflow dags test` keeps one core busy.
PARALLEL_DAGS = 2

Seed = Annotated[int, typer.Option(help="Chooses the records of the sample data.")]
Scale = Annotated[int, typer.Option(min=1, help="Multiplies the number of records.")]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the lake holds."""

    files: int
    rows: int
    orders: int
    sales: Decimal

    def cells(self) -> list[str]:
        """As text, for a table."""
        return [str(self.files), str(self.rows), str(self.orders), f"{self.sales:,.2f}"]


@dataclass(frozen=True, slots=True)
class DagResult:
    """How a Dag's test run ended."""

    dag_id: str
    succeeded: bool
    seconds: float
    log: Path


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
def drop(files: Annotated[int, typer.Option(min=1, help="How many files.")] = 12) -> None:
    """Let the next files of a later history arrive in the bucket, as Airbyte would."""
    expect_demo()
    settings = Settings.from_env(environment())
    client = s3_client(settings.s3)
    present = {o.key for o in list_objects(client, settings.bucket, settings.raw_prefix)}
    later = generate(seed=8, start=date(2026, 3, 7))
    waiting = [f for f in later.files if settings.raw_prefix + f.key not in present][:files]
    if not waiting:
        console.print("every file of the later history is there already")
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


def environment() -> dict[str, str]:
    """Variables for the demo's processes; starts the embedded S3 server when it is needed."""
    env = dict(os.environ)
    if not {"AWS_ENDPOINT_URL", "AIRFLOW_CONN_AWS_DEFAULT"} & env.keys():
        env |= embedded_s3.start(LAKE / "s3", ACCESS_FILE)
    return env | airflow_environment(env, LAKE / "airflow")


def web_environment(port: int) -> dict[str, str]:
    """Variables that put Airflow's api-server on a port of the loopback."""
    url = f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
    }


def airflow_environment(env: Mapping[str, str], airflow_home: Path) -> dict[str, str]:
    """Variables that make Airflow run this checkout, offline, with its files in a folder."""
    return {
        # `airflow standalone` starts its parts by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),
        "LAKE_PROJECT_DIR": str(PROJECT),
        "LAKE_POKE_INTERVAL_SECONDS": env.get("LAKE_POKE_INTERVAL_SECONDS", "5"),
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # Each task is a process of its own: more of them than cores only wait for each other.
        "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "10",
        # 5 s by default, which an api-server that has just started may need for its first answers.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        # After an edit of a model, a look at the Dag files waits for `dbt parse`.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
        "AIRFLOW__API__HOST": "127.0.0.1",
    }


def expect_demo() -> None:
    """Refuse to go on without a lake of the demo."""
    if not (LAKE / "catalog.sqlite").exists() and "LAKE_CATALOG" not in os.environ:
        raise SystemExit(
            f"{LAKE} holds no lake of the demo\n"
            "hint: `make demo` first; `make demo-ui` and `make drop` go on from there"
        )


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show what is going on, and how long it took."""
    started = time.monotonic()
    console.print(f"  {name} ...", end="")
    yield
    console.print(f" {time.monotonic() - started:.0f} s")


def read_totals(settings: Settings) -> tuple[Totals, set[int]]:
    """What has landed, and the orders of `fct_sales`."""
    with open_to_read(settings) as lake:
        files, rows = lake.rows(
            f"SELECT count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.feeder_files "
            "WHERE event IN ('registered', 'copied', 'retired', 'empty')"
        )[0]
        if "fct_sales" not in lake.tables("main"):
            return Totals(files, rows, 0, Decimal(0)), set()
        sales = lake.rows("SELECT order_id, total_sales FROM lakehouse.main.fct_sales")
    total = sum((amount for _, amount in sales), Decimal(0))
    return Totals(files, rows, len(sales), total), {order_id for order_id, _ in sales}


def expect_free(port: int) -> None:
    """Fail now, and not when the scheduler runs already beside that of an earlier `demo-ui`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SystemExit(
                f"port {port} of 127.0.0.1: {error.strerror}\n"
                "hint: end the `make demo-ui` that is running; for another program, "
                "make demo-ui PORT=8090"
            ) from None


def prepare(env: dict[str, str]) -> None:
    """Migrate Airflow's database and parse the dbt project, both only when needed."""
    (LAKE / "logs").mkdir(parents=True, exist_ok=True)
    with step("parsing the dbt project"):
        ensure_manifest(PROJECT)
    with step("migrating Airflow's database"):
        call([airflow(), "db", "migrate"], env, LAKE / "logs" / "db_migrate.log")
    # Two processes that both find a new Dag would both insert it.
    with step("serializing the Dags"):
        call([airflow(), "dags", "reserialize"], env, LAKE / "logs" / "reserialize.log")


def run_all(dag_ids: Sequence[str], env: dict[str, str]) -> None:
    """Run Dags, two at a time, and report each as it ends; stop the demo when one fails."""
    failed = []
    console.print(f"\nrunning {counted(len(dag_ids), 'Dag')}, {PARALLEL_DAGS} at a time:")
    with ThreadPoolExecutor(PARALLEL_DAGS) as pool:
        runs = [pool.submit(test_dag, dag_id, env) for dag_id in dag_ids]
        for run_ended in as_completed(runs):
            result = run_ended.result()
            mark = "[green]ok[/]" if result.succeeded else "[red]failed[/]"
            console.print(f"  {result.dag_id:<28} {mark} {result.seconds:4.0f} s")
            failed += [] if result.succeeded else [result]
    for result in failed:
        console.print(f"{result.dag_id} failed; the end of {result.log}:", style="red")
        console.print("\n".join(result.log.read_text().splitlines()[-40:]), markup=False)
    if failed:
        raise typer.Exit(1)


def test_dag(dag_id: str, env: dict[str, str]) -> DagResult:
    """Run one Dag as a person or a CI job would: `airflow dags test`."""
    log, started = LAKE / "logs" / f"{dag_id}.log", time.monotonic()
    console.print(f"  {dag_id:<28} [dim]starts[/]")
    code = call([airflow(), "dags", "test", dag_id], env, log, check=False)
    return DagResult(dag_id, code == 0, time.monotonic() - started, log)


def call(command: Sequence[str], env: dict[str, str], log: Path, *, check: bool = True) -> int:
    """Run a command into a log file.

    Raises:
        typer.Exit: It failed, and `check` is set.
    """
    with log.open("w") as output:
        code = subprocess.run(
            command, env=env, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if check and code:
        console.print(f"{' '.join(command)} failed, see {log}", style="red")
        raise typer.Exit(1)
    return code


def airflow() -> str:
    """The airflow beside this Python."""
    return str(Path(sys.executable).with_name("airflow"))


def snapshot_id(settings: Settings) -> int:
    """The lake's newest snapshot."""
    with open_lake(settings) as lake:
        return int(lake.value("SELECT id FROM lakehouse.current_snapshot()"))


def enriched_dag_ids(settings: Settings) -> list[str]:
    """The Dags of the enriched domains, from the dbt graph."""
    models = load_models(ensure_manifest(settings.project_dir)).values()
    return sorted({f"enriched__{model.folder}" for model in models if model.layer == "enriched"})


def summarise(lake: Lake, history: History) -> None:
    """Print files per stream, rows per table, and `fct_sales`."""
    _print_files(lake)
    _print_tables(lake)
    _print_sales(lake)
    for line in compare(lake, history):
        console.print(line)


def compare(lake: Lake, history: History) -> Iterator[str]:
    """Compare every table with what the generator says it must hold."""
    landed = [
        key.removeprefix(lake.settings.raw_prefix)
        for (key,) in lake.rows(
            f"SELECT key FROM {META}.feeder_files WHERE event IN ('registered', 'retired', 'empty')"
        )
    ]
    if set(landed) - {file.key for file in history.files}:
        yield "Other files than those of this history have landed: tables are not compared."
        return
    wrong = [
        model for model in MODELS if table_rows(lake, model) != history.expected(model, landed)
    ]
    if wrong:
        console.print(f"NOT as the records say: {', '.join(wrong)}", style="bold red")
        raise typer.Exit(1)
    yield (
        f"All {len(MODELS)} tables equal, row by row and cent by cent, what the generator computes "
        "from its records."
    )


def table_rows(lake: Lake, model: str) -> list[dict[str, Any]]:
    """Rows of a model, in key order, without the columns that only the increment needs."""
    cursor = lake.con.execute(
        f"SELECT COLUMNS(name -> name[1] <> '_') FROM lakehouse.main.{model} ORDER BY ALL"
    )
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


MODELS = (
    "int_klaviyo__campaigns",
    "int_klaviyo__events",
    "int_klaviyo__flows",
    "int_klaviyo__lists",
    "int_klaviyo__metrics",
    "int_klaviyo__profiles",
    "int_shopify__customers",
    "int_shopify__order_refunds",
    "int_shopify__orders",
    "fct_sales",
)
NEXT_STEPS = """\
What next:
  make demo        again: it finds nothing new
  make demo-ui     Airflow's web UI on this lake; `make drop` lets more files arrive
  make status      where each stream stands
  make demo-clean  forget everything
  README.md        add a stream of your own"""


def _print_files(lake: Lake) -> None:
    table = Table("stream", "seen", "registered", "empty", "quarantined", "rows", title="Files")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in lake.rows(
        "SELECT source || '/' || stream, count(*), "
        "count(*) FILTER (event IN ('registered', 'retired')), count(*) FILTER (event = 'empty'), "
        "count(*) FILTER (event = 'quarantined'), "
        "coalesce(sum(row_count) FILTER (event IN ('registered', 'retired')), 0)::BIGINT "
        f"FROM {META}.feeder_files GROUP BY source, stream ORDER BY source, stream"
    ):
        table.add_row(*map(str, row))
    console.print(table)


def _print_tables(lake: Lake) -> None:
    table = Table("table", "rows", title="Tables")
    table.columns[1].justify = "right"
    for model in MODELS:
        rows = lake.value(f"SELECT count(*) FROM lakehouse.main.{model}")
        table.add_row(f"lakehouse.main.{model}", str(rows))
    console.print(table)


def _print_sales(lake: Lake) -> None:
    columns = "gross_sales, discounts, returns, net_sales, shipping, taxes, total_sales"
    table = Table("order_id", "order_date", *columns.split(", "), title="fct_sales, first orders")
    for column in table.columns[2:]:
        column.justify = "right"
    sums = ", ".join(f"sum({name})" for name in columns.split(", "))
    for row in lake.rows(
        f"SELECT order_id, order_date::DATE, {columns} FROM lakehouse.main.fct_sales "
        "ORDER BY order_date, order_id LIMIT 5"
    ):
        table.add_row(str(row[0]), str(row[1]), *(f"{value:,.2f}" for value in row[2:]))
    table.add_section()
    count, *totals = lake.rows(f"SELECT count(*), {sums} FROM lakehouse.main.fct_sales")[0]
    table.add_row("all", f"{count} orders", *(f"{value:,.2f}" for value in totals))
    console.print(table)


if __name__ == "__main__":
    app()
