"""A look that finds nothing new, with 10,000, 100,000 and 1,000,000 objects of history.

Every size has the same 10,013 keys in the window: 323 files a day, 31 days. Sensors are called as
Airflow calls them, `NewFilesSensor.look` and the wildcard `S3KeySensor.poke` with a check that says
no. The catalog is Postgres, with the indexes of `lotus-lake init`, where no other is named. The
ledger is filled by a query, and so is DuckLake's list of data files, because a million
registrations take hours.

`reconcile` compares everything: it lists the whole prefix, and compares it with the ledger and with
DuckLake.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import original
from benchmarks.lakes import (
    LAST_DAY,
    POSTGRES,
    PREFIX,
    SOURCE,
    SQLITE,
    STREAM,
    catalogs,
    environment,
    objects_of_days,
    prepare,
    stream,
    write_file,
    write_stream,
)
from benchmarks.measuring import Measurement, measured
from benchmarks.results import Plot, Report, median
from benchmarks.store import BUCKET, Requests, Store, run_store
from lotus_lake.bucket.keys import partition_path
from lotus_lake.bucket.objects import list_objects, s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.feeder.list import listing_start
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META, METADATA
from lotus_lake.lake.tables import LANDING_TABLE_ID
from lotus_lake.ledger.commit import Change, record
from lotus_lake.ledger.events import unknown_objects
from lotus_lake.ledger.guard import Cursor, read_guard
from lotus_lake.repair.reconcile import reconcile
from lotus_lake.sql import literal
from tests.servers import PostgresServer

TITLE = "Discovery"
_LOOKBACK_DAYS = 30
_MEMORY_MB = 512
_REPEATS = 3
_ON_SQLITE = "Lotus Lake: sensor on SQLite"
_NAIVE = "naive: S3KeySensor"
# The naive look, and a reconcile on SQLite, take minutes with more objects.
_FEWER = 100_000


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    per_day = 40 if quick else 323
    sizes = [2_000] if quick else [10_013, 100_000, 1_000_000]
    window = per_day * (_LOOKBACK_DAYS + 1)
    file = str(write_file(folder / "file.parquet"))
    airflow = _airflow_environment(folder)
    plot = Plot("discovery", "Requests of a look that finds nothing new", "objects", "LIST")
    with catalogs() as kinds:
        for count in sizes:
            with run_store(partial(objects_of_days, count, per_day, file)) as store:
                lakes = {kind: _fed(report, folder, store, postgres, (count, per_day))
                         for kind, postgres in kinds.items()}  # fmt: skip
                airflow["AIRFLOW_CONN_AWS_DEFAULT"] = store.connection()
                for how, function, before in (
                    ("Lotus Lake: sensor", sensor_look, import_airflow),
                    (_ON_SQLITE, sensor_look, import_airflow),
                    ("Lotus Lake: trigger", trigger_look, import_airflow),
                    ("original: cursor of today", glob_of_cursor, None),
                    ("original: cursor of last month", glob_of_old_cursor, None),
                    ("original: no cursor", glob_of_all, None),
                    (_NAIVE, wildcard_poke, import_airflow),
                ):
                    if how == _NAIVE and count > _FEWER:
                        continue
                    store.take_counts()
                    lake = lakes[SQLITE if how == _ON_SQLITE else POSTGRES]
                    done = measured(function, environment=lake | airflow, before=before)
                    requests = store.take_counts()
                    assert done.result, how
                    _note(report, plot, (how, count), done, requests)
                for kind, lake in lakes.items():
                    checked = measured(check_window, environment=lake).result
                    report.row("Comparing the window with the ledger", catalog=kind,
                               ledger_rows=count, keys_in_window=window,
                               median_seconds=median(checked))  # fmt: skip
                if count in (sizes[-1], _FEWER):
                    kind = SQLITE if count == _FEWER else POSTGRES
                    _reconcile(report, kind, lakes[kind], store, count)
    _judge(report, sizes, window)
    report.remark(
        "SQLite has no index that DuckLake's queries could use, so each statement of a look reads "
        "the list of all data files."
    )


def fill(count: int, per_day: int) -> int:
    """Let the ledger and DuckLake know every object, as registered; returns rows of the ledger."""
    config = stream()
    day = f"(DATE {literal(LAST_DAY.isoformat())} - (number // {per_day})::INTEGER)"
    key = (
        f"{literal(PREFIX)} || strftime({day}, 'year=%Y/month=%m/day=%d') || '/part_' || "
        f"(number % {per_day}) || '.parquet'"
    )
    with open_lake(Settings.from_env()) as lake:
        size = next(list_objects(s3_client(lake.settings.s3), BUCKET, PREFIX)).size_bytes

        def unit() -> None:
            guard = read_guard(lake, config)
            lake.con.execute(
                f"INSERT INTO {META}.file_events (source, stream, key, etag, size_bytes, "
                "last_modified, partition_date, event, position, row_count, data_file, version, "
                f"recorded_at, dag_run_id) SELECT ?, ?, key, md5(key), {size}, now(), day, "
                f"'registered', number, 200, 's3://{BUCKET}/' || key, 1, now(), 'benchmark' "
                f"FROM (SELECT number, {day} AS day, {key} AS key FROM range({count}) t(number))",
                [SOURCE, STREAM],
            )
            last = f"{PREFIX}{partition_path(LAST_DAY)}/part_0.parquet"
            record(lake, config, guard, Change(cursor=Cursor(last, LAST_DAY)), "benchmark")

        lake.commit("fill the ledger", unit)
        table_id = lake.value(LANDING_TABLE_ID, [config.landing_table])
        columns = {
            "data_file_id": "1000 + number", "table_id": table_id,
            "begin_snapshot": "(SELECT max(snapshot_id) FROM "
            f"{METADATA}.ducklake_snapshot)",
            "path": f"'s3://{BUCKET}/' || {key}", "path_is_relative": "false",
            "file_format": "'parquet'", "record_count": "200", "file_size_bytes": size,
            "footer_size": "1000", "row_id_start": "number * 200",
        }  # fmt: skip
        statement = (
            f"INSERT INTO {METADATA}.ducklake_data_file ({', '.join(columns)}) "
            f"SELECT {', '.join(map(str, columns.values()))} FROM range({count}) t(number)"
        )
        lake.commit_metadata("fill DuckLake", [(statement, [])])
        return int(lake.value(f"SELECT count(*) FROM {META}.file_events"))


def check_window() -> list[float]:
    """List the window, then compare it with the ledger some times; returns the seconds of each."""
    import time

    config, seconds = stream(), []
    with open_lake(Settings.from_env()) as lake:
        start = listing_start(lake, config)
        objects = list(list_objects(s3_client(lake.settings.s3), BUCKET, PREFIX, start))
        for _ in range(_REPEATS):
            started = time.perf_counter()
            assert unknown_objects(lake, config, objects) == []
            seconds.append(time.perf_counter() - started)
    return seconds


def import_airflow() -> None:
    """Import Airflow, so that it is not part of what is measured."""
    import lotus_lake.airflow.sensors  # noqa: F401


def sensor_look() -> bool:
    """What `wait_for_files` does first; says whether it found nothing, as it should."""
    from lotus_lake.airflow.sensors import NewFilesSensor

    sensor = NewFilesSensor(
        task_id="wait_for_files",
        source=SOURCE,
        stream=STREAM,
        bucket_key=f"s3://{BUCKET}/{PREFIX}*",
    )
    return sensor.look().work is None


def trigger_look() -> bool:
    """What the triggerer does every poke: list the window and compare a fingerprint."""
    import asyncio

    from lotus_lake.airflow.bucket_trigger import BucketChangedTrigger

    config = stream()
    with open_lake(Settings.from_env()) as lake:
        start = listing_start(lake, config)
    trigger = BucketChangedTrigger(
        bucket=BUCKET, prefix=PREFIX, start_after=start, fingerprint="", poke_interval=0
    )

    async def fire() -> Any:
        return await anext(trigger.run())

    return bool(asyncio.run(fire()).payload["status"] == "changed")


def wildcard_poke() -> bool:
    """The provider's sensor when its check says that nothing is new."""
    from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

    sensor = S3KeySensor(
        task_id="wait",
        bucket_key=f"s3://{BUCKET}/{PREFIX}*",
        wildcard_match=True,
        check_fn=lambda files, **_: False,
    )
    return not sensor.poke({})


