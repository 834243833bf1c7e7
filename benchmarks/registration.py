"""Files that wait are found and registered, from the first listing to the last commit.

`full` reads every value once before a file lands, `footer` only its footer; the other ways validate
nothing. The floor is to read all footers in parallel and to register nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import original
from benchmarks.lakes import (
    LAST_DAY,
    PREFIX,
    catalogs,
    environment,
    objects_of_days,
    prepare,
    stream,
    write_file,
    write_stream,
)
from benchmarks.measuring import Measurement, measured
from benchmarks.results import Plot, Report
from benchmarks.store import BUCKET, Requests, Store, run_store
from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.feeder.batch import plan_batches
from lotus_lake.feeder.footers import FOOTER_THREADS
from lotus_lake.feeder.list import list_files
from lotus_lake.feeder.register import register_batch
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE

TITLE = "Registration"
FILES_PER_DAY = 300
ROUND_TRIP_SECONDS = 0.03
LOTUS, FOOTER = "Lotus Lake, full", "Lotus Lake, footer"
ORIGINAL, NAIVE, FLOOR = "original", "naive: one call for a glob", "floor: all footers, no commit"
# Least speed-up over the original at 1,000 files, without and with the round trip.
WANTED = {0.0: 5, ROUND_TRIP_SECONDS: 15}


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    sizes, compared = ([60, 120], 60) if quick else ([500, 1000, 5000], 1000)
    trips = [ROUND_TRIP_SECONDS] if quick else list(WANTED)
    file = write_file(folder / "file.parquet")
    plot = Plot("registration", "Time per file, from listing to commit", "files", "ms a file",
                logarithmic="x")  # fmt: skip
    ways: dict[str, Callable[[], int]] = {LOTUS: lotus, FOOTER: lotus, ORIGINAL: as_original,
                                          NAIVE: as_naive, FLOOR: only_footers}  # fmt: skip
    with catalogs() as kinds:
        for count in sizes:
            with run_store(partial(objects_of_days, count, FILES_PER_DAY, str(file))) as store:
                for kind, postgres in kinds.items():
                    for delay in trips:
                        for way, function in ways.items():
                            if count != compared and (way != LOTUS or (delay and not quick)):
                                continue
                            if delay and way == NAIVE:  # one request after the other
                                continue
                            validation = "footer" if way == FOOTER else "full"
                            streams = write_stream(folder, validation=validation, max_batches=500)
                            variables = environment(folder, store, streams, postgres)
                            done, requests = _measure(store, delay, function, variables)
                            assert done.result == count, (way, done.result)
                            _note(report, plot, (kind, delay, way, count), done, requests)
    _judge(report, sizes, compared, trips)


def lotus() -> int:
    """The feeder's tasks one after the other; returns how many files landed."""
    settings, config = Settings.from_env(), stream()
    landed = 0
    with open_lake(settings) as lake:
        list_files(lake, config, s3_client(settings.s3), "benchmark")
        for batch in plan_batches(lake, config):
            landed += register_batch(lake, config, batch, "benchmark").registered
    return landed


def as_original() -> int:
    """The original system's first run: there is no cursor."""
    with open_lake(Settings.from_env()) as lake:
        uris = original.discover(lake, PREFIX, None, LAST_DAY)
        assert len(original.sizes(lake, uris)) == len(uris)
        original.register(lake, stream().landing_table, uris)
        return len(lake.rows("SELECT 1 FROM ducklake_list_files(?, ?, schema => 'staging')",
                             [LAKE, stream().landing_table]))  # fmt: skip


def as_naive() -> int:
    """One call for everything below the prefix."""
    with open_lake(Settings.from_env()) as lake:
        uri = f"s3://{BUCKET}/{PREFIX}**/*.parquet"
        original.register(lake, stream().landing_table, [uri])
        return len(lake.rows("SELECT 1 FROM ducklake_list_files(?, ?, schema => 'staging')",
                             [LAKE, stream().landing_table]))  # fmt: skip


