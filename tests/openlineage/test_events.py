"""OpenLineage's provider on a live scheduler: its events say what is in the lake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lotus_lake.bucket.objects import s3_client
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import Lake
from samples import SampleFile, generate, write_files
from tests.openlineage.backend import Event, problems_of
from tests.openlineage.conftest import STREAMS, Observed

pytestmark = [pytest.mark.openlineage, pytest.mark.timeout(1800)]

HISTORY = generate()
FILES = [file for file in HISTORY.files if file.source == "shopify"]
FIRST, SECOND = FILES[: len(FILES) // 2], FILES[len(FILES) // 2 :]
MODELS = {
    **{
        f"shopify__{s}.processed.int_shopify__{s}_model_build": f"int_shopify__{s}" for s in STREAMS
    },
    "enriched__sales.enriched.fct_sales_model_build": "fct_sales",
}


@pytest.fixture(scope="module")
def fed(observed: Observed) -> Observed:
    """Half of the files have reached `fct_sales`, and their events the backend."""
    land(observed, FIRST, FIRST)
    return observed


@pytest.fixture
def lake(fed: Observed) -> Iterator[Lake]:
    with open_lake(fed.deployment.settings, read_only=True) as opened:
        yield opened


def land(observed: Observed, new: list[SampleFile], all_files: list[SampleFile]) -> None:
    """Let files arrive, and wait until every table has them and every run has ended."""
    deployment = observed.deployment
    write_files(new, deployment.settings.raw_uri, s3_client(deployment.settings.s3))
    keys = [file.key for file in all_files]
    expected = {model: HISTORY.expected(model, keys) for model in MODELS.values()}
    deployment.wait_until(
        lambda: deployment.tables([*MODELS.values()]) == expected, "tables are right", pause=5
    )
    deployment.wait_until(
        lambda: all(events_of(observed, job) for job in MODELS),
        "there is an event of each",
        pause=1,
    )
    deployment.wait_until(
        lambda: (
            deployment.get("/dags/enriched__sales/dagRuns?state=running&state=queued")[
                "total_entries"
            ]
            == 0
        ),
        "enriched runs end",
    )


def events_of(observed: Observed, job: str) -> list[Event]:
    return observed.backend.of(job)


def landings_of(observed: Observed, stream: str) -> list[Event]:
    """Events of what has landed of a stream; the daily comparison of the bucket may be first."""
    jobs = (f"shopify__{stream}.feeder.cursor", "lake_reconcile.reconcile")
    return [
        event
        for job in jobs
        for event in events_of(observed, job)
        if event["inputs"][0]["name"] == f"raw/shopify/{stream}"
    ]


def table_of(dataset: dict[str, Any]) -> str:
    return str(dataset["name"]).rpartition(".")[2]


def test_events_are_of_the_specification_and_hold_no_secret(fed: Observed) -> None:
    events = fed.backend.events
    assert len(events) > 40
    assert [problem for event in events for problem in problems_of(event)] == []
    assert {event["job"]["namespace"] for event in events} == {"shop"}
    sent = b"".join(fed.backend.bodies)
    assert fed.secret.encode() not in sent
    assert b":memory:" not in sent


@pytest.mark.parametrize("stream", STREAMS)
def test_what_a_run_lands_is_in_its_event(fed: Observed, lake: Lake, stream: str) -> None:
    table = f"stg_shopify__{stream}"
    keys, rows = set(), 0
    for event in landings_of(fed, stream):
        (source,), (target,) = event["inputs"], event["outputs"]
        assert source["namespace"] == f"s3://{fed.deployment.settings.bucket}"
        assert source["name"] == f"raw/shopify/{stream}"
        assert target["name"] == f"lakehouse.staging.{table}"
        named = source["inputFacets"]["subset"]["inputCondition"]["locations"]
        counted = source["inputFacets"]["inputStatistics"]
        written = target["outputFacets"]["outputStatistics"]
        version = int(target["facets"]["version"]["datasetVersion"])
        assert counted["fileCount"] == len(named) == written["fileCount"]
        assert counted["rowCount"] == written["rowCount"]
        assert counted["size"] == written["size"]
        keys |= {*named}
        rows += written["rowCount"]
        # The row with which a landing table begins is not Airbyte's.
        count = f"SELECT count(*) FROM lakehouse.staging.{table} AT (VERSION => {version})"
        assert lake.value(f"{count} WHERE year IS NOT NULL") == rows
        assert fields_of(target) == described(lake, f"staging.{table}")
        moved = target["facets"]["columnLineage"]["fields"]
        assert set(moved) == {name for name, _ in fields_of(source)}
        assert {"id", "_airbyte_raw_id"} <= set(moved)
        assert not {"year", "_lake_rescued"} & set(moved)
    sample = [file for file in FIRST if file.stream == stream]
    raw = fed.deployment.settings.raw_uri
    assert keys == {f"{raw}/{file.key}" for file in sample}
    assert rows == sum(file.row_count for file in sample)


def fields_of(dataset: dict[str, Any]) -> list[tuple[str, str]]:
    return [(field["name"], field["type"]) for field in dataset["facets"]["schema"]["fields"]]


def described(lake: Lake, table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in lake.rows(f"DESCRIBE lakehouse.{table}")]


@pytest.mark.parametrize("job", MODELS)
def test_what_a_build_writes_is_in_its_event(fed: Observed, lake: Lake, job: str) -> None:
    model = MODELS[job]
    for event in events_of(fed, job):
        (target,) = event["outputs"]
        assert target["name"] == f"lakehouse.main.{model}"
        version = int(target["facets"]["version"]["datasetVersion"])
        written = target["outputFacets"]["outputStatistics"]
        inserted = (
            f"ducklake_table_insertions('lakehouse', 'main', '{model}', {version}, {version})"
        )
        assert written["rowCount"] == lake.value(f"SELECT count(*) FROM {inserted}")
        assert (written["fileCount"] > 0) is (written["size"] > 0)
        assert fields_of(target) == described(lake, f"main.{model}")
        reads = {table_of(d): d for d in event["inputs"]}
        tests = reads.pop(model)["inputFacets"]["dataQualityAssertions"]["assertions"]
        assert {(test["assertion"], test.get("column")) for test in tests} >= {
            ("unique", key_of(model)), ("not_null", key_of(model)),
        }  # fmt: skip
        assert {test["success"] for test in tests if test["severity"] == "error"} == {True}
        assert all(int(d["facets"]["version"]["datasetVersion"]) < version for d in reads.values())


def key_of(model: str) -> str:
    return {"int_shopify__customers": "customer_id", "int_shopify__order_refunds": "refund_id"}.get(
        model, "order_id"
    )


def test_columns_lead_back_to_the_objects(fed: Observed) -> None:
    last = [events_of(fed, job)[-1] for job in MODELS]
    last += [landings_of(fed, stream)[-1] for stream in STREAMS]
    outputs = {o["name"]: o for event in last for o in event["outputs"]}

    def ends(name: str, column: str) -> set[tuple[str, str]]:
        """Columns of the bucket's objects that a column is made of."""
        if name not in outputs:
            return {(name, column)}
        fields = outputs[name]["facets"]["columnLineage"]["fields"].get(column, {"inputFields": []})
        return {end for f in fields["inputFields"] for end in ends(f["name"], f["field"])}

    fct = "lakehouse.main.fct_sales"
    columns = [name for name, _ in fields_of(outputs[fct])]
    assert len(columns) > 10
    assert all(ends(fct, column) for column in columns)
    assert ends(fct, "order_id") == {("raw/shopify/orders", "id")}
    assert ends(fct, "total_sales") == {
        ("raw/shopify/order_refunds", "transactions"),
        ("raw/shopify/orders", "total_discounts"),
        ("raw/shopify/orders", "total_line_items_price"),
        ("raw/shopify/orders", "total_shipping_price_set"),
        ("raw/shopify/orders", "total_tax"),
    }
    (key,) = outputs[fct]["facets"]["columnLineage"]["fields"]["order_id"]["inputFields"]
    assert [(t["type"], t["subtype"]) for t in key["transformations"]] == [("DIRECT", "IDENTITY")]


def test_a_build_whose_test_fails_says_which_and_made_nothing(fed: Observed) -> None:
    settings, job = (
        fed.deployment.settings,
        "shopify__orders.processed.int_shopify__orders_model_build",
    )
    with open_lake(settings) as lake:
        lake.con.execute(
            "INSERT INTO lakehouse.main.int_shopify__orders "
            "SELECT * FROM lakehouse.main.int_shopify__orders LIMIT 1"
        )
    new = [file for file in SECOND if file.stream == "orders"][:1]
    write_files(new, settings.raw_uri, s3_client(settings.s3))
    fed.deployment.wait_until(lambda: bool(fed.backend.of(job, "FAIL")), "the build fails", pause=2)
    event = fed.backend.of(job, "FAIL")[-1]
    assert problems_of(event) == []
    (output,) = event["outputs"]
    assert "version" not in output["facets"]
    assert "outputStatistics" not in output.get("outputFacets", {})
    (itself,) = (d for d in event["inputs"] if d["name"] == output["name"])
    failed = [
        (test["assertion"], test["column"])
        for test in itself["inputFacets"]["dataQualityAssertions"]["assertions"]
        if not test["success"]
    ]
    assert failed == [("unique", "order_id")]
    assert fed.secret not in json.dumps(event)
