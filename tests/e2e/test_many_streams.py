"""A thousand streams on the Lake page, in a real browser: found, filtered, sorted, turned over."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from lotus_lake.config.settings import Settings
from samples.demo_airflow import airflow, web_environment
from tests.e2e.browser import Person, chromium, find_chromium, person
from tests.many_streams import ManyStreams, write_many
from tests.processes import free_port
from tests.standalone import (
    Deployment,
    lake_with_bucket,
    start_airflow,
    stop_airflow,
    token_of,
)

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; CHROMIUM names one"),
]
STREAMS, PAGE_SIZE = 1000, 50
# Dags are what the api-server asks who may see a stream; nothing runs them here.
KNOW_DAGS = """
import sys
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session
with create_session() as session:
    session.add(DagBundleModel(name="many"))
    session.flush()
    session.add_all(
        DagModel(dag_id=dag_id, bundle_name="many", is_paused=False)
        for dag_id in sys.stdin.read().split()
    )
"""


@dataclass(frozen=True)
class Many:
    """An api-server on a lake of a thousand streams."""

    url: str
    streams: ManyStreams


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    root = tmp_path_factory.mktemp("many")
    with lake_with_bucket(root, ()) as variables:
        port = free_port()
        env = dict(variables) | web_environment(port)
        streams = write_many(Settings.from_env(env), STREAMS)
        subprocess.run([airflow(), "db", "migrate"], env=env, check=True, capture_output=True)
        know = [sys.executable, "-c", KNOW_DAGS]
        subprocess.run(know, env=env, check=True, input="\n".join(streams.ids), text=True)
        log = root / "api-server.log"
        server = start_airflow(["api-server", "--workers", "1"], env, log)
        try:
            url = f"http://127.0.0.1:{port}"
            deployment = Deployment(url, Settings.from_env(env), root, server.pid)
            deployment.wait_until(lambda: is_up(deployment), "the api-server answers")
            yield Many(url, streams)
        finally:
            stop_airflow(server)


def is_up(deployment: Deployment) -> bool:
    try:
        deployment.get("/version")
    except OSError:
        return False
    return True


@pytest.fixture
def anna(many: Many) -> Iterator[Person]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM) as browser, person(browser, many.url, token=token_of()) as found:
        found.page.set_default_timeout(120_000)
        yield found
        assert found.complaints == []


def test_a_thousand_streams_are_searched_filtered_sorted_and_turned_over(
    anna: Person, many: Many, capsys: pytest.CaptureFixture[str]
) -> None:
    expect.set_options(timeout=120_000)
    rows = anna.lake.locator("table.streams tbody tr")
    links = anna.lake.locator("table.streams tbody th a")
    anna.go("/plugin/lake")
    expect(anna.lake.locator(".states a[aria-current=true]")).to_have_text("all 1,000")
    expect(rows).to_have_count(PAGE_SIZE)
    expect(rows.first).to_contain_text("1 file in quarantine")
    anna.picture("many")

    anna.lake.get_by_label("Search").fill("stream_077")
    anna.lake.get_by_label("Search").press("Enter")
    expect(rows).to_have_count(10)
    address(anna.page, q="stream_077")
    anna.page.reload()  # as somebody who was sent the address
    expect(rows).to_have_count(10)
    expect(anna.lake.get_by_label("Search")).to_have_value("stream_077")

    anna.go("/plugin/lake")
    anna.lake.locator("select[name=source]").select_option("source_07")
    expect(rows).to_have_count(many.streams.of_source("source_07"))
    address(anna.page, source="source_07")
    anna.lake.locator("select[name=source]").select_option("source_01")
    address(anna.page, source="source_01")
    anna.lake.locator("select[name=state]").select_option("stuck")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("1 file (1 kB) waiting for 2 days")
    address(anna.page, source="source_01", state="stuck")

    anna.go("/plugin/lake")
    anna.lake.locator("select[name=sort]").select_option("name")
    expect(links.first).to_have_text("source_00/stream_0000")
    seen: list[str] = []
    for number in range(1, STREAMS // PAGE_SIZE + 1):
        expect(anna.lake.locator(".pages span")).to_have_text(
            f"Page {number} of {STREAMS // PAGE_SIZE}, 1,000 streams"
        )
        seen += texts(links)
        if number < STREAMS // PAGE_SIZE:
            anna.lake.get_by_role("link", name="Next").click()
    assert seen == sorted(name.replace("__", "/") for name in many.streams.ids)
    address(anna.page, sort="name", page=str(STREAMS // PAGE_SIZE))
    anna.page.reload()
    expect(links.last).to_have_text(seen[-1])

    figures = measure(anna.page, f"{many.url}/lake/", rows=PAGE_SIZE)
    with capsys.disabled():
        print(f"\nthe page of 1,000 streams from the api-server: {figures}")


def texts(locator: Locator) -> list[str]:
    """What stands there, also if the page reloads by itself just now."""
    while True:
        try:
            return locator.all_text_contents()
        except Error as error:
            if "navigation" not in str(error):
                raise


def address(shown: Page, /, **chosen: str) -> None:
    """What was chosen stands in the address of the UI."""
    asked = "".join(f"(?=.*[?&]{name}={value}(&|$))" for name, value in chosen.items())
    expect(shown).to_have_url(re.compile(f"/plugin/lake{asked}"))


def measure(page: Page, url: str, *, rows: int) -> str:
    """Answers of the api-server, one after the other, for half a minute."""
    seconds = []
    began = time.monotonic()
    while time.monotonic() < began + 30:
        started = time.monotonic()
        answer = page.request.get(f"{url}?sort=rows&page=3")
        seconds.append(time.monotonic() - started)
        assert answer.text().count("<tr>") == rows + 1  # and the head of the table
        page.wait_for_timeout(250)
    seconds.sort()
    return (
        f"{len(seconds)} answers, median {statistics.median(seconds):.3f} s, "
        f"95% {seconds[int(len(seconds) * 0.95)]:.3f} s, slowest {seconds[-1]:.3f} s"
    )
