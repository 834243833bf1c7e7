"""Chromium, driven by Playwright, on Airflow's UI."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from playwright.sync_api import Browser, FrameLocator, Page, sync_playwright

from samples.demo_airflow import PROJECT

# Where the pictures go; a workflow keeps them.
PICTURES = PROJECT / ".lake" / "pictures"
# Nothing of Chromium's own goes out.
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def find_chromium() -> str | None:
    """Path of Chromium, which `CHROMIUM` may name."""
    return shutil.which(os.environ.get("CHROMIUM") or "chromium")


@contextlib.contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@dataclass(frozen=True)
class Person:
    """Somebody in front of Airflow's UI."""

    page: Page
    url: str
    complaints: list[str]

    def go(self, path: str) -> None:
        """Open an address of the UI."""
        self.page.goto(f"{self.url}{path}")

    @property
    def lake(self) -> FrameLocator:
        """The Lake page in the frame of the UI."""
        return self.page.frame_locator("iframe")

    def picture(self, name: str) -> None:
        """Keep a picture of what is seen."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


@contextlib.contextmanager
def person(
    browser: Browser,
    url: str,
    *,
    token: str,
    dark: bool = False,
    size: dict[str, int] = DESKTOP,
) -> Iterator[Person]:
    """Somebody with a browser of their own.

    Args:
        browser: What they use.
        url: Airflow's address.
        token: Who they are.
        dark: Whether they like it dark.
        size: Size of their window.
    """
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        color_scheme="dark" if dark else "light",
    )
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    theme = "dark" if dark else "light"
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield Person(page, url, complaints)
    context.close()
