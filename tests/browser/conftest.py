"""The browser of these tests, one for all of them, and a world of its own for each test."""

import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Blank(BaseHTTPRequestHandler):
    """A page with nothing in it, and no policy that would hold an attacker back."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


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
def elsewhere() -> Generator[str]:
    """The address of another service on this machine: another origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever, name="elsewhere", daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


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
