"""Each kind of bad thing against each thing that has to go on beside it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.streams import find_stream
from lotus_lake.errors import LotusLakeError, StorageUnavailableError
from lotus_lake.lake.connection import open_lake
from lotus_lake.observe.overview import read_overview
from lotus_lake.project.manifest import dbt_project_dir, ensure_manifest, last_good_manifest
from lotus_lake.repair.quarantine import list_quarantined
from lotus_lake.upkeep.compaction import compact
from lotus_lake.upkeep.expiry import delete, expire, untouchable_since
from lotus_lake.upkeep.orphans import schedule_orphans
from lotus_lake.validation import find_problems
from samples import History, SampleFile
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, Pipeline, feed_stream
from tests.proxy import Fault, Operation, Proxy, run_proxy
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = on_sqlite

FED = ("shopify__orders", "shopify__order_refunds")
MODELS = (*(f"int_{stream}" for stream in FED), "fct_sales")
STREAMS_DIR = PROJECT / "include" / "streams"
DAY = "raw/shopify/orders/year=2026/month=03/day=02"
_DAGS = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("dags")
print(json.dumps(sorted(bag.dags)))
"""


@dataclass
class Shop:
    """A lake with the shop's streams and models, and what is bad about it.

    Attributes:
        pipeline: From the bucket to the tables.
        proxy: What the store is reached through.
        history: The good files; orders are what is poisoned.
        client: Talks to the store without the proxy.
        fill_disk: Makes a disk of which no byte is free, and gives its folder.
        faults: What happens when the store is asked for an object, by the end of its key.
        stopped: The Dags that the bad things may stop.
        refusal: What upkeep says, if it has to refuse.
    """

    pipeline: Pipeline
    proxy: Proxy
    history: History
    client: S3Client
    fill_disk: Callable[[], Path]
    faults: dict[str, Fault] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    refusal: str = ""

    @property
    def files(self) -> list[SampleFile]:
        """The good files of the streams that are fed, in the order of their arrival."""
        return [file for file in self.history.files if f"{file.source}__{file.stream}" in FED]

    def fault(self, operation: Operation, path: str) -> Fault | None:
        """The plan of the proxy."""
        found = (fault for end, fault in self.faults.items() if path.endswith(end))
        return next(found, None) if operation is Operation.GET else None

    def put(self, key: str, body: bytes) -> None:
        """Let an object arrive."""
        self.client.put_object(Bucket=self.pipeline.settings.bucket, Key=key, Body=body)

    def an_order_file(self) -> bytes:
        """A good file of orders."""
        return next(f.data for f in self.history.files if f.stream == "orders" and f.row_count)

    def streams(self) -> Path:
        """The stream configs of a copy of `include`, which the lake then uses."""
        copy = self.pipeline.target.parent / "project" / "include"
        if not copy.exists():
            ignored = shutil.ignore_patterns("target", "logs")
            shutil.copytree(PROJECT / "include", copy, ignore=ignored)
            self.pipeline.environment["LAKE_STREAMS_DIR"] = str(copy / "streams")
        return copy / "streams"


def stream_json(shop: Shop) -> str:
    (shop.streams() / "klaviyo" / "events.json").write_text('{"fields": ')
    shop.stopped.add("klaviyo__events")
    return "klaviyo/events.json"


def schedule(shop: Shop) -> str:
    path = shop.streams() / "klaviyo" / "lists.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schedule": "every hour"}))
    shop.stopped.add("klaviyo__lists")
    return "every hour"


def model(shop: Shop) -> str:
    """A model that does not parse: the others are built as they last did."""
    project = shop.streams().parents[1]
    shop.pipeline.environment["LAKE_PROJECT_DIR"] = str(project)
    ensure_manifest(project)
    broken = dbt_project_dir(project) / "models" / "enriched" / "returns" / "fct_returns.sql"
    broken.parent.mkdir()
    broken.write_text("select * from {{ ref('int_nothing') }}")
    good = last_good_manifest(project)
    assert good
    assert not good.is_current
    shop.pipeline = replace(shop.pipeline, dbt_dir=good.dbt_dir)
    return "fct_returns"


