"""The browser of these tests, one for all of them, and a world of its own for each test."""

from collections.abc import Callable, Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld
from tests.servers.programs import ensure_program

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # No name leads anywhere, but for this machine's own, and a name that an attacker has pointed here.
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]  # fmt: skip  # flags


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Debian's Chromium; nothing is fetched for it, and nothing by it.

    One for each module: while it is there, Playwright's own loop counts as running, and no test of another folder that
    this process comes to next could run a loop.
    """
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(ensure_program("chromium")), args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def world() -> Generator[PageWorld]:
    """A service with nothing in it, open to whoever is on this machine."""
    with PageWorld() as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Generator[Callable[..., Visitor]]:
    """Opens the page as somebody would; whatever it says on its console in the end fails the test."""
    visitors: list[Visitor] = []

    def open_page(url: str, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, url, **options))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.leave()