def glob_of_cursor() -> bool:
    """The original's look when its cursor is of today."""
    with open_lake(Settings.from_env()) as lake:
        return bool(original.discover(lake, PREFIX, LAST_DAY, LAST_DAY))


def glob_of_old_cursor() -> bool:
    """The same for a stream that has been silent for a month."""
    with open_lake(Settings.from_env()) as lake:
        cursor = LAST_DAY - timedelta(days=_LOOKBACK_DAYS)
        return bool(original.discover(lake, PREFIX, cursor, LAST_DAY))


def glob_of_all() -> bool:
    """The original's look without a cursor."""
    with open_lake(Settings.from_env()) as lake:
        return bool(original.discover(lake, PREFIX, None, LAST_DAY))


def reconcile_all() -> list[int]:
    """Compare everything; returns what was listed and how much was found to be wrong."""
    settings = Settings.from_env()
    with open_lake(settings) as lake:
        found = reconcile(lake, stream(), s3_client(settings.s3), "benchmark")
    wrong = found.discovered + found.requeued + found.missing + found.unknown_data_files
    return [found.listed, wrong]


def _fed(
    report: Report, folder: Path, store: Store, postgres: PostgresServer | None,
    size: tuple[int, int],
) -> dict[str, str]:  # fmt: skip
    report.step(f"a ledger of {size[0]:,} rows, {'Postgres' if postgres else 'SQLite'}")
    variables = environment(
        folder, store, write_stream(folder, lookback_days=_LOOKBACK_DAYS), postgres
    )
    measured(prepare, environment=variables)
    assert measured(fill, *size, environment=variables).result == size[0]
    return variables