def key(shop: Shop) -> str:
    for day in ("year=2099/month=01/day=01", "year=2026/month=13/day=01"):
        shop.put(f"raw/shopify/orders/{day}/part_0.parquet", shop.an_order_file())
    shop.put(f"{DAY}/it's %25 \t ö.parquet", b"no file of Parquet")
    return "month=13"


def refused_object(shop: Shop) -> str:
    shop.put(f"{DAY}/locked.parquet", shop.an_order_file())
    shop.faults["locked.parquet"] = Fault.REFUSED
    return "locked.parquet"


def broken_object(shop: Shop) -> str:
    shop.put(f"{DAY}/broken.parquet", shop.an_order_file())
    shop.faults["broken.parquet"] = Fault.ERROR
    return "broken.parquet"


def footer(shop: Shop) -> str:
    data = bytearray(shop.an_order_file())
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[begin : begin + 40] = b"\xff" * 40
    shop.put(f"{DAY}/footer.parquet", bytes(data))
    return "footer.parquet"


def body(shop: Shop) -> str:
    data = bytearray(shop.an_order_file())
    page = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).data_page_offset
    data[page : page + 40] = b"\xff" * 40
    shop.put(f"{DAY}/body.parquet", bytes(data))
    return "body.parquet"


def schema(shop: Shop) -> str:
    table = pq.read_table(io.BytesIO(shop.an_order_file()))
    at = table.schema.get_field_index("id")
    spoilt = table.set_column(at, "id", pa.array(["no number"] * len(table)))
    out = io.BytesIO()
    pq.write_table(spoilt, out)
    shop.put(f"{DAY}/schema.parquet", out.getvalue())
    return "schema.parquet"


def value(shop: Shop) -> str:
    """Versions older than all others, with amounts that no decimal can hold."""
    table = pq.read_table(io.BytesIO(shop.an_order_file()))
    for name, spoilt in (
        ("total_tax", pa.array([float("nan"), 1e300] * len(table))[: len(table)]),
        ("_airbyte_extracted_at", pa.array([datetime(2001, 1, 1, tzinfo=UTC)] * len(table))),
    ):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), spoilt.cast(table.schema.types[at]))
    out = io.BytesIO()
    pq.write_table(table, out)
    shop.put(f"{DAY}/value.parquet", out.getvalue())
    return ""


def connection(shop: Shop) -> str:
    shop.proxy.allows = lambda _method, target, _body: "klaviyo" not in target
    stream = find_stream(shop.pipeline.settings.streams_dir, "klaviyo", "events")
    with open_lake(shop.pipeline.settings) as lake, pytest.raises(StorageUnavailableError):
        feed_stream(lake, stream, shop.pipeline.client)
    return ""


def clock(shop: Shop) -> str:
    shop.proxy.seconds_ahead = 3 * 86400.0
    shop.refusal = "clock"
    return ""


def full_disk(shop: Shop) -> str:
    """Nothing can be spilled to the disk of temporary files, which only large queries do."""
    shop.pipeline.environment["LAKE_TEMP_DIR"] = str(shop.fill_disk())
    return ""


Kind = Callable[[Shop], str]
TOGETHER: dict[str, tuple[Kind, ...]] = {
    "project": (stream_json, schedule, model),
    "files": (key, refused_object, broken_object, footer, body, schema, value),
    "machine": (connection, clock, full_disk),
}
# Together they are more than each alone; the long form says which one it is.
ALONE = {kind.__name__: (kind,) for kinds in TOGETHER.values() for kind in kinds}
CASES = ALONE if os.environ.get("POISON") == "alone" else TOGETHER


