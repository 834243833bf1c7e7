"""The data dictionary in a real browser: it shows tables, and its descriptions run nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from lotus_lake.observe.dictionary import dictionary
from lotus_lake.project.manifest import manifest_file
from tests.e2e.browser import chromium, find_chromium, person
from tests.projects import copy_project

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; CHROMIUM names one"),
]
HOSTILE = (
    "</script><script>document.title = 'taken'</script>"
    "<img src=x onerror=\"document.title = 'taken'\"> <b>bold</b> "
    "<form action=/steal><button>go</button></form> {{ constructor.constructor('1')() }}"
)
FRAME = b"<iframe sandbox='allow-scripts allow-same-origin' src=dictionary width=1400 height=850>"
# What Chromium says of an icon before the page has put the icon's name there.
_ICON = "getIcon(item.type"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a page that frames it, and what is asked of its server."""
    settings = copy_project(tmp_path)
    manifest = manifest_file(tmp_path)
    document = json.loads(manifest.read_text())
    for node in document["nodes"].values():
        if node["name"] == "fct_sales":
            node["description"] = HOSTILE
            node["columns"]["order_id"]["description"] = HOSTILE
    manifest.write_text(json.dumps(document))
    html, policy = dictionary(settings)
    pages = {
        "/": (FRAME, ""),
        "/dictionary": (html.encode(), f"{policy}; sandbox allow-scripts"),
    }
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body, header = pages.get(self.path, (b"", ""))
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            if header:
                self.send_header("content-security-policy", header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("framed", [True, False])
def test_the_page_works_in_its_sandbox_and_descriptions_do_nothing(
    served: tuple[str, list[str]], framed: bool
) -> None:
    url, asked = served
    assert CHROMIUM is not None
    with chromium(CHROMIUM) as browser, person(browser, url, token="x") as anna:
        anna.go("/" if framed else "/dictionary")
        page = anna.page.frames[-1]
        expect(page.get_by_text("The tables of the lake")).to_be_visible()
        page.evaluate("location.hash = '#!/model/model.lotus_lake.fct_sales'")
        expect(page.get_by_text("total_sales").first).to_be_visible()
        expect(page.get_by_text("decimal(18, 4)").first).to_be_visible()
        anna.picture("dictionary" if framed else "dictionary-alone")
        page.evaluate("location.hash = '#!/source/source.lotus_lake.shopify.orders'")
        expect(page.get_by_text("total_tax").first).to_be_visible()
        assert page.evaluate("document.title") != "taken"
        assert page.evaluate("window.origin") == "null"
        complaints = [said for said in anna.complaints if _ICON not in said]
    # Its description was read as markup, and what would run was refused.
    assert any("Executing inline event handler violates" in said for said in complaints)
    assert not any("TypeError" in said for said in complaints)
    assert set(asked) <= {"/", "/dictionary", "/favicon.ico"}
