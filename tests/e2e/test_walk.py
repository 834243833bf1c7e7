"""A person in a real browser: sees a bad file, is asked about a schema, follows a number home."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Error as PlaywrightError

from lotus_lake.bucket.objects import s3_client
from lotus_lake.lake.connection import open_to_read
from samples import SampleFile, generate, write_files
from tests.e2e.browser import DESKTOP, PHONE, Person, chromium, find_chromium, person
from tests.e2e.conftest import STREAMS
from tests.standalone import Deployment, token_of

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; CHROMIUM names one"),
]
HISTORY, LATER = generate(), generate(seed=8, start=date(2026, 3, 7))
SOURCE = [file for file in HISTORY.files if file.source == "shopify"]
HOSTILE = "{{ 7 * 7 }} <b>x</b>"
# A busy machine takes its time.
expect.set_options(timeout=120_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM) as found:
        yield found


@pytest.fixture(scope="module")
def fed(deployment: Deployment) -> Deployment:
    """All sales are there."""
    put(deployment, *SOURCE)
    keys = [file.key for file in SOURCE]
    expected = {"fct_sales": HISTORY.expected("fct_sales", keys)}
    deployment.wait_until(
        lambda: deployment.tables(["fct_sales"]) == expected, "the sales are there", pause=5
    )
    return deployment


@pytest.fixture
def anna(browser: Browser, fed: Deployment) -> Iterator[Person]:
    """An admin."""
    with person(browser, fed.url, token=token_of()) as found:
        yield found
        assert found.complaints == []


def put(deployment: Deployment, *files: SampleFile) -> None:
    write_files(
        files, deployment.settings.raw_uri, s3_client(deployment.settings.s3), only_new=True
    )


def later(stream: str) -> SampleFile:
    return next(file for file in LATER.files if file.stream == stream)


def run_alerts(deployment: Deployment) -> str:
    """Run `lake_alerts`; returns what it has said so far: its schedule may have come first."""
    run = deployment.trigger("lake_alerts")
    deployment.wait_until(
        lambda: deployment.get(f"/dags/lake_alerts/dagRuns/{run}")["state"] == "success",
        "alerts were sent",
    )
    runs = deployment.get("/dags/lake_alerts/dagRuns?state=success")["dag_runs"]
    return "".join(deployment.log_of("lake_alerts", run["dag_run_id"], "check") for run in runs)


def test_the_lake_is_an_entry_of_the_navigation_in_both_themes_and_on_a_phone(
    anna: Person, browser: Browser, fed: Deployment
) -> None:
    anna.go("/")
    anna.page.get_by_role("link", name="Lake", exact=True).click()
    for stream in STREAMS:
        expect(anna.lake.get_by_role("link", name=f"shopify/{stream}", exact=True)).to_be_visible()
    expect(anna.lake.get_by_role("link", name="fct_sales")).to_be_visible()
    anna.picture("lake")
    for name, dark, size in (("dark", True, DESKTOP), ("phone", False, PHONE)):
        with person(browser, fed.url, token=token_of(), dark=dark, size=size) as other:
            other.go("/plugin/lake")
            expect(other.lake.get_by_text("shopify/orders")).to_be_visible()
            theme = other.lake.locator("html").get_attribute("data-theme")
            assert theme == ("dark" if dark else "light")
            wide = other.lake.locator("html").evaluate("e => e.scrollWidth - e.clientWidth")
            assert wide <= 0
            other.picture(f"lake_{name}")


def test_a_search_is_part_of_the_address(anna: Person) -> None:
    anna.go("/plugin/lake")
    anna.lake.get_by_label("Search").fill("refunds")
    anna.lake.get_by_label("Search").press("Enter")
    expect(anna.lake.get_by_text("shopify/order_refunds")).to_be_visible()
    expect(anna.lake.get_by_text("shopify/customers")).not_to_be_visible()


@pytest.mark.parametrize("view", ["files", "plan", "activity", "rows", "schema", "balance"])
def test_every_view_of_a_stream_shows_something(anna: Person, view: str) -> None:
    anna.go(f"/dags/shopify__orders/plugin/lake-stream?view={view}")
    label = {"plan": "Next run"}.get(view, view.capitalize())
    expect(anna.lake.locator("[aria-current=page]")).to_have_text(label)
    expect(anna.lake.locator("table, svg, .note").first).to_be_attached()
    anna.picture(f"stream_{view}")


def test_a_bad_file_is_seen_told_and_forgotten_once_it_is_whole(
    anna: Person, fed: Deployment
) -> None:
    file = later("orders")
    put(fed, replace(file, data=file.data[: len(file.data) // 2]))
    dropped_at = time.monotonic()
    anna.go("/plugin/lake")
    row = anna.lake.get_by_role("row").filter(has_text="shopify/orders")
    while not row.get_by_text("1 file in quarantine").is_visible():
        assert time.monotonic() < dropped_at + 300
        anna.page.wait_for_timeout(1000)
        anna.page.reload()
        anna.page.wait_for_timeout(3000)
    anna.picture("broken")
    row.get_by_role("link", name="1", exact=True).click()
    expect(anna.lake.locator("tbody .badge.error")).to_have_text("quarantined")
    expect(anna.lake.locator("tbody .reason")).to_contain_text("No magic bytes found")
    assert file.key in anna.lake.locator("tbody").inner_text()
    anna.picture("broken_file")

    assert "shopify__orders is broken: 1 file in quarantine" in run_alerts(fed)

    put(fed, file)
    orders = {row["order_id"] for row in LATER.expected("fct_sales", [file.key])}
    fed.wait_until(
        lambda: (
            orders <= {row["order_id"] for row in fed.tables(["fct_sales"]).get("fct_sales", ())}
        ),
        "the orders of the whole file are in the sales",
        pause=5,
    )
    assert "shopify__orders is fresh" in run_alerts(fed)
    anna.go("/plugin/lake")
    expect(row.get_by_text("fresh", exact=True)).to_be_visible()


def test_a_schema_change_waits_for_a_person_who_approves_it(anna: Person, fed: Deployment) -> None:
    config = fed.settings.streams_dir / "shopify" / "customers.json"
    ask(config)
    file = later("customers")
    put(fed, with_column(file, HOSTILE))
    fed.wait_until(lambda: event_of(fed, file.key) == "quarantined", "it waits in quarantine")

    run_alerts(fed)
    (run,) = fed.get("/dags/lake_approvals/dagRuns")["dag_runs"]
    asked = f"/dags/lake_approvals/runs/{run['dag_run_id']}/tasks/approve"
    fed.wait_until(lambda: state_of(fed, run, "approve") == "awaiting_input", "it asks")
    run_alerts(fed)  # nobody is asked twice
    assert fed.get("/dags/lake_approvals/dagRuns")["total_entries"] == 1
    anna.go(f"{asked}/required_actions")
    expect(
        anna.page.get_by_text("May the landing table of shopify/customers change?")
    ).to_be_visible()
    text = anna.page.locator("body").inner_text()
    assert f"new column {HOSTILE} BIGINT" in text  # neither Jinja nor markup
    assert file.key in text
    anna.picture("approval")
    anna.page.get_by_role("button", name="Approve").click()

    fed.wait_until(lambda: state_of(fed, run, "apply") == "success", "it is applied")
    fed.wait_until(lambda: event_of(fed, file.key) == "registered", "the file lands")
    anna.go("/dags/shopify__customers/plugin/lake-stream?view=schema")
    expect(anna.lake.get_by_role("row").filter(has_text=HOSTILE).first).to_be_visible()


def test_a_number_is_followed_to_every_file_that_it_is_made_of(
    anna: Person, fed: Deployment
) -> None:
    rows = HISTORY.expected("int_shopify__order_refunds", [file.key for file in SOURCE])
    (order, refunds), *_ = Counter(row["order_id"] for row in rows).most_common()
    assert refunds > 1
    anna.go("/plugin/lake")
    anna.lake.locator("a[href='why?table=fct_sales']").click()
    anna.lake.get_by_label("Where").fill(f"order_id = {order}")
    anna.lake.get_by_label("Column").fill("total_sales")
    anna.lake.get_by_label("Where").press("Enter")
    expect(anna.lake.get_by_text("stg_shopify__order_refunds").first).to_be_visible()
    text = anna.lake.locator("main").inner_text().replace("\n", "")
    found = {file.key for file in SOURCE if file.stream == "order_refunds" and file.key in text}
    wanted = {row["refund_id"] for row in rows if row["order_id"] == order}
    holding = {
        file.key
        for file in SOURCE
        if file.stream == "order_refunds"
        and wanted & set(pq.read_table(io.BytesIO(file.data), columns=["id"])["id"].to_pylist())
    }
    assert found == holding
    anna.picture("why")


def test_a_viewer_sees_the_lake_and_is_offered_nothing_to_do(
    browser: Browser, fed: Deployment
) -> None:
    for role, may_act in (("VIEWER", False), ("USER", True)):
        with person(browser, fed.url, token=token_of(role)) as bert:
            bert.go("/plugin/lake")
            expect(bert.lake.get_by_text("shopify/orders")).to_be_visible()
            acts = bert.lake.get_by_role("link", name="Operations").count()
            assert acts == int(may_act), role


def test_a_viewer_reads_what_tables_mean_and_that_page_cannot_act_for_the_viewer(
    browser: Browser, fed: Deployment
) -> None:
    with person(browser, fed.url, token=token_of("VIEWER")) as bert:
        bert.go("/plugin/lake")
        bert.lake.get_by_role("link", name="Data dictionary").click()
        expect(bert.lake.get_by_text("The tables of the lake")).to_be_visible()
        (frame,) = (f for f in bert.page.frames if f.url.split("#")[0].endswith("/dictionary"))
        frame.evaluate("location.hash = '#!/model/model.lotus_lake.fct_sales'")
        expect(bert.lake.get_by_text("total_sales").first).to_be_visible()
        for attempt in ("fetch('/api/v2/dags')", "document.cookie", "parent.document.title"):
            with pytest.raises(PlaywrightError):
                frame.evaluate(attempt)


def ask(config: Path) -> None:
    """Make a stream ask before its table changes."""
    document = json.loads(config.read_text())
    document.setdefault("feeder", {})["on_schema_change"] = "ask"
    config.write_text(json.dumps(document))


def with_column(file: SampleFile, name: str) -> SampleFile:
    """The file with one more column."""
    table = pq.read_table(io.BytesIO(file.data))
    table = table.append_column(name, pa.array([1] * table.num_rows, pa.int64()))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return replace(file, data=sink.getvalue())


def event_of(deployment: Deployment, key: str) -> str | None:
    """What became of a file last."""
    with open_to_read(deployment.settings) as lake:
        events = lake.rows(
            "SELECT event FROM lakehouse.meta.feeder_files WHERE ends_with(key, ?)", [key]
        )
    return str(events[0][0]) if events else None


def state_of(deployment: Deployment, run: dict[str, Any], task: str) -> str:
    path = f"/dags/lake_approvals/dagRuns/{run['dag_run_id']}/taskInstances/{task}"
    return str(deployment.get(path)["state"])