@pytest.fixture
def shop(
    request: pytest.FixtureRequest,
    pipeline: Pipeline,
    history: History,
    client: S3Client,
    s3: S3Server,
) -> Iterator[Shop]:
    """The lake, with half of its files landed and built."""
    assert s3.access.endpoint_url is not None
    with run_proxy(s3.access.endpoint_url) as proxy, contextlib.ExitStack() as stack:
        pipeline.environment["AWS_ENDPOINT_URL"] = proxy.url
        shop = Shop(
            replace(pipeline, client=s3_client(pipeline.settings.s3)),
            proxy,
            history,
            client,
            lambda: stack.enter_context(request.getfixturevalue("disk").full()),
        )
        proxy.plan = shop.fault
        pipeline.drop(shop.files[: len(shop.files) // 2])
        pipeline.feed(*FED)
        yield shop


@pytest.mark.parametrize("kinds", CASES.values(), ids=CASES.keys())
def test_bad_things_stop_one_thing_each(shop: Shop, kinds: Sequence[Kind]) -> None:
    told = [kind(shop) for kind in kinds]
    pipeline = shop.pipeline
    later = [file for file in shop.files if file.key not in pipeline.arrived]
    pipeline.drop(later)
    for stream_id in FED:
        with open_lake(pipeline.settings) as lake:
            stream = find_stream(pipeline.settings.streams_dir, *stream_id.split("__"))
            feed_stream(lake, stream, pipeline.client)
    pipeline.dbt("build", "+fct_sales,resource_type:model", "+fct_sales,resource_type:test")
    wrong = pipeline.wrong_tables(shop.history, MODELS)
    assert {
        "other files": _not_landed(shop),
        "processed": {model: wrong[model] for model in wrong if model != "fct_sales"},
        "enriched": wrong.get("fct_sales"),
        "Dags": _missing_dags(pipeline) - shop.stopped,
        "UI": _unlike(pipeline, "shopify/order_refunds", "fresh") - shop.stopped,
        "upkeep": _upkeep(pipeline, shop.refusal),
        "told": [text for text in told if text not in _said(pipeline)],
    } == {
        "other files": set(),
        "processed": {},
        "enriched": None,
        "Dags": set(),
        "UI": set(),
        "upkeep": "",
        "told": [],
    }


def _not_landed(shop: Shop) -> set[str]:
    """The good files of all streams that have not landed."""
    with open_lake(shop.pipeline.settings) as lake:
        landed = lake.rows(
            "SELECT key FROM lakehouse.meta.feeder_files "
            "WHERE event IN ('registered', 'copied', 'empty')"
        )
    good = {f"{shop.pipeline.settings.raw_prefix}{file.key}" for file in shop.files}
    return good - {key for (key,) in landed}


def _missing_dags(pipeline: Pipeline) -> set[str]:
    """The Dags of this project that Airflow does not find in a changed one."""
    if pipeline.environment["LAKE_STREAMS_DIR"] == str(STREAMS_DIR):
        return set()
    wanted = {*_stream_ids(), "enriched__sales"}
    home = pipeline.target.parent / "airflow"
    variables = {**os.environ, **pipeline.environment, "AIRFLOW_HOME": str(home)}
    found = subprocess.run(
        [sys.executable, "-c", _DAGS],
        cwd=PROJECT, env=variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return wanted - set(json.loads(found.stdout.splitlines()[-1]))


def _stream_ids() -> set[str]:
    return {f"{path.parent.name}__{path.stem}" for path in STREAMS_DIR.glob("*/[!_]*.json")}


def _unlike(pipeline: Pipeline, good: str, state: str) -> set[str]:
    """Streams that the page does not show, and a good one that is not in this state."""
    with open_lake(pipeline.settings, read_only=True) as lake:
        shown = {stream.stream_id: stream for stream in read_overview(lake).streams}
    unlike = {
        stream_id
        for stream_id, stream in shown.items()
        if stream.status.stream == good and stream.verdict.state != state
    }
    return _stream_ids() - set(shown) | unlike


def _upkeep(pipeline: Pipeline, refusal: str) -> str:
    """What fails in a night's upkeep, unless it is to be refused."""
    try:
        with open_lake(pipeline.settings) as lake:
            expire(lake)
            delete(lake)
            compact(lake)
            schedule_orphans(lake, untouchable_since(lake))
    except LotusLakeError as error:
        return "" if refusal and refusal in str(error) else str(error)
    return f"nothing refused: {refusal}" if refusal else ""


def _said(pipeline: Pipeline) -> str:
    """All that a person is told of bad files and configs."""
    with open_lake(pipeline.settings) as lake:
        files = [f"{file.key}: {file.error}" for file in list_quarantined(lake, None, None)]
        # A file that landed with values that no column takes.
        rescued = (
            "SELECT key || ': ' || remark FROM lakehouse.meta.feeder_files WHERE rescued_count > 0"
        )
        files += [text for (text,) in lake.rows(rescued)]
    return "\n".join([*files, *(str(problem) for problem in find_problems(pipeline.settings))])
