"""The Lake page as a browser asks for it, in Airflow's own app: rights, wrong inputs, markup."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE
from lotus_lake.operations import Acknowledge, carry_out
from lotus_lake.project.manifest import manifest_file
from lotus_lake.project.rendering import render_model
from tests.consuming import consume, write_manifest
from tests.dags.conftest import PROJECT
from tests.feeds import DAY, FIELDS, SHAPE, SOURCE, Feed, some_rows, write_stream
from tests.limited_rights import HIDDEN, LIMITED, STRANGER
from tests.projects import copy_project
from tests.servers import S3Server

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

MARKUP = "<script>alert(1)</script>"
PAGES = (
    "/lake/",
    "/lake/?q=orders&state=broken&sort=rows",
    *(
        f"/lake/stream?dag_id=shop__orders&view={v}"
        for v in ("files", "plan", "activity", "rows", "schema", "balance")
    ),
    "/lake/stream?dag_id=shop__orders&view=balance&read=1",
    "/lake/stream?dag_id=shop__orders&view=activity&span=day",
    *(f"/lake/stream?dag_id=enriched__sales&view={v}" for v in ("tables", "rows", "schema")),
    "/lake/stream?dag_id=lake_maintenance",
    "/lake/why",
    "/lake/why?table=int_shop__orders&where=true",
)
STREAMS = ("shop__orders", "shop__refunds", f"{HIDDEN}payroll")


class _Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


class Browser:
    """Somebody who is logged in, or nobody."""

    def __init__(self, client: TestClient, user: str | None = None, role: str = "") -> None:
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        self.client, self.headers = client, dict[str, str]()
        if user:
            found = SimpleAuthManagerUser(username=user, role=role)
            token = get_auth_manager().generate_jwt(found)
            self.headers = {"authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        """One answer."""
        return self.client.get(path, headers=self.headers)

    def forget(self) -> None:
        """Let the page ask the lake again for what it knows."""
        from lotus_lake.airflow.connections import lake_settings
        from lotus_lake.airflow.page import app
        from lotus_lake.airflow.page.lake_cache import LakeCache

        app.cache = LakeCache(lake_settings)

    def see(self, path: str) -> Any:
        """What stands there once the lake has answered."""
        while "reloads by itself" in (answer := self.get(path)).text:
            time.sleep(0.2)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture(scope="module")
def server(airflow_database: None) -> Iterator[TestClient]:
    """Airflow's api-server, with its plugins, for some Dags."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session
    from fastapi.testclient import TestClient

    others = ("enriched__sales", "lake_maintenance", "lake_operations")
    with create_session() as session:
        session.merge(DagBundleModel(name="page"))
        session.flush()
        for dag_id in (*STREAMS, *others):
            session.merge(DagModel(dag_id=dag_id, bundle_name="page", is_paused=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.limited_rights.LimitedAuthManager")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        purge_cached_app()
        yield TestClient(create_app(apps="core"), raise_server_exceptions=False)
        purge_cached_app()


@pytest.fixture
def page(
    server: TestClient, deployed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    """The api-server, which has not seen this test's lake yet."""
    from lotus_lake.airflow.connections import lake_settings
    from lotus_lake.airflow.page import app
    from lotus_lake.airflow.page.lake_cache import LakeCache

    monkeypatch.setattr(app, "cache", LakeCache(lake_settings))
    return server


@pytest.fixture
def viewer(page: TestClient) -> Browser:
    return Browser(page, "viewer", "VIEWER")


@pytest.fixture
def fed(make_feed: Callable[..., Feed]) -> Feed:
    """Files that landed and one in quarantine, with markup wherever somebody can write some."""
    fields = {**FIELDS, "status": {"type": "string", "description": MARKUP}}
    feed = make_feed("orders", fields)
    write_manifest(feed.settings, ("int_shop__orders", feed.stream.id), enriched={"fct": []})
    with open_lake(feed.settings) as lake:
        feed.put("part_0.parquet", [{**row, "status": MARKUP} for row in some_rows(3)])
        feed.run(lake, f"run {MARKUP}")
        consume(feed, lake, "int_shop__orders")
        feed.put_bytes(f"{MARKUP}.parquet", b"x" * 99)
        feed.put("part_1.parquet", 2, day=DAY + timedelta(days=1))
        feed.run(lake)
    secret = feed.settings.streams_dir / "secret" / "payroll.json"
    write_stream(feed.settings.streams_dir, "refunds")
    secret.parent.mkdir()
    secret.write_text(
        (feed.settings.streams_dir / SOURCE / "refunds.json")
        .read_text()
        .replace('"refunds"', '"payroll"')
    )
    return feed


def test_nobody_sees_anything(page: TestClient, fed: Feed) -> None:
    nobody = Browser(page)
    for path in (*PAGES, "/lake/static/lake.css", "/lake/static/lake.js", "/lake/static/x"):
        answer = nobody.get(path)
        assert answer.status_code == 401, path
        assert "shop" not in answer.text
    bad = page.get("/lake/", headers={"authorization": "Bearer nonsense"})
    assert bad.status_code in (401, 403)


def test_a_viewer_sees_every_stream_and_why_it_is_so(viewer: Browser, fed: Feed) -> None:
    text = _Page(viewer.see("/lake/").text).text
    for word in (
        "shop/orders",
        "broken",
        "1 file in quarantine",
        "shop/refunds",
        "empty",
        "secret/payroll",
        "no file has arrived yet",
        "int_shop__orders: 1 file behind",
    ):
        assert word in text  # fmt: skip
    files = _Page(viewer.see("/lake/stream?dag_id=shop__orders").text).text
    for word in ("part_0.parquet", "registered", "quarantined", "is not of the path format"):
        assert word in files


def test_a_dag_that_a_user_may_not_read_is_not_there(page: TestClient, fed: Feed) -> None:
    limited = Browser(page, LIMITED, "VIEWER")
    seen = limited.see("/lake/").text
    assert "shop/orders" in seen
    assert "payroll" not in seen
    assert "secret" not in seen
    assert "Streams, 2 in all" in seen
    hidden = limited.get(f"/lake/stream?dag_id={HIDDEN}payroll")
    unknown = limited.get("/lake/stream?dag_id=nothing__here")
    assert (hidden.status_code, hidden.text) == (404, unknown.text)
    assert "payroll" in Browser(page, "viewer", "VIEWER").see("/lake/").text


def test_who_may_read_no_dag_learns_nothing_of_the_lake(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_CATALOG", "postgres:host=127.0.0.1 port=1 dbname=lake user=lake")
    assert "127.0.0.1" in Browser(page, "viewer", "VIEWER").see("/lake/").text
    text = _Page(Browser(page, STRANGER, "VIEWER").see("/lake/").text).text
    assert "There is no stream to show" in text
    assert "127.0.0.1" not in text


def test_only_who_may_trigger_it_is_led_to_the_operations_dag(page: TestClient, fed: Feed) -> None:
    for path in ("/lake/", "/lake/stream?dag_id=shop__orders"):
        assert "lake_operations" not in Browser(page, "v", "VIEWER").see(path).text
        assert "lake_operations" in Browser(page, "u", "USER").see(path).text


def test_nothing_can_be_changed_here(page: TestClient) -> None:
    from lotus_lake.airflow.page.app import app

    methods = [route.methods for route in app.routes]  # type: ignore[attr-defined]
    assert len(methods) == 5
    assert all(method <= {"GET", "HEAD"} for method in methods)
    admin = Browser(page, "admin", "ADMIN")
    for path in ("/lake/", "/lake/stream", "/lake/why"):
        assert page.post(path, headers=admin.headers).status_code == 405


def test_what_others_wrote_is_text_and_no_secret_is_shown(
    viewer: Browser, fed: Feed, deployed: dict[str, str]
) -> None:
    secret = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])["password"]
    shown = 0
    for path in PAGES:
        answer = viewer.see(path)
        page = _Page(answer.text)
        shown += page.text.count(MARKUP)
        scripts = [attrs for tag, attrs in page.tags if tag == "script"]
        assert scripts == [{"src": "static/lake.js"}], path
        assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")], path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert secret not in answer.text
    assert shown >= 5  # key, run, description, and each row of the preview


def test_every_address_is_relative_so_that_any_base_path_works(viewer: Browser, fed: Feed) -> None:
    found = set()
    for path in PAGES:
        for _, attrs in _Page(viewer.see(path).text).tags:
            found |= {attrs[name] or "" for name in ("href", "src", "action") if name in attrs}
    assert len(found) > 10
    assert not [link for link in found if re.match(r"/|[a-z]+:", link)]
    from airflow import plugins_manager

    views, _ = plugins_manager._get_ui_plugins()
    ours = [view for view in views if view["name"] == "Lake"]
    assert {view["url_route"] for view in ours} == {"lake", "lake-stream"}
    assert all(not view["href"].startswith("/") for view in ours)


def test_a_wrong_input_is_told_in_words(viewer: Browser, fed: Feed) -> None:
    for query, told in {
        "day=2026-13-99": "days are written as 2026-03-10",
        f"day={MARKUP}": "days are written as",
        "offset=-1&event=nothing": "part_0.parquet",
        "offset=99999999&day=2026-03-10": "No file matches",
        "key=' OR 1=1 --": "No file matches",
        "key=%00%ff": "No file matches",
        "view=nothing&read=2": "part_0.parquet",
        "view=rows&table=x'; DROP TABLE y; --": "there is no table",
        f"view=rows&table={MARKUP}": "there is no table",
        "view=activity&span=year": "Files landed",
    }.items():
        page = _Page(viewer.see(f"/lake/stream?dag_id=shop__orders&{query}").text)
        scripts = [attrs for tag, attrs in page.tags if tag == "script"]
        assert scripts == [{"src": "static/lake.js"}], query
        assert told in page.text, query
    for query in ("page=abc", "page=-1", "page=9999", "state=x&sort=y"):
        assert "shop/orders" in viewer.see(f"/lake/?{query}").text
    for query in (f"q={MARKUP}", f"q={'x' * 999}"):
        assert "No stream matches" in (answer := viewer.see(f"/lake/?{query}").text)
        assert MARKUP not in answer


def test_files_are_filtered_by_what_became_of_them_by_day_and_by_key(
    viewer: Browser, fed: Feed
) -> None:
    base = "/lake/stream?dag_id=shop__orders"
    bad = f"{MARKUP}.parquet"
    for query, shown in {
        "": {"part_0", "part_1", bad},
        "&event=quarantined": {bad},
        f"&day={DAY}": {"part_0"},  # a key that is not of the grammar has no day
        "&key=year=2026/month=03/day=11/": {"part_1"},
        "&event=registered&offset=1": {"part_0"},
    }.items():
        page = _Page(viewer.see(base + query).text)
        found = {name for name in ("part_0", "part_1", bad) if name in page.text}
        assert found == shown, query


def _build(feed: Feed) -> None:
    """A table of the orders, and an enriched table that also reads what some may not see."""
    manifest = manifest_file(feed.settings.project_dir)
    write_manifest(
        feed.settings,
        ("int_shop__orders", feed.stream.id),
        ("int_secret__payroll", f"{HIDDEN}payroll"),
        enriched={"fct": ["int_shop__orders", "int_secret__payroll"]},
    )
    document = json.loads(manifest.read_text())
    place = {"database": "lakehouse", "schema": "main", "package_name": "lotus_lake"}
    for node in document["nodes"].values():
        node |= {**place, "alias": node["name"], "config": {}, "raw_code": """
            with versions as (
                select
                    id, status, _airbyte_extracted_at, _airbyte_raw_id,
                    'epoch'::timestamptz as _source_updated_at,
                    snapshot_id as _lake_snapshot_id, rowid as _lake_row_id
                from {{ source('shop', 'orders') }} where year is not null
            )
            select * exclude (_lake_row_id) from versions
        """}  # fmt: skip
    landing = {"schema": "staging", "identifier": feed.stream.landing_table}
    document |= {"macros": {}, "sources": {"orders": {
        **place, **landing, "source_name": "shop", "name": "orders",
    }}}  # fmt: skip
    manifest.write_text(json.dumps(document))
    with open_lake(feed.settings) as lake:
        sql = render_model(manifest, "int_shop__orders")
        lake.con.execute(f"CREATE TABLE {LAKE}.main.int_shop__orders AS {sql}")


def test_what_happened_over_time_is_drawn_and_listed(viewer: Browser, fed: Feed) -> None:
    page = _Page(viewer.see("/lake/stream?dag_id=shop__orders&view=activity&span=day").text)
    bars = [attrs for tag, attrs in page.tags if tag == "rect" and attrs["class"] == "bar"]
    slots = [attrs for tag, attrs in page.tags if tag == "rect" and attrs["class"] == "slot"]
    assert len(slots) == 5 * 24
    assert {attrs["height"] for attrs in bars} >= {"58.0"}
    for word in ("Files landed", "Median lag", "last month", "UTC: 5"):  # rows, in one hour
        assert word in page.text
    assert "style" not in {name for _, attrs in page.tags for name in attrs}


def test_the_next_run_is_told_before_it_runs(viewer: Browser, fed: Feed) -> None:
    path = "/lake/stream?dag_id=shop__orders&view=plan"
    text = " ".join(_Page(viewer.see(path).text).text.split())
    assert "The next run would find no new file. int_shop__orders would read 1 landed file." in text
    later = DAY + timedelta(days=1)
    fed.put("part_2.parquet", day=later)
    fed.put("part_3.parquet", day=later)
    fed.put_bytes(f"{MARKUP}{MARKUP}.parquet", b"x" * 99)
    viewer.forget()
    answer = viewer.see(path).text
    text = " ".join(_Page(answer).text.split())
    for words in (
        "The next run would land 2 files in 1 commit. int_shop__orders would read what has landed.",
        "1 new object would not land.", f"{later}2", "is not of the path format",
    ):  # fmt: skip
        assert words in text
    assert MARKUP not in answer
    with open_lake(fed.settings) as lake:
        assert fed.run(lake).total.registered == 2


def test_a_bucket_that_is_slow_or_down_is_told_at_once(
    viewer: Browser, fed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/lake/stream?dag_id=shop__orders&view=plan"
    viewer.see("/lake/stream?dag_id=shop__orders")
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connection["extra"]["endpoint_url"] = url
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        # It answers although the store never does.
        assert "Listing the bucket. It has not answered within" in viewer.get(path).text
        assert "part_0.parquet" in viewer.see("/lake/stream?dag_id=shop__orders").text
    assert url in viewer.see(path).text  # the error of a connection that was ended


def test_who_has_seen_what_is_shown(viewer: Browser, fed: Feed) -> None:
    with open_lake(fed.settings) as lake:
        carry_out(lake, fed.stream, Acknowledge(f"anna {MARKUP}"), "test")
        carry_out(lake, fed.stream, Acknowledge("bert", (fed.key(f"{MARKUP}.parquet"),)), "test")
    for path, words in {
        "/lake/": (f"seen by anna {MARKUP}", "1 file in quarantine"),
        "/lake/stream?dag_id=shop__orders": (
            "Only what is new since then is alerted", "seen by bert", f"seen by anna {MARKUP}"
        ),
    }.items():  # fmt: skip
        answer = viewer.see(path).text
        assert MARKUP not in answer
        for word in words:
            assert word in _Page(answer).text


def test_the_schema_says_which_file_brought_a_column(viewer: Browser, fed: Feed) -> None:
    rows = [{**row, "vat": 1.5} for row in some_rows(1)]
    with open_lake(fed.settings) as lake:
        key = fed.put("part_2.parquet", rows, shape={**SHAPE, "vat": pa.float64()})
        fed.run(lake)
    page = _Page(viewer.see("/lake/stream?dag_id=shop__orders&view=schema").text)
    for word in ("Changes of the landing table", "vat", "added", "part_2.parquet"):
        assert word in page.text
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a" and "href" in attrs]
    assert any(link.endswith(f"&key={quote(key)}") for link in links)


def test_a_domain_shows_the_rows_of_its_tables(viewer: Browser, fed: Feed) -> None:
    with open_lake(fed.settings) as lake:
        lake.con.execute(f"CREATE TABLE {LAKE}.main.fct AS SELECT 77 AS total, ? AS name", [MARKUP])
        lake.con.execute(f"COMMENT ON COLUMN {LAKE}.main.fct.total IS 'What was sold'")
    for view, words in {"rows": ("77", MARKUP), "schema": ("total", "What was sold")}.items():
        page = _Page(viewer.see(f"/lake/stream?dag_id=enriched__sales&view={view}").text)
        for word in words:
            assert word in page.text
    other = viewer.see("/lake/stream?dag_id=enriched__sales&view=rows&table=int_shop__orders").text
    assert "there is no table" in other


def test_a_row_is_followed_to_its_file(viewer: Browser, fed: Feed) -> None:
    _build(fed)
    answer = viewer.see("/lake/why?table=int_shop__orders&where=id = 1&column=status").text
    page = _Page(answer)
    for word in ("stg_shop__orders.status", "part_0.parquet", "won", MARKUP):
        assert word in page.text
    assert MARKUP not in answer
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{"src": "static/lake.js"}]
    for query, told in {
        "where=id in (select 1)": "contains a query",
        f"where=status = '{MARKUP}' and x = 1": "has no column 'x'",
        "where=getenv('HOME') = ''": "calls getenv",
        "where=id = 1&column=stat": "did you mean status",
        f"where={'x' * 1001}": "too long",
        "where=": "Give a table and a condition",
    }.items():
        page = _Page(viewer.see(f"/lake/why?table=int_shop__orders&{query}").text)
        assert told in page.text, query
        assert [attrs for tag, attrs in page.tags if tag == "script"] == [
            {"src": "static/lake.js"}
        ], query


def test_a_table_is_followed_only_by_who_may_read_all_that_it_is_made_from(
    page: TestClient, fed: Feed
) -> None:
    _build(fed)
    limited, viewer = Browser(page, LIMITED, "VIEWER"), Browser(page, "viewer", "VIEWER")
    assert "was not built yet" in viewer.see("/lake/why?table=fct&where=true").text
    seen = limited.see("/lake/why?table=int_shop__orders&where=true").text
    assert "part_0.parquet" in seen
    assert "payroll" not in seen
    for table in ("fct", "int_secret__payroll", "nothing"):
        answer = limited.see(f"/lake/why?table={table}&where=true").text
        assert "There is no such table, or you may not read all" in answer
        assert "payroll" not in answer.replace(table, "")
    stranger = Browser(page, STRANGER, "VIEWER").see("/lake/why").text
    assert "int_" not in stranger


def test_a_paused_dag_is_told(viewer: Browser, fed: Feed) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    def pause(value: bool) -> None:
        with create_session() as session:
            session.get(DagModel, "shop__refunds").is_paused = value

    pause(True)
    try:
        text = _Page(viewer.see("/lake/?state=paused").text).text
    finally:
        pause(False)
    assert "its Dag is paused" in text
    assert "shop/refunds" in text


def test_all_streams_are_shown_at_once_and_until_they_are_renewed(
    viewer: Browser, fed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lotus_lake.airflow.page import lake_cache

    refresh = '<meta http-equiv="refresh"'
    answer = viewer.see("/lake/").text
    assert "shop/orders" in answer
    assert refresh not in answer
    # As if the answer were old.
    monkeypatch.setattr(lake_cache, "_FRESH_SECONDS", 0)
    monkeypatch.setattr(lake_cache, "_REST", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv(
            "LAKE_CATALOG", f"postgres:host=127.0.0.1 port={port} dbname=lake user=lake"
        )
        for wanted in (0, 6):
            while (slow := viewer.get("/lake/").text) and _waited() < wanted:
                time.sleep(0.2)
            assert "shop/orders" in slow
            assert refresh in slow  # however long it takes


def _waited() -> float:
    """For how long the page has waited for the lake."""
    from lotus_lake.airflow.page import app

    return app.cache.see("overview", old_will_do=True).waiting_seconds


def test_a_lake_that_does_not_answer_keeps_no_page_waiting(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv(
            "LAKE_CATALOG", f"postgres:host=127.0.0.1 port={port} dbname=lake user=lake"
        )
        monkeypatch.setenv("PGPASSWORD", "hunter2")
        viewer = Browser(page, "viewer", "VIEWER")
        answer = viewer.get("/lake/")
        assert answer.status_code == 200
        assert "Reading the lake" in answer.text
        assert '<meta http-equiv="refresh"' in answer.text
        silent.accept()[0].close()
    said = viewer.see("/lake/").text
    assert "opening the catalog" in said
    assert "hunter2" not in said


def test_the_page_brings_no_duckdb_into_the_api_server() -> None:
    code = "import sys, lotus_lake.airflow.page.app; sys.exit('duckdb' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{PROJECT}/plugins:{PROJECT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.fixture
def described(page: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The api-server on a copy of this project: with markup in it, and a Dag that is hidden."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    from lotus_lake.airflow.page import app

    settings = copy_project(tmp_path)
    monkeypatch.setenv("LAKE_STREAMS_DIR", str(settings.streams_dir))
    app._dictionary.cache_clear()
    manifest = manifest_file(tmp_path)
    document = json.loads(manifest.read_text())
    for node in document["nodes"].values():
        if node["name"] == "fct_sales":
            node["description"] = f"Sales. </script>{MARKUP}"
        if node["name"] == "int_shopify__customers":
            node["tags"] = [f"{HIDDEN}customers"]
    manifest.write_text(json.dumps(document))
    tags = {tag for node in document["nodes"].values() for tag in node["tags"] if "__" in tag}
    with create_session() as session:
        for dag_id in (*tags, "enriched__marketing"):
            session.merge(DagModel(dag_id=dag_id, bundle_name="page", is_paused=False))
    return page


def test_the_dictionary_can_do_nothing_but_show_tables(
    described: TestClient, tmp_path: Path, s3: S3Server
) -> None:
    assert Browser(described).get("/lake/dictionary").status_code == 401
    viewer = Browser(described, "viewer", "VIEWER")
    assert 'href="dictionary"' in viewer.see("/lake/").text
    answer = viewer.get("/lake/dictionary")
    assert answer.status_code == 200
    assert "sandbox allow-scripts" in answer.headers["content-security-policy"]
    assert "allow-same-origin" not in answer.headers["content-security-policy"]
    (scripts,) = re.findall(r"script-src ([^;]*)", answer.headers["content-security-policy"])
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", scripts)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    for name in ("fct_sales", "int_shopify__customers", "stg_shopify__orders", "total_tax"):
        assert f'"{name}"' in answer.text
    assert MARKUP not in answer.text
    assert MARKUP.replace("<", "\\u003c") in answer.text
    secret = s3.access.secret_access_key
    assert secret is not None
    for hidden in (secret.get_secret_value(), str(tmp_path), str(PROJECT), "invocation_id"):
        assert hidden not in answer.text
    others = {
        viewer.get(path).headers["content-security-policy"] for path in ("/lake/", "/lake/why")
    }
    assert len(others) == 1
    assert "script-src 'self'" in others.pop()


def test_the_dictionary_has_the_tables_whose_dags_a_user_may_read(described: TestClient) -> None:
    limited = Browser(described, LIMITED, "VIEWER")
    text = limited.get("/lake/dictionary").text
    assert '"int_shopify__orders"' in text
    assert "int_shopify__customers" not in text
    assert "stg_shopify__customers" not in text
    stranger = Browser(described, STRANGER, "VIEWER")
    assert stranger.get("/lake/dictionary").status_code == 404
    assert 'href="dictionary"' not in stranger.see("/lake/").text


def test_without_a_dbt_project_there_is_no_dictionary(page: TestClient) -> None:
    viewer = Browser(page, "viewer", "VIEWER")
    assert 'href="dictionary"' not in viewer.see("/lake/").text
    assert viewer.get("/lake/dictionary").status_code == 404