def only_footers() -> int:
    """Read the footers of everything below the prefix, as many at once as the feeder does."""
    with open_lake(Settings.from_env()) as lake:
        lake.con.execute(f"SET threads = {FOOTER_THREADS}")
        return int(lake.value("SELECT count(*) FROM parquet_file_metadata(?)",
                              [f"s3://{BUCKET}/{PREFIX}**/*.parquet"]))  # fmt: skip


def _measure(
    store: Store, delay: float, function: Callable[[], int], variables: dict[str, str]
) -> tuple[Measurement[int], Requests]:
    measured(prepare, environment=variables)
    store.delay(delay)
    store.take_counts()
    try:
        return measured(function, environment=variables), store.take_counts()
    finally:
        store.delay(0)


def _note(
    report: Report, plot: Plot, case: tuple[str, float, str, int], done: Measurement[int],
    requests: Requests,
) -> None:  # fmt: skip
    kind, delay, way, count = case
    report.row(
        "Registration",
        catalog=kind,
        round_trip=f"{delay * 1000:.0f} ms",
        files=count,
        how=way,
        seconds=done.seconds,
        ms_a_file=done.seconds * 1000 / count,
        CPU_seconds=done.cpu_seconds,
        memory_MB=done.peak_mb,
        requests_a_file=requests.total / count,
        most_at_once=requests.most_at_once,
    )
    if way == LOTUS:
        series = f"{kind}, {delay * 1000:.0f} ms"
        report.point(plot, series, count, done.seconds * 1000 / count)


def _judge(report: Report, sizes: list[int], compared: int, trips: list[float]) -> None:
    rows = report.tables["Registration"].rows
    found: dict[Any, Any] = {
        (kind, trip, count, way): (seconds, requests)
        for kind, trip, count, way, seconds, *_, requests, _ in rows
    }
    kinds = sorted({str(row[0]) for row in rows})
    for delay in trips:
        wanted = WANTED[delay]
        trip = f"{delay * 1000:.0f} ms"
        for way in (LOTUS, FOOTER):
            ratios = {
                kind: found[kind, trip, compared, ORIGINAL][0] / found[kind, trip, compared, way][0]
                for kind in kinds
            }
            report.target(
                f"{compared:,} files, {trip}, {way.rpartition(' ')[2]} validation: at least "
                f"{wanted} times as fast as the original",
                ", ".join(f"{kind} {ratio:.1f}x" for kind, ratio in ratios.items()),
                min(ratios.values()) >= wanted,
            )
    trip = f"{trips[0] * 1000:.0f} ms"
    growth = {
        kind: (found[kind, trip, sizes[-1], LOTUS][0] / sizes[-1])
        / (found[kind, trip, sizes[0], LOTUS][0] / sizes[0])
        for kind in kinds
    }
    report.target(
        f"cost of a file at {sizes[-1]:,} within 1.3 times of that at {sizes[0]:,}",
        ", ".join(f"{kind} {ratio:.2f}x" for kind, ratio in growth.items()),
        max(growth.values()) <= 1.3,
    )
    most = max(found[key][1] for key in found if key[3] == FOOTER)
    report.target(
        "footers: at most 2 requests a file", f"{most:.2f}, listing included", most <= 2.1
    )
    if trips[0] == 0:
        bounds = ", ".join(
            f"{kind} {found[kind, trip, compared, ORIGINAL][0] / seconds:.1f}x, {seconds:.1f} s"
            for kind in kinds
            for seconds in [found[kind, trip, compared, NAIVE][0]]
        )
        report.remark(
            f"One call and one commit for all {compared:,} files, which keeps no ledger and reads "
            f"no value, is so many times as fast as the original: {bounds}. That is DuckLake's "
            "own work: a file's footer, and a row of the catalog for each of its columns. Nothing "
            "that registers by `ducklake_add_data_files` gets below these seconds, nor, with a "
            "round trip, below them and the floor's: the first target would need less, the second "
            "hardly more."
        )