def _note(
    report: Report, plot: Plot, case: tuple[str, int], done: Measurement[bool], requests: Requests
) -> None:
    how, count = case
    report.row(
        "A look that finds nothing new",
        how=how,
        objects=count,
        LIST=requests.listings,
        other_requests=requests.total - requests.listings,
        seconds=done.seconds,
        CPU_seconds=done.cpu_seconds,
        memory_MB=done.peak_mb,
    )
    report.point(plot, how, count, requests.listings)


def _reconcile(report: Report, kind: str, lake: dict[str, str], store: Store, count: int) -> None:
    store.take_counts()
    done = measured(reconcile_all, environment=lake)
    listed, wrong = done.result
    assert (listed, wrong) == (count, 0), (listed, wrong)
    report.row(
        "Reconcile",
        catalog=kind,
        objects=count,
        LIST=store.take_counts().listings,
        seconds=done.seconds,
        CPU_seconds=done.cpu_seconds,
        memory_MB=done.peak_mb,
    )


def _judge(report: Report, sizes: list[int], window: int) -> None:
    looks: dict[Any, list[Any]] = {}
    for how, _, listings, others, *_ in report.tables["A look that finds nothing new"].rows:
        looks.setdefault(how, []).append((listings, others))
    bound = 1 + -(-window // 1000)
    ours = looks["Lotus Lake: sensor"] + looks[_ON_SQLITE] + looks["Lotus Lake: trigger"]
    report.target(
        f"at most {bound} LIST for {window:,} keys in the window, the same at all sizes",
        ", ".join(str(listings) for listings, _ in looks["Lotus Lake: sensor"])
        + f"; original without cursor {looks['original: no cursor'][-1][0]:,}",
        max(listings for listings, _ in ours) <= bound and len(set(ours)) == 1,
    )
    report.target(
        "no other requests", str(max(others for _, others in ours)),
        max(others for _, others in ours) == 0,
    )  # fmt: skip
    checks = [
        (row[0], row[3])
        for row in report.tables["Comparing the window with the ledger"].rows
        if row[1] == sizes[-1]
    ]
    report.target(
        f"{window:,} keys compared with {sizes[-1]:,} rows of the ledger in under 1 s",
        ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in checks),
        max(float(str(seconds)) for _, seconds in checks) < 1,
    )
    peaks = {str(row[0]): float(str(row[-1])) for row in report.tables["Reconcile"].rows}
    report.target(
        f"reconcile of {sizes[-1]:,} keys below {_MEMORY_MB} MB",
        f"{peaks[POSTGRES]:.0f} MB",
        max(peaks.values()) < _MEMORY_MB,
    )


def _airflow_environment(folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
